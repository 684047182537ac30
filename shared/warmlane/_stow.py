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
    if blobs is None or _room_after(job.fields(), blobs.inline_bytes) >= 0:
        return job
    data = encode_fields(blobs, job)
    if len(data) <= blobs.inline_bytes:
        return job
    ref = yield Work(partial(blobs.write, job_id, data))
    return StoredJob(job.kind, job.subject, ref, stream=getattr(job, "stream", False))


def _room_after(value: Any, room: int) -> int:
    """What a value leaves of so many bytes at least; negative where it may not fit, which only encoding tells.

    A fraction of what encoding costs, so that small jobs are encoded once.
    """
    if isinstance(value, str):
        return room - 5 - 4 * len(value)
    if value is None or isinstance(value, bool | int | float):
        return room - 9
    if isinstance(value, bytes):
        return room - 5 - len(value)
    if isinstance(value, dict):
        value = [part for item in value.items() for part in item]
    elif not isinstance(value, list | tuple):
        return -1
    room -= 5
    for part in value:
        if room < 0:
            break
        room = _room_after(part, room)
    return room


def discard(blobs: Blobs | None, job: Job | StoredJob, unless: str = "") -> Generator[Work, Any, None]:
    """Remove the blob of a job that will not run.

    Args:
        unless: the name of a blob that is needed.
    """
    if isinstance(job, StoredJob) and blobs is not None and job.ref.name != unless:
        yield Work(partial(blobs.remove, job.ref))
