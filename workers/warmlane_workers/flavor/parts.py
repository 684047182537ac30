"""What a save was given, sorted into a model, its components and its adapter. Reads small files only, writes nothing.

Source: the guide, "Pipelines vs. Component Logging" and "PEFT Models in MLflow Transformers flavor".
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import (
    FeatureExtractionMixin,
    ImageProcessingMixin,
    Pipeline,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from warmlane.errors import (
    InvalidBaseModel,
    InvalidInput,
    ModelDistributed,
    SourceError,
    SourceIncomplete,
    UnsupportedModel,
    UnsupportedSource,
)
from warmlane.jobs import COMPONENTS, check_components
from warmlane.saving import pipeline_task
from warmlane_workers.flavor import adapters, hub, reading, source
from warmlane_workers.flavor.architectures import infer_task
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import FILE
from warmlane_workers.pipelines.registry import needed, serving

#: Tasks that diagnose warmlane itself and have no weights.
DIAGNOSTIC_TASKS = {"echo"}
#: The source that saves one: `warmlane:echo`.
DIAGNOSTIC_SCHEME = "warmlane:"
#: Component -> what it is in memory. Older pipelines have their image processor under the name of a feature extractor.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "tokenizer": (PreTrainedTokenizerBase,),
    "feature_extractor": (FeatureExtractionMixin, ImageProcessingMixin),
    "image_processor": (ImageProcessingMixin,),
    "processor": (ProcessorMixin,),
}


@dataclass(frozen=True, slots=True)
class Lookup:
    """How sources are found: where they may lie, at which revision, and what of a hub id is fetched.

    Attributes:
        task: what was asked for, which says whether a processor is needed; None asks the source.
        base: where an adapter's base lies, whatever the adapter says.
    """

    roots: tuple[Path, ...]
    revision: str | None
    weights: bool
    code: bool
    report: hub.Report | None = None
    base: Path | None = None
    task: str | None = None

    def find(self, name: str) -> Checkpoint:
        """A directory or hub id; see `source.find`."""
        return source.find(name, self.roots, self.revision, weights=self.weights, code=self.code, report=self.report)

    def components_of(self, found: Checkpoint) -> dict[str, Any]:
        """The components that lie beside a checkpoint's model."""
        return dict.fromkeys(found.component_names(pipeline_task(self.task) or found.task()), found)

    def find_base(self, adapter: Path) -> Checkpoint:
        """The base of an adapter's directory: the given one, else as the adapter names it; without its weights."""
        if self.base is not None:
            given = _base_directory(self.base, self)
            return Checkpoint(given, str(given), None, self.roots)
        name, revision = adapters.base_source(adapter)
        return source.find(name, self.roots, revision, weights=False, code=self.code)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an artifact is made of; each a checkpoint, whose files are copied, or an object in memory, which saves
    itself.

    Attributes:
        model: of an adapter, its base; None for a diagnostic task.
        components: name -> part; a processor among them.
        base_path: directory of an adapter's base that the artifact refers to by its path.
        base_is_given: the caller named that directory.
        pipeline: the pipeline that was given, if it was one.
        task: what the source says of itself.
    """

    model: Checkpoint | PreTrainedModel | None
    components: Mapping[str, Any] = field(default_factory=dict)
    adapter: Checkpoint | PeftModel | None = None
    base_path: Path | None = None
    base_is_given: bool = False
    pipeline: Pipeline | None = None
    task: str | None = None


def resolve(model: Any, processor: Any, base_model_path: str | os.PathLike[str] | None, lookup: Lookup) -> Parts | Path:
    """Sort what `save_model` was given; the path of an MLflow model directory stays one.

    Raises:
        UnsupportedSource, UnknownComponent, MissingModel, UnsupportedModel, ModelDistributed, InvalidBaseModel: as
            named.
        SourceError, SourceIncomplete, HubUnavailable: a source that cannot be found.
    """
    base = None if base_model_path is None else Path(base_model_path).expanduser()
    parts = _sort(model, replace(lookup, base=base))
    if isinstance(parts, Path):
        if base is not None or processor is not None:
            raise InvalidInput("an MLflow model directory is taken as it is; leave out processor and base_model_path")
        return parts
    if processor is not None:
        found = _component("processor", processor, lookup)
        parts = replace(parts, components={**parts.components, "processor": found})
    if base is None:
        return parts
    if parts.adapter is None:
        raise InvalidBaseModel("base_model_path: only an adapter has a base; leave it out", field="base_model_path")
    return replace(parts, base_path=_base_directory(base, lookup), base_is_given=True)


def _sort(model: Any, lookup: Lookup) -> Parts | Path:
    if isinstance(model, Pipeline):
        _refuse_revision({}, lookup)
        # A processor that its class does not ask for has been taken apart into the others.
        names = [*COMPONENTS[1:], *(["processor"] if model._load_processor is not False else [])]
        found = {name: getattr(model, name) for name in names if getattr(model, name, None) is not None}
        return replace(_of_model(model.model, found, lookup), pipeline=model, task=model.task)
    if isinstance(model, str | os.PathLike):
        return _of_source(os.fspath(model), lookup)
    if isinstance(model, dict):
        check_components(model, "transformers_model")
        found = {name: _component(name, part, lookup) for name, part in model.items()}
        _refuse_revision(found, lookup)
        return _of_model(found.pop("model"), found, lookup)
    raise UnsupportedSource(
        "transformers_model: a pipeline, a dict of components such as {'model': …, 'tokenizer': …}, a directory, or a "
        f"hub id; this is a {type(model).__name__}",
        field="transformers_model",
    )


def _component(name: str, part: Any, lookup: Lookup) -> Any:
    """A component as a checkpoint or an object."""
    if isinstance(part, str | os.PathLike):
        return lookup.find(os.fspath(part))
    if name in _KINDS:
        check_kind(name, part)
    return part


def check_kind(name: str, component: Any) -> None:
    """Whether an object is a component of that name.

    Raises:
        UnsupportedModel: it is something else.
    """
    if not isinstance(component, _KINDS[name]):
        what = name.replace("_", " ")
        raise UnsupportedModel(
            f"{name}: a {type(component).__name__} is no {what}; give one that `from_pretrained` made, its directory "
            "or its hub id, or leave it out",
            field=name,
        )


def _refuse_revision(parts: Mapping[str, Any], lookup: Lookup) -> None:
    if lookup.revision is not None and not any(
        isinstance(part, Checkpoint) and part.revision is not None for part in parts.values()
    ):
        raise SourceError(
            "revision: directories and objects have none, only a hub id does; leave it out", field="revision"
        )


def check_complete(names: Collection[str], task: str) -> None:
    """Whether components make the pipeline of a task, by their names; with a processor they need not, they load apart.

    Raises:
        SourceIncomplete: one is missing; transformers would make it up, or fail at the load.
    """
    # An older transformers called an image processor a feature extractor, and a pipeline still takes it by that name.
    given = {*names, *(["image_processor"] if "feature_extractor" in names else [])}
    missing = [name for name in needed(task) if name not in given]
    if not missing or "processor" in given:
        return
    files = f", and the source has none of {', '.join(reading.TOKENIZER_FILES)}" if missing[0] == "tokenizer" else ""
    article = "an" if missing[0].startswith("i") else "a"
    raise SourceIncomplete(
        f"{task} needs {article} {missing[0].replace('_', ' ')}{files}; save it beside the model, or give it",
        field=missing[0],
    )


def _of_source(text: str, lookup: Lookup) -> Parts | Path:
    if text.startswith(DIAGNOSTIC_SCHEME) and text.removeprefix(DIAGNOSTIC_SCHEME) in DIAGNOSTIC_TASKS:
        return Parts(None, task=text.removeprefix(DIAGNOSTIC_SCHEME))
    found = lookup.find(text)
    _refuse_revision({"model": found}, lookup)
    if (found.directory / FILE).is_file():
        return found.directory
    beside = dict.fromkeys(found.component_names(), found) if found.is_adapter else lookup.components_of(found)
    return _of_model(found, beside, lookup)


def _of_model(model: Any, components: dict[str, Any], lookup: Lookup) -> Parts:
    if isinstance(model, Checkpoint):
        return (
            _of_adapter(model, components, lookup) if model.is_adapter else Parts(model, components, task=model.task())
        )
    if isinstance(model, PeftModel):
        adapters.check(model)
        _refuse_distributed(model.get_base_model())
        base = adapters.base_of(model)
        return Parts(base, components, model, _directory_of(base, lookup))
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModel(
            f"the model is a {type(model).__name__} and no model of transformers or PEFT; "
            "give one that `from_pretrained` made, or its directory",
            field="model",
        )
    _refuse_distributed(model)
    return Parts(model, components)


def _of_adapter(adapter: Checkpoint, components: dict[str, Any], lookup: Lookup) -> Parts:
    """A directory with an adapter: its base is fetched without weights, to know what it is."""
    adapter.adapter_files()
    base = lookup.find_base(adapter.directory)
    given = components or lookup.components_of(base)
    # What the adapter was trained for, unless the base was made for the same and its card says more of it.
    told = adapters.task_of(adapter.directory)
    config = base.config()
    other = told is not None and told != infer_task(config) and serving(told, str(config.get("model_type")))
    return Parts(base, given, adapter, None if base.revision else base.directory, task=told if other else base.task())


def _directory_of(base: PreTrainedModel, lookup: Lookup) -> Path | None:
    """The directory that an adapter's base was loaded from, if it is still a checkpoint."""
    name = base.name_or_path
    if not name or not (Path(name) / "config.json").is_file():
        return None
    return source.inside(Path(name), lookup.roots)


def _base_directory(directory: Path, lookup: Lookup) -> Path:
    if not (directory / "config.json").is_file():
        raise InvalidBaseModel(
            "base_model_path: no directory with a config.json; give the base's checkpoint", field="base_model_path"
        )
    return source.inside(directory, lookup.roots)


def _refuse_distributed(model: Any) -> None:
    places = set(map(str, (getattr(model, "hf_device_map", None) or {}).values()))
    if len(places) > 1:
        raise ModelDistributed(
            f"the model lies on {len(places)} devices ({', '.join(sorted(places))}); load it on one, then save it",
            field="model",
        )
