"""The job that publishes a version of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from warmlane.errors import InvalidInput, MissingModel, UnknownComponent, UnsupportedSource
from warmlane.jobs.base import LATER, Job, check_flag, check_mapping, check_name, check_text, set_fields
from warmlane.model import dtype_name
from warmlane.saving import check_options
from warmlane.signature import check_signature

#: What a dict of components may hold (the guide, "Pipelines vs. Component Logging").
COMPONENTS = ("model", "tokenizer", "feature_extractor", "image_processor")


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
            check_text(name, getattr(self, name))
        set_fields(self, dtype=dtype_name(self.dtype))
        check_flag("save_pretrained", self.save_pretrained)
        check_flag("trust_remote_code", self.trust_remote_code)
        check_mapping("metadata", self.metadata)
        if isinstance(self.input_example, tuple):
            example, params = split_example(self.input_example)
            set_fields(self, input_example=example, example_params=params)
        for name in ("signature", "model_config", "conda_env", "example_params"):
            if getattr(self, name) is not None:
                check_mapping(name, getattr(self, name))
        if self.signature is not None:
            set_fields(self, signature=check_signature(self.signature))
        check_options(
            task=self.task,
            signature=self.signature,
            metadata=self.metadata,
            model_config=self.model_config or {},
            prompt_template=self.prompt_template,
            pip_requirements=self.pip_requirements,
            extra_pip_requirements=self.extra_pip_requirements,
            conda_env=self.conda_env,
            code_paths=self.code_paths,
        )

    @property
    def subject(self) -> str:
        return self.name


def _check_source(source: object) -> None:
    if isinstance(source, str):
        check_text("source", source)
        return
    if not isinstance(source, dict):
        raise UnsupportedSource("source: a directory, a hub id, or a dict of components", field="source")
    check_components(source, "source")
    for name, part in source.items():
        check_text(f"source.{name}", part)


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
