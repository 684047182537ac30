"""What a job's handler gives or raises, as the outcome that is stored."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from warmlane import codec
from warmlane.blobs import Blobs
from warmlane.errors import CodecError, InternalError, PayloadTooLarge, PoisonJob, WarmlaneError
from warmlane.ops import Verdict
from warmlane.records import Outcome
from warmlane.results import State
from warmlane_workers.context import JobContext

logger = logging.getLogger(__name__)


class Outcomes:
    """Makes outcomes of one worker's jobs.

    Args:
        blobs: where large results go; None: nowhere.
    """

    def __init__(self, worker_id: str, blobs: Blobs | None) -> None:
        self._worker_id = worker_id
        self._blobs = blobs

    def of(self, answer: Callable[[], Any], context: JobContext) -> Outcome:
        """The outcome of a job by what answers it."""
        try:
            return self.succeeded(answer(), context)
        except WarmlaneError as exc:
            return Outcome.failed(exc)
        except Exception as exc:  # noqa: BLE001 - whatever a library raises must become the job's outcome
            return Outcome.failed(unforeseen(exc, context.job_id, worker=self._worker_id))

    def succeeded(self, value: Any, context: JobContext) -> Outcome:
        """The outcome of a job that has its result.

        Raises:
            PayloadTooLarge: the result is.
        """
        return Outcome(State.SUCCEEDED, self._frame(context.job_id, value), truncated=context.truncated)

    def _frame(self, job_id: str, value: Any) -> bytes:
        """A result as it is stored: its frame, or where there is a blob store and it is large, the reference to it."""
        blobs = self._blobs
        try:
            data = codec.encode("result", value) if blobs is None else blobs.encode("result", value)
        except CodecError as exc:
            if "limit" not in exc.details:
                raise
            raise PayloadTooLarge(f"the result is too large ({exc.message}); send fewer rows in a job") from exc
        return data if blobs is None or len(data) <= blobs.inline_bytes else blobs.write(job_id, data).frame()


def word_of(outcome: Outcome) -> str:
    """How a job ended: "succeeded", or the code of its error."""
    return "succeeded" if outcome.error is None else str(outcome.error["code"])


def poison(job_id: str, verdict: Verdict) -> PoisonJob:
    """How a job ends that is not tried again."""
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
