"""What a caller asks for: one frozen dataclass a kind of job.

A job checks itself when it is made, on the client before it is enqueued and on the worker when it is decoded; both
sides run this one file. Payload fields are hidden from `repr`, because Dramatiq logs messages with their arguments.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from warmlane.errors import InvalidInput, MissingModel, UnknownComponent, UnsupportedSource
from warmlane.model import NAME, ModelRef, dtype_name
from warmlane.saving import check_options

#: What a dict of components may hold (the guide, "Pipelines vs. Component Logging").
COMPONENTS = ("model", "tokenizer", "feature_extractor", "image_processor")
RETURN_TYPES = ("pipeline", "components")

#: Marks a field that came after the first release: it travels only when it is set, so that older workers read the rest.
LATER = {"later": True}

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


def check_name(name: object) -> None:
    """A model's name.

    Raises:
        InvalidInput: not 1 to 64 of the characters that names have.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            "name: 1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit", field="name"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every kind of job has."""

    kind: ClassVar[str]

    @property
    def subject(self) -> str:
        """The model that it is about, for the record."""
        raise NotImplementedError

    def fields(self) -> dict[str, Any]:
        """As it travels: field name -> value, without the later fields that say nothing."""
        values = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return {
            spec.name: values[spec.name]
            for spec in dataclasses.fields(self)
            if not spec.metadata.get("later") or values[spec.name] is not spec.default
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob(Job):
    """Answer each row of `inputs` with `model`.

    Attributes:
        inputs: one row, or a list of rows; what a row is depends on the task.
        params: keyword arguments of the pipeline, for all rows.
        dtype: answer with the model loaded in this type; default: as it is warm, else as it was saved.
        trust_remote_code: run the model's own code, on a worker that allows it.
    """

    kind: ClassVar[str] = "predict"
    model: str
    inputs: Any = field(repr=False)
    params: dict[str, Any] = field(default_factory=dict, repr=False)
    dtype: str | None = None
    trust_remote_code: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        _mapping("params", self.params)
        _flag("trust_remote_code", self.trust_remote_code)
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
        source: a directory (a transformers checkpoint, a PEFT adapter or an MLflow model), a hub id, or a dict of
            components, each with its own directory or hub id.
        task: the pipeline's task, or an `llm/v1` task; may be left out where the source tells it.
        dtype: recorded as the type to load in; the stored weights are not converted.
        save_pretrained: False stores a reference to the hub (name and commit) instead of the weights.
        revision: branch, tag or commit of a hub id.
        processor: directory or hub id of a processor; such a model loads as components only.
        signature: `{"inputs", "outputs", "params"}`; default: of the input example, else of the task.
        input_example: an input, or a tuple of an input and params; one prediction on it gives the signature.
        example_params: the params of the input example.
        prompt_template: frames each input; exactly one `{prompt}`.
        model_config: parameters of every predict.
        model_card: text of a card, instead of the source's own.
        pip_requirements, extra_pip_requirements, conda_env: the environment; at most one of them.
        code_paths: files and directories that the worker sees, stored under `code/`.
        base_model_path: checkpoint directory of an adapter's base, referred to by its path.
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
    processor: str | None = field(default=None, metadata=LATER)
    signature: dict[str, Any] | None = field(default=None, metadata=LATER)
    input_example: Any = field(default=None, repr=False, metadata=LATER)
    example_params: dict[str, Any] | None = field(default=None, repr=False, metadata=LATER)
    prompt_template: str | None = field(default=None, metadata=LATER)
    model_config: dict[str, Any] | None = field(default=None, metadata=LATER)
    model_card: str | None = field(default=None, repr=False, metadata=LATER)
    pip_requirements: list[str] | None = field(default=None, metadata=LATER)
    extra_pip_requirements: list[str] | None = field(default=None, metadata=LATER)
    conda_env: dict[str, Any] | None = field(default=None, metadata=LATER)
    code_paths: list[str] | None = field(default=None, metadata=LATER)
    base_model_path: str | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_source(self.source)
        for name in ("task", "revision", "processor", "model_card", "base_model_path"):
            _text(name, getattr(self, name))
        _set(self, dtype=dtype_name(self.dtype))
        _flag("save_pretrained", self.save_pretrained)
        _flag("trust_remote_code", self.trust_remote_code)
        _mapping("metadata", self.metadata)
        if isinstance(self.input_example, tuple):
            example, params = split_example(self.input_example)
            _set(self, input_example=example, example_params=params)
        for name in ("signature", "model_config", "conda_env", "example_params"):
            if getattr(self, name) is not None:
                _mapping(name, getattr(self, name))
        check_options(
            task=self.task,
            signature=self.signature,
            metadata=self.metadata,
            prompt_template=self.prompt_template,
            pip_requirements=self.pip_requirements,
            extra_pip_requirements=self.extra_pip_requirements,
            conda_env=self.conda_env,
            code_paths=self.code_paths,
        )

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
    if not isinstance(source, dict):
        raise UnsupportedSource("source: a directory, a hub id, or a dict of components", field="source")
    check_components(source, "source")
    for name, part in source.items():
        _text(f"source.{name}", part)


def split_example(example: Any) -> tuple[Any, dict[str, Any] | None]:
    """An input example as its input and its params: a tuple is `(input, params)`, anything else an input alone.

    Raises:
        InvalidInput: a tuple of another shape.
    """
    if not isinstance(example, tuple):
        return example, None
    if len(example) != 2 or not isinstance(example[1], dict):
        raise InvalidInput("input_example: a tuple is an input and a dict of params", field="input_example")
    return example


def check_components(parts: Mapping[str, Any], field_name: str) -> None:
    """The keys of a dict of components.

    Raises:
        UnknownComponent, MissingModel: names the key.
    """
    unknown = [str(name) for name in parts if name not in COMPONENTS]
    if unknown:
        raise UnknownComponent(
            f"{field_name}: no component may be called {unknown[0][:40]!r}; allowed are {', '.join(COMPONENTS)}, "
            "and a processor is an argument of its own",
            field=field_name,
            allowed=list(COMPONENTS),
        )
    if parts.get("model") is None:
        raise MissingModel(f"{field_name}: a dict of components needs the key 'model'", field=field_name)
