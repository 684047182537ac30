"""Where a job should go: which workers hold its model warm, and which would be its home if none does. Pure logic.

The server makes the choice, among the few candidates that this file names, by what waits at each at that moment
(`lua/submit.lua`). A cold model goes to the candidate with the fewest models; the first are those that have room for
it, in the order of a rendezvous hash: every client names the same ones, and a worker that leaves moves no models but
its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from warmlane.model import ModelRef
from warmlane.results import WorkerInfo

#: The most workers that the server compares, of each sort.
CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class Route:
    """What the server chooses from.

    Attributes:
        model: the name that homes are kept under.
        warm: ids of workers that hold the model, some of them.
        cold: worker id -> how many models it holds; the first is the best home.
    """

    model: str
    warm: tuple[str, ...] = ()
    cold: tuple[tuple[str, int], ...] = ()


#: A job that any worker of its queue may take.
ANYWHERE = Route("")


def route(workers: Iterable[WorkerInfo], queue: str, model: str, size: int = 0) -> Route:
    """The candidates for a job on a model, among the workers that serve a queue.

    Args:
        model: a reference; all versions of a model have one home.
        size: bytes of the model as it was saved; 0 where nobody knows.
    """
    name = ModelRef.parse(model).name
    able = sorted(
        (worker for worker in workers if queue in worker.queues and worker.state == "ready"),
        key=lambda worker: _weight(worker.id, name),
    )
    warm = [worker for worker in able if any(ModelRef.parse(held.model).name == name for held in worker.models)]
    warm.sort(key=lambda worker: worker.running)
    roomy = [worker for worker in able if _room(worker) >= size]
    cold = roomy + [worker for worker in able if worker not in roomy]
    return Route(
        name,
        tuple(worker.id for worker in warm[:CANDIDATES]),
        tuple((worker.id, len(worker.models)) for worker in cold[:CANDIDATES]),
    )


def _room(worker: WorkerInfo) -> int:
    return worker.budget_bytes - sum(held.bytes for held in worker.models)


def _weight(worker_id: str, model: str) -> bytes:
    """The rendezvous hash of a pair."""
    return hashlib.blake2b(f"{worker_id} {model}".encode(), digest_size=8).digest()
