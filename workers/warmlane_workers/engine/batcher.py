"""How waiting rows become batches. Knows lengths, ages and groups, not models: what runs a batch is passed in.

A batch is built around the row whose turn it is (`warmlane_workers.engine.cutting`). Turns go by priority, then by
lane, so that a model with many rows does not hold up another, then by age; and what has waited long counts for more, so
that nothing starves. A device thread that is free takes what waits; it waits a moment for rows that are just being made
ready, so that many small jobs share a batch, and a lone caller never waits for company. A model whose batches are
little more than their fixed cost has one at a time: what comes meanwhile shares the next.
"""

from __future__ import annotations

import bisect
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from warmlane import tracing
from warmlane.budget import BatchBudget
from warmlane_workers.engine.cutting import choose
from warmlane_workers.observer import Batch

logger = logging.getLogger(__name__)

#: So long may a row wait for those of its model that are being made ready, while the device is free, in seconds.
COMPANY_S = 0.02
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
        budget: of its batches (a single row of more tokens is a batch of its own).
        name: of the model, for `on_batch`.
        company: what `Batcher.expecting` calls those whose rows may share a batch with these.
    """

    key: Hashable
    run: Run
    budget: BatchBudget
    name: str = ""
    company: Hashable = None


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


class _Waiting:
    """The rows of one lane that wait: of each rank in order of arrival, and all in order of length."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.by_age: dict[int, dict[Row, None]] = {rank: {} for rank in RANKS.values()}
        self.by_length: list[Row] = []
        self.tokens = 0

    def add(self, row: Row) -> None:
        self.tokens += row.length
        self.by_age[row.rank][row] = None
        bisect.insort(self.by_length, row, key=lambda other: other.length)

    def turn(self, now: float) -> tuple[float, Row]:
        """The row whose turn it is, and its rank, bettered by its time of waiting."""
        heads = [next(iter(rows)) for rows in self.by_age.values() if rows]
        ranks = [(row.rank - (now - row.since) // PROMOTION_S, row) for row in heads]
        return min(ranks, key=lambda ranked: (ranked[0], ranked[1].since))

    @property
    def since(self) -> float:
        """When the oldest row came."""
        return min(next(iter(rows)).since for rows in self.by_age.values() if rows)

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
            self.tokens -= row.length
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
        self._busy: set[Hashable] = set()  # lanes of which a batch runs, and which have one at a time
        self._lanes: dict[Hashable, _Waiting] = {}  # in order of their turns
        self._coming: Counter[Hashable] = Counter()  # jobs whose rows are being made ready, by their company
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

    @contextmanager
    def expecting(self, company: Hashable) -> Iterator[None]:
        """Around the making of rows and their `submit`: those of their company may wait for them a moment."""
        with self._changed:
            self._coming[company] += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming[company] -= 1
                if not self._coming[company]:
                    del self._coming[company]
                    self._changed.notify_all()

    def submit(self, lane: Lane, rows: Sequence[Row]) -> None:
        """Queue rows; each row's future gets its output, or its error. No rows are nothing to do."""
        if not rows:
            return
        with self._changed:
            waiting = self._lanes.get(lane.key)
            if waiting is None:
                waiting = self._lanes[lane.key] = _Waiting(lane)
            now = self._clock()
            first = not waiting.by_length
            for row in rows:
                row.since = now
                waiting.add(row)
            if first or self._pause(waiting, now) <= 0:
                self._changed.notify_all()

    def _pause(self, waiting: _Waiting, now: float) -> float:
        """How long the rows of a lane may yet wait for company, in seconds."""
        full = waiting.tokens >= waiting.lane.budget.tokens
        if self._stopped or full or waiting.lane.company not in self._coming:
            return 0.0
        return waiting.since + COMPANY_S - now

    def _next(self) -> tuple[_Waiting, list[Row]] | float | None:
        """The next batch: of the best rank, and of equals from the lane that has waited longest for its turn; or how
        long to wait for company, in seconds; None where nothing waits."""
        free = [waiting for key, waiting in self._lanes.items() if key not in self._busy]
        if not free:
            return None
        now = self._clock()
        pauses = {waiting.lane.key: self._pause(waiting, now) for waiting in free}
        due = [key for key, pause in pauses.items() if pause <= 0]
        if not due:
            return min(pauses.values())
        key = due[0]
        if len(due) > 1:
            key = min(due, key=lambda key: self._lanes[key].turn(now)[0])
        waiting = self._lanes.pop(key)
        rows = waiting.take(now)
        if waiting.by_length:
            self._lanes[key] = waiting  # behind the other lanes: models take turns
        return waiting, rows

    def _serve(self, number: int) -> None:
        while True:
            with self._changed:
                while True:
                    if self._stopped and not self._lanes:
                        return
                    found = self._next() if self._running >= number else None
                    if isinstance(found, tuple):
                        break
                    self._changed.wait(found)
                waiting, rows = found
                alone = not number and not self._lanes and not self._running
                self._running += 1
                if waiting.lane.budget.is_light:
                    self._busy.add(waiting.lane.key)
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
                    self._busy.discard(waiting.lane.key)
                    if self._stopped or self._lanes:
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
