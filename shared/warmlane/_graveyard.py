"""What both clients do with dead letters: flows, as in `warmlane._wire`."""

from __future__ import annotations

import contextlib
from functools import partial

from dramatiq.errors import DecodeError

from warmlane._slots import Slot, Work
from warmlane._stow import discard
from warmlane._wire import Flow, Wire
from warmlane.blobs import StoredJob, opened
from warmlane.dead import Discard, ReadDead, ReadLetter
from warmlane.errors import CodecError, JobNotFound
from warmlane.jobs import AS_EVER, Options
from warmlane.keys import pool_of
from warmlane.message import JobMessage
from warmlane.ops import Watch
from warmlane.results import DeadLetter


def dead() -> Flow[list[DeadLetter]]:
    """All dead letters, oldest first."""
    letters: list[DeadLetter] = yield ReadDead()
    return letters


def replay(wire: Wire, dead_id: str, job_id: str, slot: Slot) -> Flow[None]:
    """Enqueue a dead letter again, as a new job: the old one has had its outcome. Then forget the letter.

    It goes where the old one went, and has its priority if that is still known; its deadline is over.

    Raises:
        JobNotFound: there is no such letter.
        PoolNotFound: no live worker is in its pool.
        CodecError: its message is none that this release reads.
        BlobError: its payload is in a blob that cannot be read.
    """
    data = yield ReadLetter(dead_id)
    if data is None:
        raise _not_found(dead_id)
    try:
        message = JobMessage.decode(data)
    except DecodeError as exc:
        raise CodecError(f"dead letter {dead_id} does not decode; only `drop` is left for it", id=dead_id) from exc
    sent = message.kwargs["job"]
    job = (yield Work(partial(opened, wire.blobs, sent))) if isinstance(sent, StoredJob) else sent
    known = yield Watch(dead_id)
    priority = AS_EVER.priority if known is None else known[0].priority
    options = Options(priority=priority, pool=pool_of(message.queue_name))
    yield from wire.submit(job, job_id, slot, options)
    yield Discard(dead_id, job_id)
    yield from discard(wire.blobs, sent)


def drop(wire: Wire, dead_id: str) -> Flow[None]:
    """Forget a dead letter, and remove its blob.

    Raises:
        JobNotFound: there is no such letter.
    """
    data = yield ReadLetter(dead_id)
    if not (yield Discard(dead_id)):
        raise _not_found(dead_id)
    with contextlib.suppress(DecodeError):  # then it has no blob that anybody knows
        yield from discard(wire.blobs, JobMessage.decode(data or b"").kwargs["job"])


def _not_found(dead_id: str) -> JobNotFound:
    return JobNotFound(f"no dead letter {dead_id}; `warmlane dead` lists them", id=dead_id)
