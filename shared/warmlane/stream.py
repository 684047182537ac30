"""A job's answer as it comes: pieces of its text in a Redis stream, beside the job's record.

A piece says where in the text it begins. So whoever reads tells a piece that was written twice, or again by a later
attempt of the job, from one that is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from warmlane import codec
from warmlane.errors import CodecError, StreamInterrupted
from warmlane.keys import Keys
from warmlane.ops import LATE, Op
from warmlane.records import pairs, read_status, text_event
from warmlane.results import JobStatus
from warmlane.settings import QUEUED_TTL_S


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Attributes:
        at: how many characters come before it.
        last: the text ends with it.
    """

    at: int
    text: str = field(repr=False)
    last: bool = False

    def pack(self) -> bytes:
        return codec.encode("piece", {"at": self.at, "text": self.text, "last": self.last})

    @classmethod
    def unpack(cls, data: bytes) -> Piece:
        """What `pack` packed.

        Raises:
            CodecError: it is none.
        """
        body = codec.decode("piece", data)
        if not isinstance(body, dict) or not {"at", "text", "last"} <= set(body):
            raise CodecError("a frame of kind 'piece' with another body than that kind has")
        return cls(body["at"], body["text"], body["last"])


@dataclass(frozen=True, slots=True)
class AppendText(Op[bool]):
    """Add a piece to the text of a running job, and wake those who follow it. The reply is True when it should stop.

    Attributes:
        attempt: which attempt of the job says it; of one that a later has overtaken nothing is written.
    """

    script = "append"
    job_id: str
    attempt: int
    piece: Piece

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return (
            [names.job(self.job_id), names.stream(self.job_id)],
            [self.attempt, self.piece.pack(), QUEUED_TTL_S, text_event(self.job_id), names.inbox("")],
        )

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class Followed:
    """A job's record and what its text has grown by.

    Attributes:
        streams: the job was asked to tell its text.
        kept: the job's result is still there.
        cursor: where the next read goes on.
    """

    status: JobStatus
    streams: bool
    kept: bool
    cursor: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class ReadText(Op[Followed | None]):
    """Read a job and the pieces behind a cursor and, while it is not final, ask for news of it to be sent to an inbox.

    What waits past its deadline has expired, and is marked so. The reply is None for an unknown job.

    Attributes:
        changes: ask for news of each change of its record, too.
    """

    script = "follow"
    job_id: str
    cursor: str = ""
    inbox: str = ""
    changes: bool = False

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        keys = [names.job(self.job_id), names.stream(self.job_id), names.result(self.job_id)]
        begin = f"({self.cursor}" if self.cursor else "-"
        return keys, [self.inbox, begin, "watchers" if self.changes else "", LATE]

    def read(self, reply: Any) -> Followed | None:
        if not reply:
            return None
        record, entries, kept = reply
        return Followed(
            status=read_status(self.job_id, record),
            streams="stream" in pairs(record),
            kept=bool(kept),
            cursor=entries[-1][0].decode() if entries else self.cursor,
            pieces=tuple(Piece.unpack(fields[1]) for _, fields in entries),
        )


class Given:
    """What one reader was given of a job's text."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.cursor = ""
        self.text = ""
        #: The last piece that was read ends the text here.
        self.whole = False

    def take(self, found: Followed) -> str:
        """What is new in the pieces that were found.

        Raises:
            StreamInterrupted: the text goes on otherwise than from what was given.
        """
        before = len(self.text)
        for piece in found.pieces:
            self._add(piece)
        self.cursor = found.cursor
        return self.text[before:]

    def _add(self, piece: Piece) -> None:
        known = self.text[piece.at : piece.at + len(piece.text)]
        if piece.at > len(self.text) or not piece.text.startswith(known):
            raise interrupted(self.job_id)
        self.text += piece.text[len(known) :]
        self.whole = piece.last and piece.at + len(piece.text) == len(self.text)


def interrupted(job_id: str) -> StreamInterrupted:
    return StreamInterrupted(
        f"the text of job {job_id} does not go on from what was given of it: the job was done again after its "
        "worker's death; `job.result()` has the whole answer",
        id=job_id,
    )
