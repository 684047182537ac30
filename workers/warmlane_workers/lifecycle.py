"""One job's life on a worker: taken up, run, committed. Knows the order of things, not what a job does.

The steps are in the actor and not in Dramatiq's hooks, because Dramatiq logs and swallows what an `after_` hook raises:
a result written there can be lost without anybody knowing. The commit acknowledges the message in the same step, and is
tried until the server is there.

A job that can be begun without waiting for anything keeps no thread: threads that meet have one of them begin the jobs
of all, and what the device has answered is committed together (`warmlane_workers.flights`). A job that cannot, or that
fails so, is run in a thread of its own, which finds out why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from warmlane import tracing
from warmlane.blobs import Blobs, StoredJob, opened
from warmlane.combining import Combiner
from warmlane.dead import DEAD_CODES, Bury
from warmlane.errors import WarmlaneError
from warmlane.jobs import Job, new_id
from warmlane.keys import MANAGE_QUEUE
from warmlane.ops import Finish, ReportProgress, Start, Verdict
from warmlane.records import Outcome
from warmlane.results import Progress, State
from warmlane.store import RedisStore
from warmlane_workers.context import JobContext, cancelled, late
from warmlane_workers.flights import Begun, Flight, Flights
from warmlane_workers.gate import Gate
from warmlane_workers.insisting import InsistingStore
from warmlane_workers.logs import about_job
from warmlane_workers.observer import UNSEEN, Ended, Observer
from warmlane_workers.outcomes import Outcomes, poison, word_of
from warmlane_workers.pace import Pace

logger = logging.getLogger(__name__)

Handler = Callable[[Any, JobContext], Any]
#: Jobs, and what each has to know -> those that have begun; None for one that needs a thread of its own.
Begin = Callable[[Sequence[tuple[Job, JobContext]]], Sequence[Begun | None]]
OnSettled = Callable[[str, str], None]


class _Came(NamedTuple):
    """A job that came with a message."""

    queue: str
    job_id: str
    job: Job | StoredJob


class Lifecycle:
    """Runs jobs with the handler of their kind.

    Args:
        result_ttl_s: how long a result waits for its caller.
        on_settled: told of each message that was acknowledged with its outcome: queue and id.
        life: names this process, for what comes after it (`warmlane.blame`).
        blobs: where large payloads come from and large results go.
        observer: told of each job that ended.
        begin: begins jobs that need no thread.
        on_begun: told of each of these, before its actor returns: queue and id.
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
        *,
        begin: Begin | None = None,
        on_begun: OnSettled = lambda queue, job_id: None,
    ) -> None:
        self._observer = observer
        self._on_settled = on_settled
        self._on_begun = on_begun
        self._store = store
        self._sure = InsistingStore(store)
        self._worker_id = worker_id
        self._life = new_id() if life is None else life
        self._blobs = blobs
        self._outcomes = Outcomes(worker_id, blobs)
        self._gate = Gate()
        self._handlers = handlers
        self._result_ttl_s = result_ttl_s
        self._pace = Pace()  # of jobs on the device
        self._elsewhere = Pace()
        self._begin = begin
        self._door: Combiner[_Came, Verdict | None] = Combiner(self._take_up)
        self._flights = Flights(self._land, self._look)

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

    def wait(self, timeout_s: float) -> bool:
        """Wait for the jobs that keep no thread; whether all have ended in time."""
        return self._flights.wait(timeout_s)

    def work(self, queue: str, job_id: str, job: Job | StoredJob) -> None:
        """Take a job up, run it and commit its outcome. On return its message is settled, or may be acknowledged, or
        `on_begun` was told of it.

        A job that may be what took its worker down runs while nothing else does.

        Args:
            queue: the one that its message came from.
        """
        with self._gate.company() as inside:
            verdict = self._door.run(_Came(queue, job_id, job))
            if verdict is None:
                inside.stay()  # until it is landed
                return
            if verdict.word != "suspect":
                self._obey(verdict, queue, job_id, job)
                return
        # Not counted as taken up before it is alone: should the process crash meanwhile, it is not to blame.
        with self._gate.alone():
            verdict = self._sure.run(Start(job_id, self._worker_id, self._life, alone=True))
            self._obey(verdict, queue, job_id, job)

    # -- a job in its own thread -----------------------------------------------------------------------------------

    def _obey(self, verdict: Verdict, queue: str, job_id: str, job: Job | StoredJob) -> None:
        if verdict.word in ("missing", "final"):
            return
        if verdict.word == "cancelled":
            outcome = Outcome.failed(cancelled(job_id))
        elif verdict.word == "late":
            outcome = Outcome.failed(late(job_id))
        elif verdict.word == "poison":
            outcome = Outcome.failed(poison(job_id, verdict))
        else:
            outcome = self._run(verdict, queue, job_id, job)
        began = time.monotonic()
        self._commit(queue, job_id, outcome)
        self._on_settled(queue, job_id)
        self._tell(job_id, job, verdict, outcome, time.monotonic() - began)

    def _run(self, verdict: Verdict, queue: str, job_id: str, job: Job | StoredJob) -> Outcome:
        pace = self._elsewhere if queue == MANAGE_QUEUE else self._pace
        context = self._context(job_id, verdict, pace)
        pace.begin()
        try:
            with (
                about_job(job_id, job.kind, job.subject),
                tracing.span("warmlane.job", parent=verdict.traceparent, job_id=job_id, kind=job.kind) as span,
            ):
                outcome = self._outcomes.of(lambda: self._handled(job, context), context)
                span.say(model=job.subject, outcome=word_of(outcome))
                return outcome
        finally:
            context.loads(False)
            pace.end()

    def _handled(self, job: Job | StoredJob, context: JobContext) -> Any:
        return self._handlers[job.kind](opened(self._blobs, job), context)

    def _context(self, job_id: str, verdict: Verdict, pace: Pace) -> JobContext:
        left_s, priority = verdict.left_s, verdict.priority
        return JobContext(self._store, job_id, verdict.attempts, left_s=left_s, priority=priority, pace=pace)

    # -- jobs that keep no thread ----------------------------------------------------------------------------------

    def _take_up(self, came: Sequence[_Came]) -> list[Verdict | None]:
        """Take jobs up, and begin those that need no thread; the verdicts of the others."""
        verdicts: list[Verdict | None] = self._sure.run_all(
            [Start(job_id, self._worker_id, self._life) for _, job_id, _ in came]
        )
        if self._begin is None or tracing.enabled():  # a span is a thread's
            return verdicts
        asked = [
            (place, job, self._context(job_id, verdict, self._pace))
            for place, (verdict, (_, job_id, job)) in enumerate(zip(verdicts, came, strict=True))
            if verdict is not None and verdict.word == "run" and not isinstance(job, StoredJob)
        ]
        begun: Sequence[Begun | None]
        try:
            begun = self._begin([(job, context) for _, job, context in asked])
        except Exception as exc:  # noqa: BLE001 - a bug there must not take these jobs along: they have their threads
            logger.error("jobs were not begun: %s", type(exc).__name__, extra={"action": "not_begun"})
            begun = [None] * len(asked)
        for (place, job, context), one in zip(asked, begun, strict=True):
            verdict, queue = verdicts[place], came[place].queue
            if one is not None and verdict is not None:
                self._pace.begin()
                self._on_begun(queue, context.job_id)
                self._flights.add(Flight(queue, context.job_id, job, verdict, context, one))
                verdicts[place] = None
        return verdicts

    def _land(self, flights: Sequence[Flight]) -> None:
        """End jobs that the device has answered; one that has no result after all is run in a thread of its own."""
        ended: list[tuple[Flight, Outcome]] = []
        for flight in flights:
            outcome = self._answered(flight)
            flight.begun.close()
            if outcome is not None:
                ended.append((flight, outcome))
            else:
                threading.Thread(target=self._run_again, args=(flight,), name="warmlane-again", daemon=True).start()
        self._end(ended)

    def _answered(self, flight: Flight) -> Outcome | None:
        """The outcome of a job that has its result; None of one that has none after all."""
        try:
            with about_job(flight.job_id, flight.job.kind, flight.job.subject):
                return self._outcomes.succeeded(flight.begun.answer(), flight.context)
        except Exception as exc:  # noqa: BLE001 - its own thread will meet it again, and say what it means
            logger.info("run again by itself: %s", type(exc).__name__, extra={"action": "run_again"})
            return None

    def _run_again(self, flight: Flight) -> None:
        self._pace.end()
        try:
            self._obey(flight.verdict, flight.queue, flight.job_id, flight.job)
        finally:
            self._gate.leave()
            self._flights.landed()

    def _look(self, flights: Sequence[Flight]) -> None:
        """Say how far jobs are that take long; end those that are late, or that somebody wants cancelled."""
        over: list[tuple[Flight, WarmlaneError]]
        over = [(flight, late(flight.job_id)) for flight in flights if not flight.context.left_s()]
        asked = [flight for flight in flights if flight.context.left_s()]
        reports = [ReportProgress(one.job_id, State.RUNNING, Progress(*one.begun.progress())) for one in asked]
        try:
            stops = self._store.run_all(reports) if reports else []
        except WarmlaneError as exc:
            logger.warning("progress is lost: %s", exc, extra={"action": "progress_lost"})
            stops = []
        over += [(flight, cancelled(flight.job_id)) for flight, stop in zip(asked, stops, strict=False) if stop is True]
        taken = [(flight, error) for flight, error in over if self._flights.take(flight)]
        for flight, _ in taken:
            flight.begun.close()
        self._end([(flight, Outcome.failed(error)) for flight, error in taken])

    def _end(self, ended: Sequence[tuple[Flight, Outcome]]) -> None:
        """Commit the outcomes of flights that were taken, in one round trip."""
        if not ended:
            return
        began = time.monotonic()
        self._sure.run_all([self._finish(flight.queue, flight.job_id, outcome) for flight, outcome in ended])
        commit_s = time.monotonic() - began
        for flight, outcome in ended:
            self._on_settled(flight.queue, flight.job_id)
            self._pace.end()
            self._gate.leave()
            self._tell(flight.job_id, flight.job, flight.verdict, outcome, commit_s)
            self._flights.landed()

    # -- the end ---------------------------------------------------------------------------------------------------

    def reject(self, queue: str, job_id: str, error: WarmlaneError) -> None:
        """Bury a message that is no job, and fail the job that it was to be."""
        self._sure.run(Bury(job_id, queue, error.code))
        self._sure.run(Finish(job_id, Outcome.failed(error), self._result_ttl_s, queue, self._worker_id))

    def _commit(self, queue: str, job_id: str, outcome: Outcome) -> None:
        if outcome.error is not None and outcome.error["code"] in DEAD_CODES:
            # Buried before it is acknowledged: should this process die in between, it comes back and is buried again.
            self._sure.run(Bury(job_id, queue, outcome.error["code"]))
        self._sure.run(self._finish(queue, job_id, outcome))

    def _finish(self, queue: str, job_id: str, outcome: Outcome) -> Finish:
        return Finish(job_id, outcome, self._result_ttl_s, queue, self._worker_id, self._life)

    def _tell(self, job_id: str, job: Job | StoredJob, verdict: Verdict, outcome: Outcome, commit_s: float) -> None:
        word = word_of(outcome)
        model = job.subject.partition("/")[0].partition("@")[0]
        first = verdict.word == "run" and verdict.attempts == 1
        self._observer.ended(Ended(job.kind, model, word, verdict.waited_s if first else None, commit_s))
        about = {"action": "job_ended", "job_id": job_id, "kind": job.kind, "model": job.subject, "outcome": word}
        logger.debug("%s of %s: %s", job.kind, job.subject, word, extra=about)
