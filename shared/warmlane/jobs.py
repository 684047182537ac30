"""What a caller asks for: one frozen dataclass a kind of job, and the Dramatiq message that carries it.

A job checks itself when it is made, on the client before it is enqueued and on the worker when it is decoded; both
sides run this one file. Payload fields are hidden from `repr`, because Dramatiq logs messages with their arguments.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from warmlane import codec, keys
from warmlane.errors import CodecError, InvalidInput, PayloadTooLarge, WarmlaneError
from warmlane.model import NAME, ModelRef, dtype_name

#: What a dict of components may hold (the guide, "Pipelines vs. Component Logging").
COMPONENTS = ("model", "tokenizer", "feature_extractor", "image_processor")
RETURN_TYPES = ("pipeline", "components")

_JOB_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    return uuid.uuid4().hex


def check_id(job_id: object) -> str:
    """A job id as given out by warmlane: 32 hexadecimal digits.

    Raises:
        InvalidInput: anything else.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidInput("a job id is 32 hexadecimal digits, as `Job.id` gave it", field="id")
    return job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every kind of job has."""

    kind: ClassVar[str]

    @property
    def subject(self) -> str:
        """The model that it is about, for the record."""
        raise NotImplementedError

    def fields(self) -> dict[str, Any]:
        """As it travels: field name -> value."""
        return {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob(Job):
    """Answer each row of `inputs` with `model`.

    Attributes:
        inputs: one row, or a list of rows; what a row is depends on the task.
        params: keyword arguments of the pipeline, for all rows.
        dtype: answer with the model loaded in this type; default: as it is warm, else as it was saved.
    """

    kind: ClassVar[str] = "predict"
    model: str
    inputs: Any = field(repr=False)
    params: dict[str, Any] = field(default_factory=dict, repr=False)
    dtype: str | None = None

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        _mapping("params", self.params)
        inputs = list(self.inputs) if isinstance(self.inputs, tuple) else self.inputs  # as it arrives
        _set(self, dtype=dtype_name(self.dtype), inputs=inputs)

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob(Job):
    """Warm a model.

    Attributes:
        dtype: load in this type instead of the saved one (the guide, "Scale Inference with Overriding Pytorch dtype").
        return_type: "pipeline", or "components" for models whose parts make no pipeline.
        pin: keep it warm until it is unloaded, whatever else is asked for.
    """

    kind: ClassVar[str] = "load"
    model: str
    dtype: str | None = None
    return_type: str = "pipeline"
    pin: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        _set(self, dtype=dtype_name(self.dtype))
        _choice("return_type", self.return_type, RETURN_TYPES)
        _flag("pin", self.pin)
        _flag("trust_remote_code", self.trust_remote_code)

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadJob(Job):
    """Free a model on every worker that holds it."""

    kind: ClassVar[str] = "unload"
    model: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveJob(Job):
    """Publish a new version of `name` in the model store.

    Attributes:
        source: a directory (a transformers checkpoint or an MLflow model), a hub id, or a dict of components, each
            with its own directory or hub id.
        task: the pipeline's task; may be left out where the source tells it.
        dtype: recorded as the type to load in; the stored weights are not converted.
        save_pretrained: False stores a reference to the hub (name and commit) instead of the weights.
        revision: branch, tag or commit of a hub id.
    """

    kind: ClassVar[str] = "save"
    name: str
    source: str | dict[str, str]
    task: str | None = None
    dtype: str | None = None
    save_pretrained: bool = True
    revision: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise InvalidInput(
                "name: 1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit", field="name"
            )
        _check_source(self.source)
        _text("task", self.task)
        _text("revision", self.revision)
        _set(self, dtype=dtype_name(self.dtype))
        _flag("save_pretrained", self.save_pretrained)
        _flag("trust_remote_code", self.trust_remote_code)
        _mapping("metadata", self.metadata)

    @property
    def subject(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistJob(Job):
    """Fetch the weights of a reference-only model into its artifact (the guide, "Persist the Model Weight")."""

    kind: ClassVar[str] = "persist"
    model: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)

    @property
    def subject(self) -> str:
        return self.model


KINDS: dict[str, type[Job]] = {cls.kind: cls for cls in (PredictJob, LoadJob, UnloadJob, SaveJob, PersistJob)}


def make(kind: str, fields: dict[str, Any]) -> Job:
    """A job from its kind and fields, as they come over HTTP, from the command line or from the wire.

    Raises:
        InvalidInput: an unknown kind, an unknown, missing or ill-typed field.
    """
    cls = KINDS.get(kind)
    if cls is None:
        raise InvalidInput(f"kind must be one of {', '.join(KINDS)}", field="kind", allowed=list(KINDS))
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - set(specs))
    if unknown:
        raise InvalidInput(
            f"a {kind} job has no field {unknown[0][:40]!r}; it has {', '.join(specs)}", field=unknown[0][:40]
        )
    for name, spec in specs.items():
        if name not in fields and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise InvalidInput(f"a {kind} job needs the field {name!r}", field=name)
    return cls(**fields)


@dataclass(frozen=True)
class JobMessage(Message[Any]):
    """A Dramatiq message in warmlane's wire format: `args` is empty, `kwargs` is `{"job_id": str, "job": Job}`.

    It encodes itself, so that an application's own Dramatiq encoder is neither used nor changed.
    """

    @classmethod
    def of(cls, job: Job, job_id: str) -> Self:
        return cls(
            queue_name=keys.QUEUE_OF_KIND[job.kind],
            actor_name=job.kind,
            args=(),
            kwargs={"job_id": job_id, "job": job},
            options={"redis_message_id": job_id},
            message_id=job_id,
        )

    def encode(self) -> bytes:
        job: Job = self.kwargs["job"]
        body = {
            "id": self.message_id,
            "time": self.message_timestamp,
            "queue": self.queue_name,
            "kind": job.kind,
            "fields": job.fields(),
            "redis_id": self.options.get("redis_message_id", self.message_id),
        }
        try:
            return codec.encode("job", body)
        except CodecError as exc:
            if "limit" not in exc.details:
                raise
            raise PayloadTooLarge(f"{exc.message}; send fewer rows in a job", field="inputs") from exc

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message; whatever is wrong ends in Dramatiq's `DecodeError`, its cause one of ours.

        Nothing but the six fields of an envelope is read, so a message cannot set Dramatiq options that call other
        actors.
        """
        try:
            body = codec.decode("job", data)
            return cls._from_body(body)
        except WarmlaneError as exc:
            raise DecodeError("Not a warmlane job.", data, exc) from exc  # type: ignore[no-untyped-call]

    @classmethod
    def _from_body(cls, body: Any) -> Self:
        shape = {"id": str, "time": int, "queue": str, "kind": str, "fields": dict, "redis_id": str}
        if not isinstance(body, dict) or set(body) != set(shape):
            raise CodecError("a job envelope with missing or unknown fields")
        if any(type(body[name]) is not kind for name, kind in shape.items()):
            raise CodecError("a job envelope with an ill-typed field")
        job_id = check_id(body["id"])
        return cls(
            queue_name=body["queue"],
            actor_name=body["kind"],
            args=(),
            kwargs={"job_id": job_id, "job": make(body["kind"], body["fields"])},
            options={"redis_message_id": body["redis_id"]},
            message_id=job_id,
            message_timestamp=body["time"],
        )


def _set(job: Job, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(job, name, value)


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: expected true or false", field=name)


def _text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInput(f"{name}: expected a str that is not empty", field=name)


def _mapping(name: str, value: object) -> None:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{name}: expected a dict with str keys", field=name)


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:  # an ndarray has no one answer to `in`
        raise InvalidInput(f"{name}: must be one of {', '.join(allowed)}", field=name, allowed=list(allowed))


def _check_source(source: object) -> None:
    if isinstance(source, str):
        _text("source", source)
        return
    if not isinstance(source, dict) or "model" not in source:
        raise InvalidInput(
            "source: a directory, a hub id, or a dict of components with the key 'model'", field="source"
        )
    for name, part in source.items():
        if name not in COMPONENTS:
            raise InvalidInput(
                f"source: no component may be called {str(name)[:40]!r}; allowed are {', '.join(COMPONENTS)}",
                field="source",
                allowed=list(COMPONENTS),
            )
        _text(f"source.{name}", part)
