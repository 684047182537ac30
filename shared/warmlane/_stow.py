"""How a job's payload goes beside Redis, and away: the parts of a client's flows that wait for files."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from warmlane._slots import Work
from warmlane.blobs import Blobs, StoredJob, encode_fields
from warmlane.jobs import Job


def stow(blobs: Blobs | None, job: Job, job_id: str) -> Generator[Work, Any, Job | StoredJob]:
    """The job as it travels: itself, or in a blob where there is a store and it is large.

    Raises:
        PayloadTooLarge, CodecError, BlobStoreUnavailable
    """
    if blobs is None:
        return job
    data = encode_fields(blobs, job)
    if len(data) <= blobs.inline_bytes:
        return job
    ref = yield Work(partial(blobs.write, job_id, data))
    return StoredJob(job.kind, job.subject, ref, stream=getattr(job, "stream", False))


def discard(blobs: Blobs | None, job: Job | StoredJob) -> Generator[Work, Any, None]:
    """Remove the blob of a job that will not run."""
    if isinstance(job, StoredJob) and blobs is not None:
        yield Work(partial(blobs.remove, job.ref))
