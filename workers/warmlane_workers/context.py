"""What a handler knows of the job that it runs, and how it says how far it is."""

from __future__ import annotations

import logging
import math
import time
from typing import TypeVar

from warmlane.errors import JobCancelled, JobExpired, WarmlaneError
from warmlane.ops import Op, ReportProgress
from warmlane.results import Progress, State
from warmlane.store import RedisStore
from warmlane_workers.pace import Pace

logger = logging.getLogger(__name__)

R = TypeVar("R")

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
        store: RedisStore,
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
            raise cancelled(self.job_id)

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


def cancelled(job_id: str) -> JobCancelled:
    """How a job ends that somebody cancelled while it ran."""
    return JobCancelled(f"job {job_id} was cancelled", id=job_id)
