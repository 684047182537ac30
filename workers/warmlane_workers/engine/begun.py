"""Predict jobs begun together, for which no thread waits: small ones, of models that are warm.

What they have in common is done once: a model is found once, the texts of all are read in one call, and the rows of a
lane are queued at once. A job that cannot be begun so, for whatever reason, is predicted as ever, and hears there why.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from warmlane.jobs import Job, PredictJob
from warmlane.signature import is_one_row, rows_of
from warmlane_workers.context import JobContext
from warmlane_workers.engine.batcher import Row
from warmlane_workers.engine.entry import Entry
from warmlane_workers.engine.loaded import Key, Loaded, ModelKey
from warmlane_workers.engine.reading import check_job, effective, read_row
from warmlane_workers.engine.rows import Rows
from warmlane_workers.flavor.custom_code import check_worker, refuse_unasked
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.base import Plan, Task
from warmlane_workers.tasks.failures import Failed, assembled

if TYPE_CHECKING:
    from warmlane_workers.engine.engine import Engine

logger = logging.getLogger(__name__)

#: (model, dtype) -> what a request of them means; None: somebody has to be asked.
Found = dict[tuple[str, str | None], tuple[ModelKey, Artifact] | None]

#: A job of more characters takes its time to be read, and others would wait for it.
LONGEST = 10_000
#: A job with more rows fills batches of its own, and can afford a thread.
MOST_ROWS = 16


@dataclass(eq=False, slots=True)
class PlannedPredict:
    """A job that can be begun (`warmlane_workers.threadless.Planned`): what it means, and its model, which it holds."""

    job: PredictJob
    key: ModelKey
    entry: Entry[Key, Loaded]
    task: Task
    plan: Plan
    inputs: list[Any]
    release: Callable[[Entry[Key, Loaded]], None]

    def is_like(self, other: PlannedPredict) -> bool:
        """Whether their rows are prepared and queued alike."""
        mine, its = self.plan, other.plan
        same = self.task is other.task and mine.group == its.group and mine.cut_at == its.cut_at
        return same and mine.prepare == its.prepare

    @property
    def single(self) -> bool:
        return is_one_row(self.job.inputs)

    def close(self) -> None:
        self.release(self.entry)


class BegunPredict:
    """A job whose rows are on the device (`warmlane_workers.flights.Begun`)."""

    def __init__(self, planned: PlannedPredict, context: JobContext) -> None:
        self.planned = planned
        self._context = context
        self.waiting = Rows(planned.inputs, self._finish, _raised, context)

    def _finish(self, outputs: list[Any]) -> Any:
        return self.planned.task.finish(outputs, self.planned.plan)

    def when_ready(self, call: Callable[[], None]) -> None:
        self.waiting.when_ready(call)

    def answer(self) -> Any:
        answers, planned = self.waiting.collected(), self.planned
        self._context.truncated = self.waiting.truncated
        return assembled(planned.task, answers, planned.single, planned.job.output, self.waiting.truncated)

    def progress(self) -> tuple[float, str]:
        return self.waiting.progress()

    def close(self) -> None:
        self.waiting.stop()
        self.planned.close()


class Beginner:
    """Begins jobs of an engine's warm models (`warmlane_workers.threadless.Beginner`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def plan(self, jobs: Sequence[Job]) -> list[PlannedPredict | None]:
        found: Found = {}
        return [self._found(job, found) for job in jobs]

    def begin(self, asked: Sequence[tuple[PlannedPredict, JobContext]]) -> list[BegunPredict | None]:
        begun = [BegunPredict(planned, context) for planned, context in asked]
        alike: list[list[BegunPredict]] = []
        for one in begun:
            jobs = next((jobs for jobs in alike if jobs[0].planned.is_like(one.planned)), None)
            if jobs is None:
                alike.append([one])
            else:
                jobs.append(one)
        left = {one for jobs in alike for one in self._queue(jobs)}
        return [None if one in left else one for one in begun]

    def _found(self, job: Job, found: Found) -> PlannedPredict | None:
        try:
            if not isinstance(job, PredictJob) or job.stream or job.output == "raw":
                return None
            what = job.model, job.dtype
            if what not in found:
                found[what] = self._engine.at_hand(job.model, job.dtype)
            meant = found[what]
            entry = None if meant is None else self._engine.cache.leased(meant[0])
            return None if meant is None or entry is None else self._kept(job, *meant, entry)
        except Exception as exc:  # noqa: BLE001 - predict will meet it again, and say what it means
            logger.debug("not begun: %s", type(exc).__name__, extra={"action": "not_begun"})
            return None

    def _kept(
        self, job: PredictJob, key: ModelKey, artifact: Artifact, entry: Entry[Key, Loaded]
    ) -> PlannedPredict | None:
        """As `_planned`; a job that is not begun lets go of its model."""
        one: PlannedPredict | None = None
        try:
            one = self._planned(job, key, artifact, entry)
            return one
        finally:
            if one is None:
                self._engine.cache.release(entry)

    def _planned(
        self, job: PredictJob, key: ModelKey, artifact: Artifact, entry: Entry[Key, Loaded]
    ) -> PlannedPredict | None:
        trust = check_worker(job.trust_remote_code, self._engine.trust_remote_code)
        refuse_unasked(entry.value.components, agreed=trust)
        task = self._engine.task(entry.value)
        params = effective(artifact, job.params, self._engine.config_of(key))
        if not task.is_quick(params):
            return None
        check_job(artifact, job)
        inputs = rows_of(artifact.signature, artifact.task, job.inputs)
        if not are_few(inputs):
            return None
        plan = task.plan(params)
        inputs = [read_row(artifact, job, row) for row in inputs]
        return PlannedPredict(job, key, entry, task, plan, inputs, self._engine.cache.release)

    def _queue(self, jobs: Sequence[BegunPredict]) -> list[BegunPredict]:
        """Prepare and queue the rows of jobs that are alike; returns those that cannot be, and are closed."""
        try:
            with self._engine.batcher.expecting(jobs[0].planned.entry.value.company):
                return self._queued(jobs)
        except Exception as exc:  # noqa: BLE001 - a bug there must not take these jobs along: they have their threads
            logger.error("jobs were not begun: %s", type(exc).__name__, extra={"action": "not_begun"})
            for one in jobs:
                one.close()
            return list(jobs)

    def _queued(self, jobs: Sequence[BegunPredict]) -> list[BegunPredict]:
        first = jobs[0].planned
        began = time.monotonic()
        prepared = iter(first.task.prepare_all([row for one in jobs for row in one.planned.inputs], first.plan))
        rows: list[Row] = []
        left: list[BegunPredict] = []
        for one in jobs:
            made = list(islice(prepared, len(one.planned.inputs)))
            if any(isinstance(parts, Exception) for parts in made):
                left.append(one)
            else:
                rows += one.waiting.taken(made)
                self._engine.observer.wanted(first.key.name, warm=True)
                self._engine.observer.prepared(first.key.name, time.monotonic() - began)
        self._engine.queue(first.key, first.entry, first.task, first.plan)(rows)
        for one in left:
            one.close()
        return left


def are_few(rows: Sequence[Any]) -> bool:
    """Whether they are few rows of texts, with few characters."""
    return len(rows) <= MOST_ROWS and sum(map(characters, rows)) <= LONGEST


def characters(row: Any) -> float:
    """The characters of a row of texts; infinite for any other."""
    parts = row.values() if isinstance(row, dict) else row if isinstance(row, list) else (row,)
    return sum(len(part) if isinstance(part, str) else math.inf for part in parts)


def _raised(index: int, error: Exception) -> Failed:
    raise error
