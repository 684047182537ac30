"""The store in memory: job records, results, and who is to be told. Follows the scripts in `lua/`; knows no models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from warmlane import codec
from warmlane.dead import DEAD_CODES, Discard, ReadDead, ReadLetter
from warmlane.errors import CodecError, JobNotFound, WarmlaneError
from warmlane.fleet import QueueInfo, ReadQueues
from warmlane.jobs import Job, PredictJob
from warmlane.keys import queue_of
from warmlane.lanes import Submit
from warmlane.message import JobMessage
from warmlane.ops import Cancel, Watch
from warmlane.records import Outcome, encode_error, text_event
from warmlane.results import Attempt, DeadLetter, JobStatus, Progress, State
from warmlane.stream import Followed, Piece, ReadText

#: The id of the one pretended worker.
WORKER_ID = "fake-worker"


@dataclass
class Record:
    """One job, as a worker reads it from the wire."""

    job: Job
    status: JobStatus
    inboxes: set[str]
    result: bytes | None = field(default=None, repr=False)
    buried: bytes | None = field(default=None, repr=False)
    pieces: list[Piece] = field(default_factory=list, repr=False)
    watchers: set[str] = field(default_factory=set)


class Records:
    """All jobs of a lane, in the order in which they came.

    Args:
        tell: called with an inbox and an event when a job ends.
    """

    def __init__(self, tell: Callable[[str, bytes], None]) -> None:
        self._tell = tell
        self._lock = threading.RLock()
        self._known: dict[str, Record] = {}

    def jobs(self) -> list[Job]:
        with self._lock:
            return [record.job for record in self._known.values()]

    def running(self) -> int:
        with self._lock:
            return sum(record.status.state in (State.LOADING, State.RUNNING) for record in self._known.values())

    def submit(self, op: Submit) -> Record | None:
        """The new job's record; None when the id is known already."""
        message = JobMessage.decode(op.message.encode())  # through the wire: what cannot travel fails here
        job, job_id = message.kwargs["job"], message.message_id
        queued = Progress(0.0, "queued")
        status = JobStatus(
            job_id, job.kind, State.QUEUED, job.subject, time.time(), None, None, queued, (), False, None
        )
        with self._lock:
            if job_id in self._known:
                return None
            record = self._known[job_id] = Record(job, status, {op.inbox})
            return record

    def watch(self, op: Watch) -> tuple[JobStatus, bytes | None] | None:
        with self._lock:
            record = self._known.get(op.job_id)
            if record is None:
                return None
            record.inboxes.add(op.inbox)
            return record.status, record.result

    def follow(self, op: ReadText) -> Followed | None:
        with self._lock:
            record = self._known.get(op.job_id)
            if record is None:
                return None
            record.inboxes.add(op.inbox)
            if op.changes:
                record.watchers.add(op.inbox)
            streams = isinstance(record.job, PredictJob) and record.job.stream
            new = tuple(record.pieces[int(op.cursor or 0) :])
            return Followed(record.status, streams, record.result is not None, str(len(record.pieces)), new)

    def append(self, record: Record, piece: Piece) -> None:
        """Add a piece to a job's text, and tell those who follow it."""
        with self._lock:
            record.pieces.append(Piece.unpack(piece.pack()))
            inboxes = sorted(record.inboxes)
        for inbox in inboxes:
            self._tell(inbox, text_event(record.status.id))

    def cancel(self, op: Cancel) -> str:
        with self._lock:
            record = self._known.get(op.job_id)
            if record is None:
                return ""
            waiting = record.status.state is State.QUEUED
            if not record.status.state.final:
                record.status = replace(record.status, cancel_requested=True)
        if waiting:
            self.finish(record, failure(op.error))
        return record.status.state.value

    def find(self, job_id: str) -> Record:
        with self._lock:
            if job_id not in self._known:
                raise JobNotFound(f"no job {job_id} in the fake lane", id=job_id)
            return self._known[job_id]

    def start(self, record: Record) -> bool:
        """Take a job up. False when there is nothing left to do."""
        with self._lock:
            if record.status.state is State.QUEUED:
                now = time.time()
                record.status = replace(
                    record.status,
                    state=State.RUNNING,
                    started=now,
                    attempts=(Attempt(WORKER_ID, now),),
                    progress=Progress(0.0, "running"),
                )
        self._changed(record)
        return not record.status.state.final

    def report(self, record: Record, state: State, progress: Progress) -> None:
        with self._lock:
            if not record.status.state.final:
                record.status = replace(record.status, state=state, progress=progress)
        self._changed(record)

    def _changed(self, record: Record) -> None:
        for inbox in sorted(record.watchers):
            self._tell(inbox, text_event(record.status.id))

    def finish(self, record: Record, outcome: Outcome) -> None:
        """Commit an outcome, once, and tell those who wait."""
        with self._lock:
            if record.status.state.final:
                return
            progress = Progress(1.0, "done") if outcome.state is State.SUCCEEDED else record.status.progress
            record.status = replace(
                record.status,
                state=outcome.state,
                finished=time.time(),
                progress=progress,
                error=outcome.error,
                truncated=outcome.truncated,
            )
            record.result = outcome.result
            if outcome.error is not None and outcome.error["code"] in DEAD_CODES:
                record.buried = JobMessage.of(record.job, record.status.id).encode()
            inboxes = sorted(record.inboxes)
        event = outcome.event(record.status.id)
        for inbox in inboxes:
            self._tell(inbox, event)

    def queues(self, op: ReadQueues) -> tuple[tuple[QueueInfo, ...], int]:
        with self._lock:
            records = list(self._known.values())
        infos = []
        for name in op.queue_names:
            open_ = [one for one in records if queue_of(one.job.kind) == name and not one.status.state.final]
            waiting = [one for one in open_ if one.status.state is State.QUEUED]
            size = sum(len(JobMessage.of(one.job, one.status.id).encode()) for one in open_)
            oldest = max((time.time() - one.status.queued for one in waiting), default=0.0)
            infos.append(QueueInfo(name, len(waiting), len(open_) - len(waiting), size, oldest))
        return tuple(infos), sum(one.buried is not None for one in records)

    def dead(self, op: ReadDead) -> list[DeadLetter]:
        with self._lock:
            return [
                DeadLetter(
                    status.id, status.kind, status.model, status.error["code"], status.finished or 0.0, len(buried)
                )
                for status, buried in ((record.status, record.buried) for record in self._known.values())
                if buried is not None and status.error is not None
            ]

    def letter(self, op: ReadLetter) -> bytes | None:
        with self._lock:
            return self._known[op.job_id].buried if op.job_id in self._known else None

    def discard(self, op: Discard) -> bool:
        with self._lock:
            record, again = self._known.get(op.job_id), self._known.get(op.replayed_as)
            if record is None or record.buried is None:
                return False
            record.buried = None
            if again is not None:
                record.status = replace(record.status, replayed_as=op.replayed_as)
                again.status = replace(again.status, replay_of=op.job_id)
            return True

    def expire(self, job_id: str, *, record: bool) -> None:
        with self._lock:
            self.find(job_id).result = None
            if record:
                del self._known[job_id]


def failure(error: WarmlaneError) -> Outcome:
    """The outcome of a job that ended with an error, as it arrives at the caller."""
    try:
        travelled: dict[str, Any] = codec.decode("error", encode_error(error))
    except CodecError as exc:
        travelled = exc.to_dict()
    return Outcome.failed(error, travelled)
