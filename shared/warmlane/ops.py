"""What can be asked of the store: one frozen dataclass an operation, with the script it runs and how its reply reads.

Operations are plain data. `warmlane.store` runs them on Redis, blocking or not; `warmlane.testing` runs them in memory.
Scripts lie in `lua/`; each is atomic and takes one round trip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from warmlane import codec
from warmlane.errors import CodecError, InternalError, WarmlaneError
from warmlane.jobs import JobMessage
from warmlane.keys import WORKER_TTL_S, Keys
from warmlane.results import Attempt, JobStatus, ModelInfo, Progress, State, WarmModel, WorkerInfo
from warmlane.settings import QUEUED_TTL_S

R = TypeVar("R")

#: A result up to this size travels inside the event that says it is there; a larger one is fetched.
INLINE_RESULT_BYTES = 16 * 1024

_WORKER_TTL_MS = int(WORKER_TTL_S * 1000)


@dataclass(frozen=True, slots=True)
class Op(Generic[R]):
    """An operation whose reply reads as `R`."""

    script: ClassVar[str]

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        """`KEYS` and `ARGV` of the script."""
        raise NotImplementedError

    def read(self, reply: Any) -> R:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its state, and its encoded result or its error. `result` is None when it has to be fetched."""

    state: State
    result: bytes | None = field(default=None, repr=False)
    error: Mapping[str, Any] | None = None

    def event(self, job_id: str) -> bytes:
        """The outcome as it is published to those who wait."""
        result = self.result if self.result is not None and len(self.result) <= INLINE_RESULT_BYTES else None
        return codec.encode("event", {"id": job_id, "state": self.state.value, "result": result, "error": self.error})

    @classmethod
    def from_event(cls, data: bytes) -> tuple[str, Outcome]:
        """The job's id and its outcome.

        Raises:
            CodecError: not an event.
        """
        with _reading("event"):
            body = _fields("event", data)
            job_id, state, result, error = body["id"], State(body["state"]), body["result"], body["error"]
            if not (isinstance(job_id, str) and isinstance(result, bytes | None) and isinstance(error, dict | None)):
                raise TypeError
            if not state.final:
                raise ValueError
        return job_id, cls(state, result, error)


@contextlib.contextmanager
def _reading(kind: str) -> Iterator[None]:
    """A well-formed frame whose body is not one of its kind ends in `CodecError`, as a malformed frame does."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise CodecError(f"a frame of kind {kind!r} with another body than that kind has") from exc


def _fields(kind: str, data: bytes) -> dict[str, Any]:
    body = codec.decode(kind, data)
    if not isinstance(body, dict):
        raise TypeError
    return body


def encode_error(error: WarmlaneError) -> bytes:
    return codec.encode("error", error.to_dict())


@dataclass(frozen=True, slots=True)
class Submit(Op[bool]):
    """Accept a job. The reply is False when the id is known already."""

    script = "submit"
    message: JobMessage
    inbox: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        message, queue = self.message, self.message.queue_name
        job = message.kwargs["job"]
        record = ["kind", job.kind, "model", job.subject, "inboxes", self.inbox]
        return (
            [names.job(message.message_id), names.queue(queue), names.messages(queue)],
            [names.bell, queue, message.options["redis_message_id"], message.encode(), QUEUED_TTL_S, *record],
        )

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class Start(Op[tuple[str, int]]):
    """Take a job up. The reply is a verdict (run, missing, final, cancelled, poison) and the number of attempts."""

    script = "start"
    job_id: str
    worker_id: str
    max_attempts: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.job(self.job_id)], [self.worker_id, self.max_attempts, QUEUED_TTL_S]

    def read(self, reply: Any) -> tuple[str, int]:
        return reply[0].decode(), int(reply[1])


@dataclass(frozen=True, slots=True)
class Finish(Op[bool]):
    """Commit an outcome and acknowledge the job's message. The reply is False when the job had an outcome already.

    Attributes:
        broker_id: who holds the message, as Dramatiq counts it.
    """

    script = "finish"
    job_id: str
    outcome: Outcome
    result_ttl_s: int
    queue_name: str = ""
    broker_id: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        outcome = self.outcome
        error = codec.encode("error", dict(outcome.error)) if outcome.error is not None else b""
        result = outcome.result if outcome.result is not None else b""
        return (
            [
                names.job(self.job_id),
                names.result(self.job_id),
                names.acks(self.broker_id, self.queue_name),
                names.messages(self.queue_name),
            ],
            [
                self.job_id,
                outcome.state.value,
                result,
                error,
                self.result_ttl_s,
                outcome.event(self.job_id),
                names.inbox(""),
            ],
        )

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReportProgress(Op[bool]):
    """Say how far a job has come. The reply is True when it should stop."""

    script = "progress"
    job_id: str
    state: State
    progress: Progress

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.job(self.job_id)], [self.state.value, f"{self.progress.fraction:.4f}", self.progress.phase]

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class Watch(Op[tuple[JobStatus, bytes | None] | None]):
    """Read a job and, while it is not final, ask for its outcome to be sent to an inbox.

    The reply is None for an unknown job, else its status and its encoded result (None while there is none, or after
    it has expired).
    """

    script = "watch"
    job_id: str
    inbox: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.job(self.job_id), names.result(self.job_id)], [self.inbox]

    def read(self, reply: Any) -> tuple[JobStatus, bytes | None] | None:
        if not reply:
            return None
        return read_status(self.job_id, reply[0]), reply[1]


@dataclass(frozen=True, slots=True)
class Cancel(Op[str]):
    """Cancel a job. The reply is the state after the call, "" for an unknown job."""

    script = "cancel"
    job_id: str
    error: WarmlaneError
    result_ttl_s: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        event = Outcome(State.CANCELLED, error=self.error.to_dict()).event(self.job_id)
        return [names.job(self.job_id)], [encode_error(self.error), self.result_ttl_s, event, names.inbox("")]

    def read(self, reply: Any) -> str:
        text: str = reply.decode()
        return text


@dataclass(frozen=True, slots=True)
class Beat(Op[None]):
    """A worker's heartbeat."""

    script = "beat"
    info: WorkerInfo

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.workers, names.worker(self.info.id)], [self.info.id, _pack_worker(self.info), _WORKER_TTL_MS]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Leave(Op[None]):
    """A worker takes itself off the registry."""

    script = "leave"
    worker_id: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.workers, names.worker(self.worker_id)], [self.worker_id]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReadWorkers(Op[list[WorkerInfo]]):
    """The live workers, in no order."""

    script = "workers"

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.workers], [names.worker(""), _WORKER_TTL_MS]

    def read(self, reply: Any) -> list[WorkerInfo]:
        return [_read_worker(data) for data in reply]


@dataclass(frozen=True, slots=True)
class PublishModel(Op[None]):
    """Make one version of a model known to callers."""

    script = "publish"
    info: ModelInfo
    version: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        info = self.info
        body = {"task": info.task, "dtype": info.dtype, "bytes": info.bytes, "signature": info.signature}
        return [names.models], [info.name, self.version, codec.encode("model", body)]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReadModel(Op[tuple[ModelInfo | None, int]]):
    """One model (its newest version, unless one is given) and the number of live workers."""

    script = "model"
    name: str
    version: int | None = None

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        version = "" if self.version is None else self.version
        return [names.models, names.workers], [self.name, version, _WORKER_TTL_MS]

    def read(self, reply: Any) -> tuple[ModelInfo | None, int]:
        info = _read_model(self.name, (), reply[0]) if reply[0] else None
        return info, int(reply[1])


@dataclass(frozen=True, slots=True)
class ReadModels(Op[list[ModelInfo]]):
    """All known models by name; `warm_on` is left empty."""

    script = "models"

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.models], []

    def read(self, reply: Any) -> list[ModelInfo]:
        fields = _pairs(reply)
        versions: dict[str, list[int]] = {}
        for key in fields:
            name, slash, version = key.partition("/")
            if slash:
                versions.setdefault(name, []).append(int(version))
        return [
            _read_model(name, tuple(sorted(known)), fields[f"{name}/{max(known)}"])
            for name, known in sorted(versions.items())
        ]


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}


def read_status(job_id: str, flat: Sequence[bytes]) -> JobStatus:
    """A job's record, from the flat fields and values of its hash."""
    record = _pairs(flat)

    def seconds(name: str) -> float | None:
        return int(record[name]) / 1000 if name in record else None

    attempts = []
    for number in range(1, int(record.get("attempts", 0)) + 1):
        started, _, worker = record[f"attempt:{number}"].decode().partition(" ")
        attempts.append(Attempt(worker, int(started) / 1000))
    queued = seconds("queued")
    if queued is None:
        raise InternalError(f"job {job_id} has no record of when it was queued")
    return JobStatus(
        id=job_id,
        kind=record["kind"].decode(),
        state=State(record["state"].decode()),
        model=record["model"].decode(),
        queued=queued,
        started=seconds("started"),
        finished=seconds("finished"),
        progress=Progress(float(record.get("fraction", b"0")), record.get("phase", b"queued").decode()),
        attempts=tuple(attempts),
        cancel_requested="cancel" in record,
        error=_read_error(record["error"]) if "error" in record else None,
    )


def _read_error(data: bytes) -> dict[str, Any]:
    with _reading("error"):
        return _fields("error", data)


def _read_model(name: str, versions: tuple[int, ...], data: bytes) -> ModelInfo:
    with _reading("model"):
        body = _fields("model", data)
        return ModelInfo(name, versions, body["task"], body["dtype"], body["bytes"], body["signature"])


def _pack_worker(info: WorkerInfo) -> bytes:
    body = {name: getattr(info, name) for name in WorkerInfo.__slots__ if name != "models"}
    body["models"] = [{name: getattr(warm, name) for name in WarmModel.__slots__} for warm in info.models]
    return codec.encode("worker", body)


def _read_worker(data: bytes) -> WorkerInfo:
    with _reading("worker"):
        body = _fields("worker", data)
        models = tuple(WarmModel(**warm) for warm in body.pop("models"))
        return WorkerInfo(models=models, queues=tuple(body.pop("queues")), **body)
