"""What both clients do with dead letters: flows, as in `warmlane._wire`."""

from __future__ import annotations

from dramatiq.errors import DecodeError

from warmlane._slots import Slot
from warmlane._wire import Flow, Wire
from warmlane.dead import Discard, ReadDead, ReadLetter
from warmlane.errors import CodecError, JobNotFound
from warmlane.message import JobMessage
from warmlane.results import DeadLetter


def dead() -> Flow[list[DeadLetter]]:
    """All dead letters, oldest first."""
    letters: list[DeadLetter] = yield ReadDead()
    return letters


def replay(wire: Wire, dead_id: str, job_id: str, slot: Slot) -> Flow[None]:
    """Enqueue a dead letter again, as a new job: the old one has had its outcome. Then forget the letter.

    Raises:
        JobNotFound: there is no such letter.
        CodecError: its message is none that this release reads.
    """
    data = yield ReadLetter(dead_id)
    if data is None:
        raise _not_found(dead_id)
    try:
        message = JobMessage.decode(data)
    except DecodeError as exc:
        raise CodecError(f"dead letter {dead_id} does not decode; only `drop` is left for it", id=dead_id) from exc
    yield from wire.submit(message.kwargs["job"], job_id, slot)
    yield Discard(dead_id, job_id)


def drop(dead_id: str) -> Flow[None]:
    """Forget a dead letter.

    Raises:
        JobNotFound: there is no such letter.
    """
    if not (yield Discard(dead_id)):
        raise _not_found(dead_id)


def _not_found(dead_id: str) -> JobNotFound:
    return JobNotFound(f"no dead letter {dead_id}; `warmlane dead` lists them", id=dead_id)
