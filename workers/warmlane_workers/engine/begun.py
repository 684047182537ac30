"""Predict jobs begun together, for which no thread waits: small ones, of models that are warm.

What they have in common is done once: a model is found once, the texts of all are read in one call, and the rows of a
lane are queued at once. A job that cannot be begun so, for whatever reason, is predicted as ever, and hears there why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from warmlane.jobs import Job, PredictJob
from warmlane.results import Table
from warmlane.signature import rows_of
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

#: (model, dtype) -> what a request of them means.
Found = dict[tuple[str, str | None], tuple[ModelKey, Artifact]]

#: A longer text takes its time to be read, and others would wait for it.
LONGEST = 10_000
#: A job with more rows fills batches of its own, and can afford a thread.
MOST_ROWS = 16


@dataclass(eq=False)
class BegunPredict:
    """A job whose rows are on the device (`warmlane_workers.flights.Begun`)."""

    job: PredictJob
    context: JobContext
    key: ModelKey
    entry: Entry[Key, Loaded]
    task: Task
    plan: Plan
    inputs: list[Any]
    release: Callable[[Entry[Key, Loaded]], None]
    waiting: Rows = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = Rows(self.inputs, lambda outputs: self.task.finish(outputs, self.plan), _raised, self.context)

    def is_like(self, other: BegunPredict) -> bool:
        """Whether their rows are prepared and queued alike."""
        mine, its = self.plan, other.plan
        same = self.task is other.task and mine.group == its.group and mine.cut_at == its.cut_at
        return same and mine.prepare == its.prepare

    @property
    def single(self) -> bool:
        return not isinstance(self.job.inputs, list | Table)

    def when_ready(self, call: Callable[[], None]) -> None:
        self.waiting.when_ready(call)

    def answer(self) -> Any:
        answers = self.waiting.collected()
        self.context.truncated = self.waiting.truncated
        return assembled(self.task, answers, self.single, self.job.output, self.waiting.truncated)

    def progress(self) -> tuple[float, str]:
        return self.waiting.progress()

    def close(self) -> None:
        self.waiting.stop()
        self.release(self.entry)


class Beginner:
    """Begins jobs of an engine's warm models."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, asked: Sequence[tuple[Job, JobContext]]) -> list[BegunPredict | None]:
        """The jobs that have begun; None for each that needs a thread of its own."""
        found: Found = {}
        begun = [self._found(job, context, found) for job, context in asked]
        alike: list[list[BegunPredict]] = []
        for one in begun:
            if one is not None:
                jobs = next((jobs for jobs in alike if jobs[0].is_like(one)), None)
                if jobs is None:
                    alike.append([one])
                else:
                    jobs.append(one)
        left = {id(one) for jobs in alike for one in self._queue(jobs)}
        return [None if id(one) in left else one for one in begun]

    def _found(self, job: Job, context: JobContext, found: Found) -> BegunPredict | None:
        try:
            if not isinstance(job, PredictJob) or job.stream or job.output == "raw":
                return None
            what = job.model, job.dtype
            if what not in found:
                found[what] = self._engine.find(job.model, job.dtype, prefer_warm=True)
            key, artifact = found[what]
            entry = self._engine.cache.leased(key)
            return None if entry is None else self._kept(job, context, key, artifact, entry)
        except Exception as exc:  # noqa: BLE001 - predict will meet it again, and say what it means
            logger.debug("not begun: %s", type(exc).__name__, extra={"action": "not_begun"})
            return None

    def _kept(
        self, job: PredictJob, context: JobContext, key: ModelKey, artifact: Artifact, entry: Entry[Key, Loaded]
    ) -> BegunPredict | None:
        """As `_planned`; a job that is not begun lets go of its model."""
        one: BegunPredict | None = None
        try:
            one = self._planned(job, context, key, artifact, entry)
            return one
        finally:
            if one is None:
                self._engine.cache.release(entry)

    def _planned(
        self, job: PredictJob, context: JobContext, key: ModelKey, artifact: Artifact, entry: Entry[Key, Loaded]
    ) -> BegunPredict | None:
        trust = check_worker(job.trust_remote_code, self._engine.trust_remote_code)
        refuse_unasked(entry.value.components, agreed=trust)
        task = self._engine.task(entry.value)
        if not task.is_quick:
            return None
        check_job(artifact, job)
        inputs = rows_of(artifact.signature, artifact.task, job.inputs)
        if len(inputs) > MOST_ROWS or not all(is_short(row) for row in inputs):
            return None
        plan = task.plan(effective(artifact, job.params, self._engine.config_of(key)))
        inputs = [read_row(artifact, job, row) for row in inputs]
        return BegunPredict(job, context, key, entry, task, plan, inputs, self._engine.cache.release)

    def _queue(self, jobs: Sequence[BegunPredict]) -> list[BegunPredict]:
        """Prepare and queue the rows of jobs that are alike; returns those that cannot be, and are closed."""
        with self._engine.batcher.expecting(jobs[0].entry.value.company):
            return self._queued(jobs)

    def _queued(self, jobs: Sequence[BegunPredict]) -> list[BegunPredict]:
        first = jobs[0]
        began = time.monotonic()
        prepared = iter(first.task.prepare_all([row for one in jobs for row in one.inputs], first.plan))
        rows: list[Row] = []
        left: list[BegunPredict] = []
        for one in jobs:
            made = list(islice(prepared, len(one.inputs)))
            if any(isinstance(parts, Exception) for parts in made):
                one.close()
                left.append(one)
            else:
                rows += one.waiting.taken(made)
                self._engine.observer.wanted(one.key.name, warm=True)
                self._engine.observer.prepared(one.key.name, time.monotonic() - began)
        self._engine.queue(first.key, first.entry, first.task, first.plan)(rows)
        return left


def is_short(row: Any) -> bool:
    """Whether a row of texts has few characters."""
    parts = row.values() if isinstance(row, dict) else row if isinstance(row, list) else (row,)
    texts = [part for part in parts if isinstance(part, str)]
    return len(texts) == len(parts) and sum(map(len, texts)) <= LONGEST


def _raised(index: int, error: Exception) -> Failed:
    raise error
