"""How waiting rows become batches. Knows lengths, ages and groups, not models: what runs a batch is passed in.

A batch is cut by padded tokens, never by count: on a CPU, padding costs more than batching saves. It is built around
the row whose turn it is, from the waiting rows nearest to it in length. Turns go by priority, then by lane, so that a
model with many rows does not hold up another, then by age; and what has waited long counts for more, so that nothing
starves. A device thread takes whatever waits as soon as it is free, so a lone caller never waits for company.
"""

from __future__ import annotations

import bisect
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from warmlane import tracing
from warmlane_workers.observer import Batch

logger = logging.getLogger(__name__)

#: The longest row of a batch has at most so many times the tokens of the shortest.
MAX_LENGTH_RATIO = 1.5
#: Lengths below this count as equal: padding two tokens to eight costs nothing that can be measured.
SHORT_TOKENS = 8
#: A row that has waited so long has the priority above its own, and so on, in seconds.
PROMOTION_S = 10.0
#: Rank of each priority; what is lower comes first.
RANKS = {"high": 0, "normal": 1, "low": 2}

Run = Callable[[list[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows that may share a batch: one model, one set of parameters.

    Attributes:
        key: equal for rows that may be run together.
        run: payloads -> one output each, in order. Runs in the device thread.
        budget: most padded tokens in a batch (a single longer row is a batch of its own).
        name: of the model, for `on_batch`.
    """

    key: Hashable
    run: Run
    budget: int
    name: str = ""


@dataclass(eq=False, slots=True)
class Row:
    """One row that waits for the device.

    Attributes:
        rank: of its job's priority, see `RANKS`.
        since: when it came, by the batcher's clock.
        span: its job's, see `warmlane.tracing`.
    """

    payload: Any
    length: int
    rank: int = RANKS["normal"]
    since: float = 0.0
    span: str = ""
    future: Future[Any] = field(default_factory=Future)


def choose(lengths: Sequence[int], oldest: int, budget: int) -> tuple[int, int]:
    """The slice of ascending lengths that makes a batch around the row at `oldest`.

    Grows on the side whose next row is nearer in length, while rows x longest stays within the budget.
    """
    low, high = oldest, oldest + 1
    while True:
        longest = lengths[high - 1]
        above = lengths[high] if high < len(lengths) else None
        below = lengths[low - 1] if low else None
        count = high - low + 1
        up = above is not None and count * above <= budget and _near(lengths[low], above)
        down = below is not None and count * longest <= budget and _near(below, longest)
        if not up and not down:
            return low, high
        if up and (not down or above - longest <= lengths[low] - below):  # type: ignore[operator]
            high += 1
        else:
            low -= 1


def _near(shortest: int, longest: int) -> bool:
    return longest <= max(SHORT_TOKENS, shortest * MAX_LENGTH_RATIO)


class _Waiting:
    """The rows of one lane that wait: of each rank in order of arrival, and all in order of length."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.by_age: dict[int, dict[Row, None]] = {rank: {} for rank in RANKS.values()}
        self.by_length: list[Row] = []

    def add(self, row: Row) -> None:
        self.by_age[row.rank][row] = None
        bisect.insort(self.by_length, row, key=lambda other: other.length)

    def turn(self, now: float) -> tuple[float, Row]:
        """The row whose turn it is, and its rank, bettered by its time of waiting."""
        heads = [next(iter(rows)) for rows in self.by_age.values() if rows]
        ranks = [(row.rank - (now - row.since) // PROMOTION_S, row) for row in heads]
        return min(ranks, key=lambda ranked: (ranked[0], ranked[1].since))

    def take(self, now: float) -> list[Row]:
        _, first = self.turn(now)
        at = bisect.bisect_left(self.by_length, first.length, key=lambda other: other.length)
        while self.by_length[at] is not first:
            at += 1
        low, high = choose([row.length for row in self.by_length], at, self.lane.budget)
        rows = self.by_length[low:high]
        del self.by_length[low:high]
        for row in rows:
            del self.by_age[row.rank][row]
        return rows


class Batcher:
    """Collects rows from many threads and runs them in a few.

    Args:
        threads: batches that run at a time: one on a GPU, one a core on a CPU. The second thread helps when the first
            is busy, and so on.
        before_batch: called in the device thread before each batch; True means that it is the first thread and
            nothing else runs or waits.
        on_batch: told in the device thread of each batch that has run.
    """

    def __init__(
        self,
        threads: int = 1,
        before_batch: Callable[[bool], None] = lambda alone: None,
        clock: Callable[[], float] = time.monotonic,
        on_batch: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._before_batch = before_batch
        self._on_batch = on_batch
        self._clock = clock
        self._running = 0
        self._lanes: dict[Hashable, _Waiting] = {}  # in order of their turns
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"warmlane-device-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Finish what waits, then end the device threads; whether they ended in time."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def submit(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Queue rows; each row's future gets its output, or its error. No rows are nothing to do."""
        if not rows:
            return
        with self._changed:
            waiting = self._lanes.get(lane.key)
            if waiting is None:
                waiting = self._lanes[lane.key] = _Waiting(lane)
            now = self._clock()
            for row in rows:
                row.since = now
                waiting.add(row)
            self._changed.notify_all()

    def _take(self) -> tuple[_Waiting, list[Row]]:
        """The next batch: of the best rank, and of equals from the lane that has waited longest for its turn."""
        now = self._clock()
        key = next(iter(self._lanes))
        if len(self._lanes) > 1:
            key = min(self._lanes, key=lambda key: self._lanes[key].turn(now)[0])
        waiting = self._lanes.pop(key)
        rows = waiting.take(now)
        if waiting.by_length:
            self._lanes[key] = waiting  # behind the other lanes: models take turns
        return waiting, rows

    def _serve(self, number: int) -> None:
        while True:
            with self._changed:
                while not self._lanes or self._running < number:
                    if self._stopped and not self._lanes:
                        return
                    self._changed.wait()
                waiting, rows = self._take()
                alone = not number and not self._lanes and not self._running
                self._running += 1
                if self._lanes:
                    self._changed.notify_all()  # there is work for a helper
            try:
                self._run(waiting.lane, rows, alone)
            except Exception as exc:  # noqa: BLE001 - of what stands around a batch: its rows fail, and not this thread
                logger.error("a batch could not be run: %s", type(exc).__name__, extra={"action": "batch_lost"})
                for row in rows:
                    if not row.future.done():
                        settle(row.future, error=exc)
            finally:
                with self._changed:
                    self._running -= 1
                    if self._stopped:
                        self._changed.notify_all()

    def _run(self, lane: Lane, rows: Sequence[Row], alone: bool) -> None:
        self._before_batch(alone)
        began = self._clock()
        with tracing.span("warmlane.forward", links={row.span for row in rows}, model=lane.name, rows=len(rows)):
            run_isolated(lane.run, rows)
        self._on_batch(_told(lane, rows, began, self._clock()))


def _told(lane: Lane, rows: Sequence[Row], began: float, ended: float) -> Batch:
    lengths = [row.length for row in rows]
    waited = began - min(row.since for row in rows)
    return Batch(lane.name, len(rows), sum(lengths), len(rows) * max(lengths), waited, ended - began)


def run_isolated(run: Run, rows: Sequence[Row]) -> None:
    """Run rows together; if that fails, by halves, so that a bad row fails alone."""
    rows = [row for row in rows if not row.future.cancelled()]
    if not rows:
        return
    try:
        outputs = run([row.payload for row in rows])
        if len(outputs) != len(rows):
            raise RuntimeError(f"a batch of {len(rows)} rows gave {len(outputs)} outputs")
    except Exception as exc:  # noqa: BLE001 - it goes to the rows' callers
        if len(rows) == 1:
            settle(rows[0].future, error=exc)
            return
        logger.info("a batch of %d failed, running it by halves", len(rows), extra={"action": "bisect"})
        middle = len(rows) // 2
        run_isolated(run, rows[:middle])
        run_isolated(run, rows[middle:])
        return
    for row, output in zip(rows, outputs, strict=True):
        settle(row.future, output=output)


def settle(future: Future[Any], output: Any = None, error: Exception | None = None) -> None:
    if not future.set_running_or_notify_cancel():
        return  # its caller gave up
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(output)
