"""One job's life on a worker: taken up, run, committed. Knows the order of things, not what a job does.

The steps are in the actor and not in Dramatiq's hooks, because Dramatiq logs and swallows what an `after_` hook raises:
a result written there can be lost without anybody knowing. The commit acknowledges the message in the same step, and is
tried until the server is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from warmlane import tracing
from warmlane.blobs import Blobs, StoredJob, opened
from warmlane.dead import DEAD_CODES, Bury
from warmlane.errors import WarmlaneError
from warmlane.jobs import Job, new_id
from warmlane.keys import MANAGE_QUEUE
from warmlane.ops import Finish, Start, Verdict
from warmlane.records import Outcome
from warmlane.store import RedisStore
from warmlane_workers.context import JobContext, cancelled, late
from warmlane_workers.gate import Gate
from warmlane_workers.insisting import InsistingStore
from warmlane_workers.logs import about_job
from warmlane_workers.observer import UNSEEN, Ended, Observer
from warmlane_workers.outcomes import Outcomes, poison, word_of
from warmlane_workers.pace import Pace

logger = logging.getLogger(__name__)

Handler = Callable[[Any, JobContext], Any]
OnSettled = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that was taken up.

    Attributes:
        queue: the one that its message came from.
    """

    queue: str
    job_id: str
    job: Job | StoredJob = field(repr=False)
    verdict: Verdict


class Lifecycle:
    """Runs jobs with the handler of their kind.

    Args:
        result_ttl_s: how long a result waits for its caller.
        on_settled: told of each message that was acknowledged with its outcome: queue and id.
        life: names this process, for what comes after it (`warmlane.blame`).
        blobs: where large payloads come from and large results go.
        observer: told of each job that ended.

    Attributes:
        gate: who runs is inside.
        pace: of jobs on the device.
    """

    def __init__(
        self,
        store: RedisStore,
        worker_id: str,
        handlers: Mapping[str, Handler],
        result_ttl_s: int,
        on_settled: OnSettled,
        life: str | None = None,
        blobs: Blobs | None = None,
        observer: Observer = UNSEEN,
    ) -> None:
        self.store = store
        self.gate = Gate()
        self.pace = Pace()
        self.outcomes = Outcomes(worker_id, blobs)
        self._elsewhere = Pace()
        self._observer = observer
        self._on_settled = on_settled
        self._sure = InsistingStore(store)
        self._worker_id = worker_id
        self._life = new_id() if life is None else life
        self._blobs = blobs
        self._handlers = handlers
        self._result_ttl_s = result_ttl_s

    @property
    def running(self) -> int:
        """Jobs that are running now."""
        return self.pace.running + self._elsewhere.running

    def work(self, queue: str, job_id: str, job: Job | StoredJob) -> None:
        """Take a job up, run it and commit its outcome. On return its message is settled, or may be acknowledged.

        A job that may be what took its worker down runs while nothing else does.

        Args:
            queue: the one that its message came from.
        """
        with self.gate.company():
            verdict = self._sure.run(self._start(job_id))
            if verdict.word != "suspect":
                self.obey(Taken(queue, job_id, job, verdict))
                return
        # Not counted as taken up before it is alone: should the process crash meanwhile, it is not to blame.
        with self.gate.alone():
            verdict = self._sure.run(self._start(job_id, alone=True))
            self.obey(Taken(queue, job_id, job, verdict))

    def take_up(self, job_ids: Sequence[str]) -> list[Verdict]:
        """Take jobs up that do not run alone, from inside the gate, in one round trip."""
        return self._sure.run_all([self._start(job_id) for job_id in job_ids])

    def obey(self, taken: Taken) -> None:
        """Run a job that was taken up, as its verdict says, and end it."""
        word, job_id = taken.verdict.word, taken.job_id
        if word in ("missing", "final"):
            return
        if word == "cancelled":
            outcome = Outcome.failed(cancelled(job_id))
        elif word == "late":
            outcome = Outcome.failed(late(job_id))
        elif word == "poison":
            outcome = Outcome.failed(poison(job_id, taken.verdict))
        else:
            outcome = self._run(taken)
        self.end([(taken, outcome)])

    def context(self, job_id: str, verdict: Verdict, pace: Pace) -> JobContext:
        """What the handler of a job that was taken up is to know."""
        left_s, priority = verdict.left_s, verdict.priority
        return JobContext(self.store, job_id, verdict.attempts, left_s=left_s, priority=priority, pace=pace)

    def end(self, ended: Sequence[tuple[Taken, Outcome]]) -> None:
        """Commit outcomes, in one round trip."""
        began = time.monotonic()
        for taken, outcome in ended:
            if outcome.error is not None and outcome.error["code"] in DEAD_CODES:
                # Before it is acknowledged: should this process die in between, it comes back and is buried again.
                self._sure.run(Bury(taken.job_id, taken.queue, outcome.error["code"]))
        finishes = [self._finish(taken.queue, taken.job_id, outcome) for taken, outcome in ended]
        if len(finishes) == 1:
            self._sure.run(finishes[0])  # with those of other threads
        else:
            self._sure.run_all(finishes)
        commit_s = time.monotonic() - began
        for taken, outcome in ended:
            self._on_settled(taken.queue, taken.job_id)
            self._tell(taken, outcome, commit_s)

    def reject(self, queue: str, job_id: str, error: WarmlaneError) -> None:
        """Bury a message that is no job, and fail the job that it was to be."""
        self._sure.run(Bury(job_id, queue, error.code))
        self._sure.run(Finish(job_id, Outcome.failed(error), self._result_ttl_s, queue, self._worker_id))

    def _run(self, taken: Taken) -> Outcome:
        job = taken.job
        pace = self._elsewhere if taken.queue == MANAGE_QUEUE else self.pace
        context = self.context(taken.job_id, taken.verdict, pace)
        pace.begin()
        try:
            with (
                about_job(taken.job_id, job.kind, job.subject),
                tracing.span(
                    "warmlane.job", parent=taken.verdict.traceparent, job_id=taken.job_id, kind=job.kind
                ) as span,
            ):
                outcome = self.outcomes.of(lambda: self._handled(job, context), context)
                span.say(model=job.subject, outcome=word_of(outcome))
                return outcome
        finally:
            context.loads(False)
            pace.end()

    def _handled(self, job: Job | StoredJob, context: JobContext) -> Any:
        return self._handlers[job.kind](opened(self._blobs, job), context)

    def _start(self, job_id: str, *, alone: bool = False) -> Start:
        return Start(job_id, self._worker_id, self._life, alone=alone)

    def _finish(self, queue: str, job_id: str, outcome: Outcome) -> Finish:
        return Finish(job_id, outcome, self._result_ttl_s, queue, self._worker_id, self._life)

    def _tell(self, taken: Taken, outcome: Outcome, commit_s: float) -> None:
        job, verdict, word = taken.job, taken.verdict, word_of(outcome)
        model = job.subject.partition("/")[0].partition("@")[0]
        first = verdict.word == "run" and verdict.attempts == 1
        self._observer.ended(Ended(job.kind, model, word, verdict.waited_s if first else None, commit_s))
        about = {"action": "job_ended", "job_id": taken.job_id, "kind": job.kind, "model": job.subject, "outcome": word}
        logger.debug("%s of %s: %s", job.kind, job.subject, word, extra=about)
