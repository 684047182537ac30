"""A fleet at one moment: what waits, who lives, what is dead. The operation is as those in `warmlane.ops`.

Costs the server what the fleet has of queues and workers, whatever waits in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import Keys
from warmlane.ops import Op
from warmlane.results import WorkerInfo


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue, with all lanes in it.

    Attributes:
        waiting: jobs that no worker has taken.
        taken: jobs that workers have and have not ended.
        bytes: of the messages of both, and of their payloads in the blob store.
        oldest_s: how long ago the first of those that wait was accepted; 0 where none waits.
    """

    name: str
    waiting: int
    taken: int
    bytes: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class FleetInfo:
    """A fleet.

    Attributes:
        queues: those that every fleet has, those of the live workers' pools, and any other in which jobs are.
        dead: the number of dead letters.
    """

    queues: tuple[QueueInfo, ...]
    workers: tuple[WorkerInfo, ...]
    dead: int


@dataclass(frozen=True, slots=True)
class ReadQueues(Op[tuple[tuple[QueueInfo, ...], int]]):
    """How much waits in some queues, and in all others in which jobs are; and the number of dead letters."""

    script = "queues"
    queue_names: tuple[str, ...]

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.dead, names.queues], [names.job(""), names.queue(""), names.lanes(""), *self.queue_names]

    def read(self, reply: Any) -> tuple[tuple[QueueInfo, ...], int]:
        dead, found = reply
        queues = [
            QueueInfo(name.decode(), int(waiting), int(taken), int(size), int(oldest) / 1000)
            for name, waiting, taken, size, oldest in found
        ]
        return tuple(sorted(queues, key=lambda queue: queue.name)), int(dead)
