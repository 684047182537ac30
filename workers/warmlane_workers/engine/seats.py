"""Who is in a running batch, and who is next. Knows room in tokens, not what generates them; its user has the lock.

A row is let in when all that it may grow to has room beside the others: so none is ever sent out again. Turns go by
priority, then by age, and what has waited long counts for more, as in the batcher. Who does not fit yet lets pass who
does, but not for ever: a short answer does not wait for two long ones, and a long one comes in at last.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from warmlane_workers.engine.batcher import PROMOTION_S, RANKS, Row
from warmlane_workers.tasks.base import Tell
from warmlane_workers.tasks.continuous import Request

#: Tokens in a page; a row has whole pages.
PAGE = 16
#: Of each rank, so many of the first are looked at for one that fits.
_LOOK = 32


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
        clock: as `Seat.came` has it, in seconds.
    """

    def __init__(self, tokens: int, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._tokens = tokens
        self._most = most
        self._clock = clock
        self._serial = itertools.count()
        self._waiting: dict[int, deque[Seat]] = {rank: deque() for rank in sorted(RANKS.values())}
        self.inside: dict[str, Seat] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody is in, or waits."""
        return not self.inside and not any(self._waiting.values())

    def add(self, seat: Seat) -> None:
        self._waiting[seat.row.rank].append(seat)

    def next(self) -> Seat | None:
        """The one who may come in now, with an id of its own; None where there is no room, or nobody."""
        if len(self.inside) >= self._most:
            return None
        room = self._tokens - sum(other.room for other in self.inside.values())
        for queue in self._turns():
            long = self._clock() - queue[0].came >= PROMOTION_S  # nobody else takes the room that it waits for
            for place, seat in enumerate(itertools.islice(queue, 1 if long else _LOOK)):
                if seat.room <= room and not seat.future.cancelled():
                    del queue[place]
                    return self._seated(seat)
            if long:
                break
        return None

    def _turns(self) -> list[deque[Seat]]:
        """Those who wait, of each rank by age, and the ranks in the order of their first."""
        for queue in self._waiting.values():
            while queue and queue[0].future.cancelled():
                queue.popleft()
        return sorted(filter(None, self._waiting.values()), key=lambda queue: self._turn(queue[0]))

    def _turn(self, seat: Seat) -> tuple[float, float]:
        """What is lower comes first: the rank, bettered by the time of waiting, then age."""
        return seat.row.rank - (self._clock() - seat.came) // PROMOTION_S, seat.came

    def _seated(self, seat: Seat) -> Seat:
        seat.id = str(next(self._serial))
        self.inside[seat.id] = seat
        return seat

    def leave(self, seat: Seat) -> bool:
        """Whether it was inside until now."""
        return self.inside.pop(seat.id, None) is not None

    def clear(self) -> list[Seat]:
        """Send everybody out; returns those whose answer is still wanted."""
        seats = [*self.inside.values(), *itertools.chain(*self._waiting.values())]
        self.inside.clear()
        for queue in self._waiting.values():
            queue.clear()
        return [seat for seat in seats if not seat.future.cancelled()]
