"""A job's rows on their way: prepared, queued for the device, finished, each in its own place. Knows no model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from warmlane import tracing
from warmlane.errors import InvalidParams, WarmlaneError
from warmlane_workers.context import JobContext
from warmlane_workers.engine.batcher import RANKS, Row
from warmlane_workers.engine.telling import Silent
from warmlane_workers.outcomes import unforeseen
from warmlane_workers.tasks.base import Prepared, tried
from warmlane_workers.tasks.failures import Failed, in_place

#: How often a job that waits for the device looks whether it was cancelled, and says how far it is, in seconds.
_WATCH_S = 1.0
#: How often a long job does the same while its rows are prepared.
_REPORT_ROWS = 256

#: Rows -> the parts of each, or what is wrong with it.
Prepare = Callable[[Sequence[Any]], Sequence[list[Prepared] | Exception]]
#: (place, error) -> what stands in the place of the row; or it raises what the job fails with.
OnError = Callable[[int, Exception], Failed]


def fail_job(single: bool, context: JobContext) -> OnError:
    """The first row that fails ends its job with an error that names the row."""

    def on_error(index: int, error: Exception) -> Failed:
        if single or isinstance(error, InvalidParams):  # which concern all rows
            raise error
        if isinstance(error, WarmlaneError):
            raise in_place(error, index) from error
        raise in_place(unforeseen(error, context.job_id), index) from error

    return on_error


def fail_row(single: bool, context: JobContext) -> OnError:
    """A row that fails leaves its error in its place."""

    def on_error(index: int, error: Exception) -> Failed:
        known = error if isinstance(error, WarmlaneError) else unforeseen(error, context.job_id)
        return Failed(known if single or isinstance(known, InvalidParams) else in_place(known, index))

    return on_error


#: What `on_error` of a job may be.
POLICIES = {"job": fail_job, "row": fail_row}


class Rows:
    """The rows of one job.

    Args:
        finish: the outputs of a row's parts, in order -> its answer.
        on_error: what becomes of a row whose steps raise.
        listener: how to wait for the device; default: in silence.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        finish: Callable[[list[Any]], Any],
        on_error: OnError,
        context: JobContext,
        listener: Silent | None = None,
    ) -> None:
        self._rows = rows
        self._finish = finish
        self._on_error = on_error
        self._context = context
        self._listener = listener or Silent()
        self._answers: list[Any] = [None] * len(rows)
        self._outputs: list[list[Any]] = [[] for _ in rows]
        self._left = [0] * len(rows)  # parts that a row waits for
        self._cut: list[int] = []
        self._places: dict[Future[Any], tuple[int, int]] = {}

    @property
    def truncated(self) -> tuple[int, ...]:
        """The numbers of the rows that were answered, and not read whole."""
        return tuple(index for index in self._cut if not isinstance(self._answers[index], Failed))

    def run(self, prepare: Prepare, submit: Callable[[list[Row]], None]) -> list[Any]:
        """The answer to each row, or its `Failed`. Outputs are finished as they come: no job holds them all.

        Args:
            prepare: rows -> the parts of each, or what is wrong with it.

        Raises:
            JobCancelled: somebody wants the job cancelled.
            JobExpired: its deadline has passed.
            Exception: what `on_error` raises.
        """
        try:
            submit(self._prepared(prepare))  # the batcher lets go of each row when it has run
            while self._places:
                self._collect()
            return self._answers
        finally:
            self.stop()

    def stop(self) -> None:
        """Nobody waits any more for what is not there yet."""
        self._listener.stop()
        for future in self._places:
            future.cancel()

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have `call` called when all parts are answered or have failed, in whatever thread; or now."""
        left = itertools.count(len(self._places) - 1, -1)
        for future in list(self._places):
            future.add_done_callback(lambda done: None if next(left) else call())
        if not self._places:
            call()

    def collected(self) -> list[Any]:
        """As `run`, of rows that are ready."""
        while self._places:
            self._collect()
        return self._answers

    def progress(self) -> tuple[float, str]:
        """The share of the rows that are answered, and the same in words."""
        ready = self._left.count(0)
        return ready / len(self._rows), f"rows {ready}/{len(self._rows)}"

    def _prepared(self, prepare: Prepare) -> list[Row]:
        waiting: list[Row] = []
        for begin in range(0, len(self._rows), _REPORT_ROWS):
            if begin:
                self._context.report(0.0, f"preparing {begin}/{len(self._rows)}")
            waiting += self.taken(prepare(self._rows[begin : begin + _REPORT_ROWS]), begin)
        return waiting

    def taken(self, made: Sequence[list[Prepared] | Exception], begin: int = 0) -> list[Row]:
        """The parts of rows, made ready for the device, as the batcher takes them.

        Args:
            begin: the number of the first of these rows.
        """
        waiting: list[Row] = []
        span, rank = tracing.current(), RANKS[self._context.priority]
        for index, one in enumerate(made, begin):
            prepared = one if isinstance(one, Exception) else tried(self._listener.watched, one)
            if isinstance(prepared, Exception):
                self._answers[index] = self._on_error(index, prepared)
                continue
            if any(part.truncated for part in prepared):
                self._cut.append(index)
            parts = [Row(part, part.length, rank, span=span) for part in prepared]
            self._outputs[index], self._left[index] = [None] * len(parts), len(parts)
            self._places |= {part.future: (index, number) for number, part in enumerate(parts)}
            waiting += parts
            if not parts:
                self._settle(index)
        return waiting

    def _collect(self) -> None:
        for future in self._listener.wait(self._places, min(_WATCH_S, self._context.left_s())):
            index, number = self._places.pop(future)
            try:
                self._outputs[index][number] = future.result()
            except Exception as exc:  # noqa: BLE001 - it becomes the row's, or the job's
                self._answers[index] = self._on_error(index, exc)
            self._left[index] -= 1
            if not self._left[index]:
                self._settle(index)
        if self._places:
            self._context.report(*self.progress())

    def _settle(self, index: int) -> None:
        """All parts of a row are there, or failed."""
        if not isinstance(self._answers[index], Failed):
            try:
                self._answers[index] = self._finish(self._outputs[index])
            except Exception as exc:  # noqa: BLE001 - it becomes the row's, or the job's
                self._answers[index] = self._on_error(index, exc)
        self._outputs[index] = []
