"""Small jobs of warm models, which keep no thread: begun by the consumer that took their messages, landed together.

A job that need wait for nothing is begun where its message came in, with all that came with it, and left to the device;
what the device has answered is committed together (`warmlane_workers.flights`). Every other job, and one that fails on
the way, is run in a thread as ever (`warmlane_workers.lifecycle`), from the beginning: there is one place that knows
what an error means.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from warmlane import tracing
from warmlane.blobs import StoredJob
from warmlane.errors import WarmlaneError
from warmlane.jobs import Job
from warmlane.ops import ReportProgress, Verdict
from warmlane.records import Outcome
from warmlane.results import Progress, State
from warmlane_workers.context import JobContext, cancelled, late
from warmlane_workers.flights import Begun, Flight, Flights
from warmlane_workers.lifecycle import Lifecycle, Taken
from warmlane_workers.logs import about_job

logger = logging.getLogger(__name__)


class Planned(Protocol):
    """A job that can be begun. It holds its model until it is closed, or what has begun so is."""

    def close(self) -> None:
        """It is not begun."""


class Beginner(Protocol):
    """Begins jobs. The consumer's thread waits for it, so it waits for nobody."""

    def plan(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """A `Planned` for each job that can be begun, None for one that needs a thread."""

    def begin(self, asked: Sequence[tuple[Any, JobContext]]) -> Sequence[Begun | None]:
        """Begin planned jobs. None for one that needs a thread after all, and has let go of its model."""


class Threadless:
    """Begins and lands the jobs of a life cycle.

    Args:
        beginner: what they run on.
    """

    def __init__(self, lifecycle: Lifecycle, beginner: Beginner) -> None:
        self._life = lifecycle
        self._beginner = beginner
        self._flights = Flights(self._land, self._look)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the jobs that have begun; whether all have ended in time."""
        return self._flights.wait(timeout_s)

    def begin(self, queue: str, came: Sequence[tuple[str, Job | StoredJob]]) -> frozenset[str]:
        """Begin those of some jobs that need no thread.

        Args:
            came: the id of each, and the job.

        Returns:
            The ids of those that have begun: their messages are acknowledged with their outcomes. The others were not
            touched.
        """
        if tracing.enabled():  # a span is a thread's
            return frozenset()
        small = [(job_id, job) for job_id, job in came if not isinstance(job, StoredJob)]
        plans = self._beginner.plan([job for _, job in small])
        planned = [(job_id, job, plan) for (job_id, job), plan in zip(small, plans, strict=True) if plan is not None]
        if not planned:
            return frozenset()
        if not self._life.gate.enter(len(planned)):  # somebody wants to be alone
            _close(planned)
            return frozenset()
        try:
            verdicts = self._life.take_up([job_id for job_id, _, _ in planned])
        except Exception:
            _close(planned)
            self._life.gate.leave(len(planned))
            raise
        return self._begin(queue, planned, verdicts)

    def _begin(
        self, queue: str, planned: Sequence[tuple[str, Job, Planned]], verdicts: Sequence[Verdict]
    ) -> frozenset[str]:
        """Begin jobs that were taken up inside the gate, where they may run now."""
        asked: list[tuple[Planned, Taken, JobContext]] = []
        for (job_id, job, plan), verdict in zip(planned, verdicts, strict=True):
            if verdict.word == "run":
                context = self._life.context(job_id, verdict, self._life.pace)
                asked.append((plan, Taken(queue, job_id, job, verdict), context))
            else:  # its thread asks again, and hears the same
                plan.close()
                self._life.gate.leave()
        begun = self._beginner.begin([(plan, context) for plan, _, context in asked])
        for (_, taken, context), one in zip(asked, begun, strict=True):
            if one is None:
                self._flights.expect()
                self._by_itself(taken)
            else:
                self._life.pace.begin()
                self._flights.add(Flight(taken, context, one))
        return frozenset(taken.job_id for _, taken, _ in asked)

    def _land(self, flights: Sequence[Flight]) -> None:
        """End jobs that the device has answered; one that has no result after all is run in a thread of its own."""
        ended: list[tuple[Taken, Outcome]] = []
        for flight in flights:
            outcome = self._answered(flight)
            flight.begun.close()
            if outcome is not None:
                ended.append((flight.taken, outcome))
            else:
                self._life.pace.end()
                self._by_itself(flight.taken)
        self._end(ended)

    def _answered(self, flight: Flight) -> Outcome | None:
        """The outcome of a job that has its result; None of one that has none after all."""
        taken = flight.taken
        try:
            with about_job(taken.job_id, taken.job.kind, taken.job.subject):
                return self._life.outcomes.succeeded(flight.begun.answer(), flight.context)
        except Exception as exc:  # noqa: BLE001 - its own thread will meet it again, and say what it means
            logger.info("run again by itself: %s", type(exc).__name__, extra={"action": "run_again"})
            return None

    def _by_itself(self, taken: Taken) -> None:
        threading.Thread(target=self._run_again, args=(taken,), name="warmlane-again", daemon=True).start()

    def _run_again(self, taken: Taken) -> None:
        try:
            self._life.obey(taken)
        finally:
            self._life.gate.leave()
            self._flights.landed()

    def _look(self, flights: Sequence[Flight]) -> None:
        """Say how far jobs are that take long; end those that are late, or that somebody wants cancelled."""
        over: list[tuple[Flight, WarmlaneError]]
        over = [(flight, late(flight.taken.job_id)) for flight in flights if not flight.context.left_s()]
        asked = [flight for flight in flights if flight.context.left_s()]
        reports = [ReportProgress(one.taken.job_id, State.RUNNING, Progress(*one.begun.progress())) for one in asked]
        try:
            stops = self._life.store.run_all(reports) if reports else []
        except WarmlaneError as exc:
            logger.warning("progress is lost: %s", exc, extra={"action": "progress_lost"})
            stops = []
        wanted = zip(asked, stops, strict=False)
        over += [(flight, cancelled(flight.taken.job_id)) for flight, stop in wanted if stop is True]
        taken = [(flight, error) for flight, error in over if self._flights.take(flight)]
        for flight, _ in taken:
            flight.begun.close()
        self._end([(flight.taken, Outcome.failed(error)) for flight, error in taken])

    def _end(self, ended: Sequence[tuple[Taken, Outcome]]) -> None:
        """Commit the outcomes of flights that were taken."""
        if not ended:
            return
        self._life.end(ended)
        self._life.gate.leave(len(ended))
        for _ in ended:
            self._life.pace.end()
            self._flights.landed()


def _close(planned: Sequence[tuple[str, Job, Planned]]) -> None:
    for _, _, plan in planned:
        plan.close()
