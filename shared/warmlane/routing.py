"""Where a job should go: which workers hold its model warm, and which would be its home if none does. Pure logic.

The server makes the choice, among the few candidates that this file names, by what waits at each at that moment
(`lua/submit.lua`). A cold model goes to the candidate with the fewest models; the first are those that have room for
it, in the order of a rendezvous hash: every client names the same ones, and a worker that leaves moves no models but
its own. An adapter that nobody holds is as good as warm where its base is, and finds its home under its base's name, so
that the adapters of one base meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from warmlane.model import ModelRef
from warmlane.results import WorkerInfo

#: The most workers that the server compares, of each sort.
CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class Route:
    """What the server chooses from.

    Attributes:
        model: the name that homes are kept under; of an adapter, that of its kin.
        warm: ids of workers that hold the model, some of them.
        cold: worker id and how many models it holds; the first is the best home.
    """

    model: str
    warm: tuple[str, ...] = ()
    cold: tuple[tuple[str, int], ...] = ()


#: A job that any worker of its queue may take.
ANYWHERE = Route("")


@dataclass(frozen=True, slots=True)
class _Seat:
    """A worker that takes jobs, as routing sees it."""

    id: str
    models: int
    room: int
    running: int


class Registry:
    """The live workers as they were read, and the routes that follow. Each is found once."""

    def __init__(self, workers: Iterable[WorkerInfo]) -> None:
        self.workers = tuple(workers)
        self._routes: dict[tuple[str, str, int, str], Route] = {}

    @cached_property
    def _seats(self) -> dict[str, list[_Seat]]:
        """Queue -> the workers that take its jobs."""
        seats: dict[str, list[_Seat]] = {}
        for worker in self.workers:
            if worker.state == "ready":
                room = worker.budget_bytes - worker.held_bytes
                seat = _Seat(worker.id, len(worker.models), room, worker.running)
                for queue in worker.queues:
                    seats.setdefault(queue, []).append(seat)
        return seats

    @cached_property
    def _holders(self) -> dict[str, set[str]]:
        """Name of a model -> ids of the workers that hold a version of it."""
        holders: dict[str, set[str]] = {}
        for worker in self.workers:
            for held in worker.models:
                holders.setdefault(ModelRef.parse(held.model).name, set()).add(worker.id)
        return holders

    @cached_property
    def _relatives(self) -> dict[str, set[str]]:
        """Kin -> ids of the workers that hold a model of it, and so the weights of all."""
        relatives: dict[str, set[str]] = {}
        for worker in self.workers:
            for held in worker.models:
                relatives.setdefault(held.kin, set()).add(worker.id)
        return relatives

    def route(self, queue: str, model: str, size: int = 0, kin: str = "") -> Route:
        """The candidates for a job on a model, among the workers that serve a queue.

        Args:
            model: a reference; all versions of a model have one home.
            size: bytes of the model as it was saved; 0 where nobody knows.
            kin: of an adapter, what its base and that one's other adapters have.
        """
        key = queue, ModelRef.parse(model).name, size, kin
        found = self._routes.get(key)
        if found is None:
            found = self._routes[key] = self._find(*key)
        return found

    def _find(self, queue: str, name: str, size: int, kin: str) -> Route:
        seats, holders = self._seats.get(queue, []), self._holders.get(name, set())
        warm = sorted((seat for seat in seats if seat.id in holders), key=lambda seat: seat.running)
        if kin and not warm:
            relatives = self._relatives.get(kin, set())
            # In an order of its own, so that its first jobs load it on one of them and not on each.
            warm = sorted((seat for seat in seats if seat.id in relatives), key=lambda seat: _weight(seat.id, name))
        home = kin or name
        cold = sorted(seats, key=lambda seat: (seat.room < size, _weight(seat.id, home)))
        return Route(
            home,
            tuple(seat.id for seat in warm[:CANDIDATES]),
            tuple((seat.id, seat.models) for seat in cold[:CANDIDATES]),
        )


def _weight(worker_id: str, model: str) -> bytes:
    """The rendezvous hash of a pair."""
    return hashlib.blake2b(f"{worker_id} {model}".encode(), digest_size=8).digest()
