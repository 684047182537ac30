"""Dead letters: the messages of jobs that failed for no fault of their caller, kept until somebody deals with them.

Operations as in `warmlane.ops`. Workers bury; operators list, replay and drop. A message is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.errors import InternalError, PoisonJob
from warmlane.keys import Keys
from warmlane.ops import Op
from warmlane.results import DeadLetter

#: A job that fails by one of these is buried; so is a message that does not decode.
DEAD_CODES = frozenset({PoisonJob.code, InternalError.code})
#: How long a letter is kept, in seconds; and how many, of how many bytes together: the oldest make room.
DEAD_TTL_S = 7 * 24 * 3600
DEAD_MOST = 1000
DEAD_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bury(Op[bool]):
    """Keep the message of a job that is about to fail. The reply is False when the queue has no such message."""

    script = "bury"
    job_id: str
    queue_name: str
    code: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        keys = [names.job(self.job_id), names.messages(self.queue_name), names.dead, names.letter(self.job_id)]
        return keys, [self.job_id, self.code, DEAD_TTL_S, DEAD_MOST, DEAD_MOST_BYTES, names.letter("")]

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReadDead(Op[list[DeadLetter]]):
    """All dead letters, oldest first."""

    script = "letters"

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.dead], [names.letter("")]

    def read(self, reply: Any) -> list[DeadLetter]:
        return [
            DeadLetter(
                job_id.decode("ascii", "replace"), kind.decode(), model.decode(), code.decode(), int(at) / 1e6, size
            )
            for job_id, at, code, kind, model, size in reply
        ]


@dataclass(frozen=True, slots=True)
class ReadLetter(Op[bytes | None]):
    """The message of a dead letter; None where there is none."""

    script = "letter"
    job_id: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.letter(self.job_id)], []

    def read(self, reply: Any) -> bytes | None:
        message: bytes | None = reply
        return message


@dataclass(frozen=True, slots=True)
class Discard(Op[bool]):
    """Forget a dead letter. The reply is False when there was none.

    Attributes:
        replayed_as: the job that it became, if it was enqueued again.
    """

    script = "discard"
    job_id: str
    replayed_as: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        keys = [names.dead, names.letter(self.job_id), names.job(self.job_id), names.job(self.replayed_as)]
        return keys, [self.job_id, self.replayed_as]

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReadKnown(Op[set[str]]):
    """Which of some jobs have a record, or are dead letters: what is kept of the others is nobody's."""

    script = "known"
    job_ids: tuple[str, ...]

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [], [names.job(""), names.letter(""), *self.job_ids]

    def read(self, reply: Any) -> set[str]:
        return {job_id.decode() for job_id in reply}
