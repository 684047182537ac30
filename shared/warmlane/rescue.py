"""What was taken and is not done comes back: of a worker that gives it back, or that is not heard any more.

Operations as in `warmlane.lanes`. What comes back keeps its priority and is the first in it. Dramatiq's own commands
would put it at the end, and look through every key of the server for what dead workers have left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import WORKER_TTL_S, Keys
from warmlane.ops import Op

_LANE_TTL_MS = int(WORKER_TTL_S * 1000)


@dataclass(frozen=True, slots=True)
class Gone:
    """Workers that serve a queue no more: those that may have taken messages, and those that may have a lane."""

    takers: tuple[str, ...]
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollcall(Op[Gone]):
    """Say that a worker serves a queue, and ask who does no more.

    Attributes:
        ttl_ms: who was not heard for so long is gone.
        silence_ms: a server that nobody asked for so long may have heard nobody; it is believed after `ttl_ms` again.
    """

    script = "rollcall"
    queue_name: str
    worker_id: str
    ttl_ms: int
    silence_ms: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue = self.queue_name
        keys = [names.heartbeats(queue), names.lanes(queue), names.watch(queue), names.doubt(queue)]
        return keys, [self.worker_id, self.ttl_ms, _LANE_TTL_MS, self.silence_ms]

    def read(self, reply: Any) -> Gone:
        takers, lanes = (tuple(worker.decode() for worker in workers) for workers in reply)
        return Gone(takers, lanes)


@dataclass(frozen=True, slots=True)
class Requeue(Op[int]):
    """Put back what a worker has taken. The reply is the number of messages.

    Attributes:
        ids: which; none: all, and the worker is gone.
    """

    script = "requeue"
    queue_name: str
    worker_id: str
    ids: tuple[str, ...] = ()

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue = self.queue_name
        keys = [names.acks(self.worker_id, queue), names.queue(queue), names.messages(queue), names.heartbeats(queue)]
        return keys, [names.job(""), names.bell(queue), "" if self.ids else self.worker_id, *self.ids]

    def read(self, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class Rehome(Op[int]):
    """Let all have what waits in a worker's lane. The reply is the number of messages."""

    script = "rehome"
    queue_name: str
    worker_id: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue = self.queue_name
        return [names.queue(queue), names.lanes(queue), names.paces], [self.worker_id, names.bell(queue)]

    def read(self, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class Acknowledge(Op[bool]):
    """Let go of a message that is not to be run. The reply is False when the worker did not have it."""

    script = "acknowledge"
    queue_name: str
    worker_id: str
    message_id: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue = self.queue_name
        kept = [names.messages(queue), names.bytes(queue), names.job(self.message_id)]
        return [names.acks(self.worker_id, queue), *kept], [self.message_id]

    def read(self, reply: Any) -> bool:
        return bool(reply)
