"""One job's life on a worker: taken up, run, committed. Knows the order of things, not what a job does.

The steps are in the actor and not in Dramatiq's hooks, because Dramatiq logs and swallows what an `after_` hook raises:
a result written there can be lost without anybody knowing. The commit acknowledges the message in the same step, and is
tried until the server is there.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from warmlane import codec, tracing
from warmlane.blobs import Blobs, StoredJob, opened
from warmlane.dead import DEAD_CODES, Bury
from warmlane.errors import (
    CodecError,
    ConfigurationError,
    InternalError,
    JobCancelled,
    JobExpired,
    PayloadTooLarge,
    PoisonJob,
    ServerUnreachable,
    WarmlaneError,
)
from warmlane.jobs import Job, new_id
from warmlane.keys import MANAGE_QUEUE
from warmlane.ops import Finish, Op, ReportProgress, Start, Verdict
from warmlane.records import Outcome
from warmlane.results import Progress, State
from warmlane.store import GroupedStore, RedisStore
from warmlane_workers.gate import Gate
from warmlane_workers.logs import about_job
from warmlane_workers.observer import UNSEEN, Ended, Observer
from warmlane_workers.pace import Pace

logger = logging.getLogger(__name__)

R = TypeVar("R")

#: Pause before an outcome is offered again to a server that did not take it, in seconds.
INSIST_S = 1.0
#: Shortest time between two reports of the same phase, in seconds.
REPORT_S = 0.5


class JobContext:
    """What a handler knows of the job that it runs: its id, which attempt this is, and how to report.

    Args:
        left_s: seconds to the job's deadline; None without one.
        pace: is told of loads.

    Attributes:
        truncated: numbers of the rows that were cut, which the handler says of its result.
    """

    def __init__(
        self,
        store: RedisStore | GroupedStore,
        job_id: str,
        attempt: int,
        *,
        left_s: float | None = None,
        priority: str = "normal",
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace
        self._loading = False
        self.job_id = job_id
        self.attempt = attempt
        self.priority = priority
        self._late_at = math.inf if left_s is None else time.monotonic() + left_s
        self.truncated: tuple[int, ...] = ()
        self._store = store
        self._phase = ""
        self._next = 0.0

    def report(self, fraction: float, phase: str, state: State = State.RUNNING) -> None:
        """Say how far the job has come; costs a round trip at a new phase, else at most one in `REPORT_S`.

        Raises:
            JobCancelled: somebody wants it cancelled.
            JobExpired: its deadline has passed.
        """
        if not self.left_s():
            raise late(self.job_id)
        now = time.monotonic()
        kind = phase.partition(" ")[0]
        if kind == self._phase and now < self._next:
            return
        self._phase, self._next = kind, now + REPORT_S
        if self._send(state, Progress(fraction, phase)):
            raise JobCancelled(f"job {self.job_id} was cancelled", id=self.job_id)

    def left_s(self) -> float:
        """Seconds to the job's deadline; infinite without one, 0 when it has passed."""
        return max(0.0, self._late_at - time.monotonic())

    def tell(self, state: State, phase: str, fraction: float = 0.0) -> None:
        """Say what happens, and hear nothing: for a load, which other jobs wait for whatever becomes of this one."""
        self.loads(state is State.LOADING)
        self._send(state, Progress(fraction, phase))

    def loads(self, loading: bool) -> None:
        """Whether the job loads a model now, for the pace of its worker."""
        if self._pace is not None and loading is not self._loading:
            self._pace.load(begins=loading)
        self._loading = loading

    def ask(self, op: Op[R]) -> R:
        """Ask the store for more than a report.

        Raises:
            ServerUnreachable: it does not answer.
        """
        return self._store.run(op)

    def _send(self, state: State, progress: Progress) -> bool:
        """Whether the job should stop. A report that cannot be delivered is dropped: the job goes on."""
        try:
            return self._store.run(ReportProgress(self.job_id, state, progress))
        except WarmlaneError as exc:
            logger.warning("progress is lost: %s", exc, extra={"action": "progress_lost", "job_id": self.job_id})
            return False


def late(job_id: str) -> JobExpired:
    """How a job ends that is too late."""
    return JobExpired(f"the deadline of job {job_id} passed before it was answered", id=job_id)


Handler = Callable[[Any, JobContext], Any]
OnSettled = Callable[[str, str], None]


class Lifecycle:
    """Runs jobs with the handler of their kind.

    Args:
        result_ttl_s: how long a result waits for its caller.
        on_settled: told of each message that was acknowledged with its outcome: queue and id.
        life: names this process, for what comes after it (`warmlane.blame`).
        blobs: where large payloads come from and large results go.
        observer: told of each job that ended.
    """

    def __init__(
        self,
        store: RedisStore | GroupedStore,
        worker_id: str,
        handlers: Mapping[str, Handler],
        result_ttl_s: int,
        on_settled: OnSettled,
        life: str | None = None,
        blobs: Blobs | None = None,
        observer: Observer = UNSEEN,
    ) -> None:
        self._observer = observer
        self._on_settled = on_settled
        self._store = store
        self._worker_id = worker_id
        self._life = new_id() if life is None else life
        self._blobs = blobs
        self._gate = Gate()
        self._handlers = handlers
        self._result_ttl_s = result_ttl_s
        self._pace = Pace()  # of jobs on the device
        self._elsewhere = Pace()
        self._pause = threading.Event()  # never set: only waited for

    @property
    def running(self) -> int:
        """Jobs that are running now."""
        return self._pace.running + self._elsewhere.running

    @property
    def pace_ms(self) -> float:
        """How long a job on the device takes here lately."""
        return self._pace.ms

    @property
    def load_ms(self) -> float:
        """How long the load of a model takes here lately; 0 before the first."""
        return self._pace.load_ms

    def work(self, queue: str, job_id: str, job: Job | StoredJob) -> None:
        """Take a job up, run it and commit its outcome. Its message is settled on return, or may be acknowledged.

        A job that may be what took its worker down runs while nothing else does.

        Args:
            queue: the one that its message came from.
        """
        with self._gate.company():
            verdict = self._insist(Start(job_id, self._worker_id, self._life))
            if verdict.word != "suspect":
                self._obey(verdict, queue, job_id, job)
                return
        # Not counted as taken up before it is alone: should the process crash meanwhile, it is not to blame.
        with self._gate.alone():
            verdict = self._insist(Start(job_id, self._worker_id, self._life, alone=True))
            self._obey(verdict, queue, job_id, job)

    def _obey(self, verdict: Verdict, queue: str, job_id: str, job: Job | StoredJob) -> None:
        if verdict.word in ("missing", "final"):
            return
        if verdict.word == "cancelled":
            outcome = Outcome.failed(JobCancelled(f"job {job_id} was cancelled", id=job_id))
        elif verdict.word == "late":
            outcome = Outcome.failed(late(job_id))
        elif verdict.word == "poison":
            outcome = Outcome.failed(_poison(job_id, verdict))
        else:
            pace = self._elsewhere if queue == MANAGE_QUEUE else self._pace
            context = self._context(job_id, verdict, pace)
            pace.begin()
            try:
                with (
                    about_job(job_id, job.kind, job.subject),
                    tracing.span("warmlane.job", parent=verdict.traceparent, job_id=job_id, kind=job.kind) as span,
                ):
                    outcome = self._run(job, context)
                    span.say(model=job.subject, outcome=_word(outcome))
            finally:
                context.loads(False)
                pace.end()
        began = time.monotonic()
        self._commit(queue, job_id, outcome)
        self._on_settled(queue, job_id)
        self._tell(job_id, job, verdict, outcome, time.monotonic() - began)

    def _tell(self, job_id: str, job: Job | StoredJob, verdict: Verdict, outcome: Outcome, commit_s: float) -> None:
        word = _word(outcome)
        model = job.subject.partition("/")[0].partition("@")[0]
        first = verdict.word == "run" and verdict.attempts == 1
        self._observer.ended(Ended(job.kind, model, word, verdict.waited_s if first else None, commit_s))
        about = {"action": "job_ended", "job_id": job_id, "kind": job.kind, "model": job.subject, "outcome": word}
        logger.debug("%s of %s: %s", job.kind, job.subject, word, extra=about)

    def _context(self, job_id: str, verdict: Verdict, pace: Pace) -> JobContext:
        left_s, priority = verdict.left_s, verdict.priority
        return JobContext(self._store, job_id, verdict.attempts, left_s=left_s, priority=priority, pace=pace)

    def reject(self, queue: str, job_id: str, error: WarmlaneError) -> None:
        """Bury a message that is no job, and fail the job that it was to be."""
        self._insist(Bury(job_id, queue, error.code))
        self._insist(Finish(job_id, Outcome.failed(error), self._result_ttl_s, queue, self._worker_id))

    def _commit(self, queue: str, job_id: str, outcome: Outcome) -> None:
        if outcome.error is not None and outcome.error["code"] in DEAD_CODES:
            # Buried before it is acknowledged: should this process die in between, it comes back and is buried again.
            self._insist(Bury(job_id, queue, outcome.error["code"]))
        self._insist(Finish(job_id, outcome, self._result_ttl_s, queue, self._worker_id, self._life))

    def _run(self, job: Job | StoredJob, context: JobContext) -> Outcome:
        try:
            value = self._handlers[job.kind](opened(self._blobs, job), context)
            return Outcome(State.SUCCEEDED, self._result(context.job_id, value), truncated=context.truncated)
        except WarmlaneError as exc:
            return Outcome.failed(exc)
        except Exception as exc:  # noqa: BLE001 - whatever a library raises must become the job's outcome
            return Outcome.failed(unforeseen(exc, context.job_id, worker=self._worker_id))

    def _result(self, job_id: str, value: Any) -> bytes:
        """A result as it is stored: its frame, or where there is a blob store and it is large, the reference to it."""
        blobs = self._blobs
        try:
            data = codec.encode("result", value) if blobs is None else blobs.encode("result", value)
        except CodecError as exc:
            if "limit" not in exc.details:
                raise
            raise PayloadTooLarge(f"the result is too large ({exc.message}); send fewer rows in a job") from exc
        return data if blobs is None or len(data) <= blobs.inline_bytes else blobs.write(job_id, data).frame()

    def _insist(self, op: Op[R]) -> R:
        while True:
            try:
                return self._store.run(op)
            except (ServerUnreachable, ConfigurationError, InternalError) as exc:
                # Away, read-only, out of memory, or refusing us: an operator's trouble, which no job may pay for.
                logger.error("the server does not take it, trying on: %s", exc, extra={"action": "insist"})
                self._pause.wait(INSIST_S)


def _word(outcome: Outcome) -> str:
    """How a job ended: "succeeded", or the code of its error."""
    return "succeeded" if outcome.error is None else str(outcome.error["code"])


def _poison(job_id: str, verdict: Verdict) -> PoisonJob:
    return PoisonJob(
        f"job {job_id} lost its worker {verdict.attempts} times, {verdict.crashes} of them by a crash, "
        "and is not tried again; the worker's log has what it died of",
        id=job_id,
        attempts=verdict.attempts,
        crashes=verdict.crashes,
    )


def unforeseen(error: Exception, job_id: str, **details: Any) -> InternalError:
    """What a caller is told of an error that nobody translated; the log has its place.

    Its text may quote the payload: callers and logs get its class and its place only.
    """
    logger.error(
        "job %s failed with %s at\n%s",
        job_id,
        type(error).__name__,
        "".join(traceback.format_tb(error.__traceback__)),
        extra={"action": "job_failed", "job_id": job_id},
    )
    message = f"{type(error).__name__} in the worker; its log has the place under this job's id"
    return InternalError(message, id=job_id, **details)
