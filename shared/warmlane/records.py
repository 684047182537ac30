"""How what is stored reads and writes: outcomes, records, models, workers. Knows frames, no operations.

A frame that does not have its kind's body ends in `CodecError`, as a malformed one does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from warmlane import codec
from warmlane.errors import CodecError, InternalError, JobCancelled, JobExpired, WarmlaneError
from warmlane.keys import DEFAULT_POOL
from warmlane.results import Attempt, JobStatus, ModelInfo, Progress, State, WarmModel, WorkerInfo

#: A result up to this size travels inside the event that says it is there; a larger one is fetched.
INLINE_RESULT_BYTES = 16 * 1024
#: What an event has in the place of a state when a job goes on and its text has grown.
_TEXT = "TEXT"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: its state, and its encoded result or its error. `result` is None when it has to be fetched.

    Attributes:
        truncated: rows that were cut, as `JobStatus` has them; kept in the record, and no part of the event.
    """

    state: State
    result: bytes | None = field(default=None, repr=False)
    error: Mapping[str, Any] | None = None
    truncated: tuple[int, ...] = ()

    @classmethod
    def failed(cls, error: WarmlaneError, travelled: Mapping[str, Any] | None = None) -> Outcome:
        """How a job ended that an error ended.

        Args:
            travelled: the error as it travels, where that is not `error.to_dict()`.
        """
        state = State.FAILED
        if isinstance(error, JobCancelled):
            state = State.CANCELLED
        elif isinstance(error, JobExpired):
            state = State.EXPIRED
        return cls(state, error=error.to_dict() if travelled is None else travelled)

    def event(self, job_id: str) -> bytes:
        """The outcome as it is published to those who wait."""
        result = self.result if self.result is not None and len(self.result) <= INLINE_RESULT_BYTES else None
        return codec.encode("event", {"id": job_id, "state": self.state.value, "result": result, "error": self.error})

    @classmethod
    def from_event(cls, data: bytes) -> tuple[str, Outcome | None]:
        """The job's id and its outcome; None: its text has grown.

        Raises:
            CodecError: not an event.
        """
        with _reading("event"):
            body = _fields("event", data)
            if body["state"] == _TEXT and isinstance(body["id"], str):
                return body["id"], None
            job_id, state, result, error = body["id"], State(body["state"]), body["result"], body["error"]
            if not (isinstance(job_id, str) and isinstance(result, bytes | None) and isinstance(error, dict | None)):
                raise TypeError
            if not state.final:
                raise ValueError
        return job_id, cls(state, result, error)


def text_event(job_id: str) -> bytes:
    """The news that a job's text or record has changed. Older clients do not know it, and read the record."""
    return codec.encode("event", {"id": job_id, "state": _TEXT})


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
    """An error as it is stored."""
    return codec.encode("error", error.to_dict())


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """The fields of a hash, as Redis lists them."""
    return {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}


def read_status(job_id: str, flat: Sequence[bytes]) -> JobStatus:
    """A job's record, from the flat fields and values of its hash."""
    record = pairs(flat)

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
        error=read_error(record["error"]) if "error" in record else None,
        truncated=tuple(int(number) for number in record.get("truncated", b"").split()),
        priority=record.get("priority", b"normal").decode(),
        pool=record.get("pool", DEFAULT_POOL.encode()).decode(),
        deadline=seconds("deadline"),
        replay_of=record["replay_of"].decode() if "replay_of" in record else None,
        replayed_as=record["replayed_as"].decode() if "replayed_as" in record else None,
    )


def read_error(data: bytes) -> dict[str, Any]:
    """An error as `WarmlaneError.to_dict` gave it."""
    with _reading("error"):
        return _fields("error", data)


def read_model(name: str, versions: tuple[int, ...], data: bytes) -> ModelInfo:
    """What `ops.PublishModel` stored of a version."""
    with _reading("model"):
        body = _fields("model", data)
        known = body["task"], body["dtype"], body["bytes"], body["signature"]
        return ModelInfo(name, versions, *known, kin=body.get("kin", ""))


def read_models(fields: Mapping[str, bytes]) -> list[ModelInfo]:
    """All models by name: `name/3` is a version's description, `name@alias` a number, `name` that of the newest."""
    versions: dict[str, list[int]] = {}
    aliases: dict[str, dict[str, int]] = {}
    for key, value in sorted(fields.items()):
        name, slash, version = key.partition("/")
        if slash:
            versions.setdefault(name, []).append(int(version))
        elif "@" in key:
            name, _, alias = key.partition("@")
            aliases.setdefault(name, {})[alias] = int(value)
    return [
        replace(read_model(name, tuple(sorted(known)), fields[f"{name}/{max(known)}"]), aliases=aliases.get(name, {}))
        for name, known in sorted(versions.items())
    ]


#: What is left out of a worker's description.
_DEFAULT_WORKER = {spec.name: spec.default for spec in fields(WorkerInfo)}


def pack_worker(info: WorkerInfo) -> bytes:
    """A worker's description as it is stored."""
    body = {name: getattr(info, name) for name in WorkerInfo.__slots__ if name != "models"}
    for name in ("pool", "pace_ms", "load_ms"):  # they came after the first release
        if body[name] == _DEFAULT_WORKER[name]:
            del body[name]
    body["models"] = [_warm(warm) for warm in info.models]
    return codec.encode("worker", body)


def _warm(model: WarmModel) -> dict[str, Any]:
    body = {name: getattr(model, name) for name in WarmModel.__slots__}
    for name in ("base", "base_bytes", "kin"):  # they came after the first release
        if not body[name]:
            del body[name]
    return body


def read_worker(data: bytes) -> WorkerInfo:
    """What `pack_worker` packed."""
    with _reading("worker"):
        body = _fields("worker", data)
        models = tuple(WarmModel(**warm) for warm in body.pop("models"))
        return WorkerInfo(models=models, queues=tuple(body.pop("queues")), **body)
