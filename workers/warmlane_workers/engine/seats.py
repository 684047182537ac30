"""Who is in a running batch, and who is next. Knows room in tokens, not what generates them; its user has the lock.

A row is let in when all that it may grow to has room beside the others: so none is ever sent out again. Turns go by
priority, then by age.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from warmlane_workers.engine.batcher import Row
from warmlane_workers.tasks.base import Tell
from warmlane_workers.tasks.continuous import Request

#: Tokens in a page; a row has whole pages.
PAGE = 16


@dataclass(eq=False, slots=True)
class Seat:
    """A row in a running batch, or waiting for it.

    Attributes:
        make: the answer's tokens -> the output that the row's future gets.
        elsewhere: where the row goes if the batch breaks.
        tell: told of tokens as they come; None: nobody listens.
        came: when it came to the batch, by `time.perf_counter`.
        id: of its request, once it is in.
    """

    row: Row
    request: Request
    make: Callable[[list[int]], Any]
    elsewhere: Callable[[list[Row]], None]
    tell: Tell | None = None
    came: float = field(default_factory=time.perf_counter)
    id: str = ""

    @property
    def room(self) -> int:
        """Tokens that it may grow to, in whole pages."""
        return -(-(len(self.request.ids) + self.request.most) // PAGE) * PAGE

    @property
    def future(self) -> Future[Any]:
        return self.row.future


class Seats:
    """The seats of one batch.

    Args:
        tokens: what those inside may grow to together.
        most: how many may be inside.
    """

    def __init__(self, tokens: int, most: int) -> None:
        self._tokens = tokens
        self._most = most
        self._serial = itertools.count()
        self._waiting: list[tuple[int, int, Seat]] = []
        self.inside: dict[str, Seat] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody is in, or waits."""
        return not self.inside and not self._waiting

    def add(self, seat: Seat) -> None:
        heapq.heappush(self._waiting, (seat.row.rank, next(self._serial), seat))

    def next(self) -> Seat | None:
        """The one who may come in now, with an id of its own; None where there is no room, or nobody."""
        while self._waiting and self._waiting[0][2].future.cancelled():
            heapq.heappop(self._waiting)
        if not self._waiting or len(self.inside) >= self._most or not self._fits(self._waiting[0][2]):
            return None
        _, number, seat = heapq.heappop(self._waiting)
        seat.id = str(number)
        self.inside[seat.id] = seat
        return seat

    def _fits(self, seat: Seat) -> bool:
        return seat.room + sum(other.room for other in self.inside.values()) <= self._tokens

    def leave(self, seat: Seat) -> bool:
        """Whether it was inside until now."""
        return self.inside.pop(seat.id, None) is not None

    def clear(self) -> list[Seat]:
        """Send everybody out; returns those whose answer is still wanted."""
        seats = [*self.inside.values(), *(seat for _, _, seat in sorted(self._waiting, key=lambda turn: turn[:2]))]
        self.inside.clear()
        self._waiting.clear()
        return [seat for seat in seats if not seat.future.cancelled()]
