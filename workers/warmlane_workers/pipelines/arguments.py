"""What a pipeline was constructed with, as plain data: read off a pipeline, and given to another of its class.

A pipeline sorts its constructor's arguments into those of its steps and forgets their names, so it is the steps' that
are kept. MLflow drops them; here `aggregation_strategy="simple"` is still there after a save and a load.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

from transformers import GenerationConfig, Pipeline

from warmlane.errors import ArtifactTooNew, SaveRefused

#: Part of the record -> the pipeline's attribute; the first three in the order that `_sanitize_parameters` returns.
_STEPS = {"preprocess": "_preprocess_params", "forward": "_forward_params", "postprocess": "_postprocess_params"}
_OTHERS = {
    "generate": "_generate_kwargs",
    "batch_size": "_batch_size",
    "num_workers": "_num_workers",
    "binary_output": "binary_output",
}
#: Marks of values that are no plain data: a dict with one of these keys, and nothing else.
_ENUM, _COMPONENT, _GENERATION = "__enum__", "__component__", "__generation_config__"
_COMPONENTS = ("tokenizer", "feature_extractor", "image_processor", "processor", "model")


def dump(pipeline: Pipeline) -> dict[str, Any]:
    """The arguments that are not their defaults; empty for a pipeline that was given none.

    Raises:
        SaveRefused: one is neither plain data nor an enumeration, e.g. a streamer or a second model.
    """
    if getattr(pipeline, "assistant_model", None) is not None:
        raise SaveRefused("an assistant model cannot be saved with a pipeline; leave it out", field="assistant_model")
    record = {step: _plain(values, step, pipeline) for step, values in _given(pipeline).items()}
    for name, attribute in _OTHERS.items():
        record[name] = _plain(getattr(pipeline, attribute, None), name, pipeline)
    return {name: value for name, value in record.items() if value}


def restore(pipeline: Pipeline, record: Mapping[str, Any]) -> None:
    """Give a pipeline the arguments of another of its class; those that it was given itself stay.

    Raises:
        ArtifactTooNew: one names an enumeration that this transformers does not have.
    """
    for step, own in _given(pipeline).items():
        getattr(pipeline, _STEPS[step]).update({**_objects(record.get(step, {}), pipeline), **own})
    for name, attribute in _OTHERS.items():
        if name in record:
            own, other = getattr(pipeline, attribute), _objects(record[name], pipeline)
            setattr(pipeline, attribute, {**other, **own} if isinstance(other, dict) else own or other)


def _given(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Of each step the arguments that are not its defaults."""
    defaults = pipeline._sanitize_parameters()  # type: ignore[no-untyped-call]
    return {
        step: {
            name: value
            for name, value in getattr(pipeline, attribute).items()
            if name not in default or default[name] != value
        }
        for (step, attribute), default in zip(_STEPS.items(), defaults, strict=True)
    }


def _plain(value: Any, place: str, pipeline: Pipeline) -> Any:
    if value is None or (isinstance(value, str | bool | int | float) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return {_ENUM: f"{type(value).__name__}.{value.name}"}
    if isinstance(value, GenerationConfig):
        return {_GENERATION: _plain(value.to_diff_dict(), place, pipeline)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item, f"{place}.{name}", pipeline) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, place, pipeline) for item in value]
    for name in _COMPONENTS:
        if value is getattr(pipeline, name, None):
            return {_COMPONENT: name}
    raise SaveRefused(
        f"the pipeline's argument {place!r} is a {type(value).__name__} and no plain data; "
        "construct the pipeline without it, and pass it at each call",
        field=place,
    )


def _objects(value: Any, pipeline: Pipeline) -> Any:
    if isinstance(value, list):
        return [_objects(item, pipeline) for item in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {_COMPONENT} and value[_COMPONENT] in _COMPONENTS:
        return getattr(pipeline, value[_COMPONENT])
    if set(value) == {_GENERATION}:
        return GenerationConfig.from_dict(dict(value[_GENERATION]))
    if set(value) == {_ENUM}:
        return _enum(str(value[_ENUM]), pipeline)
    return {name: _objects(item, pipeline) for name, item in value.items()}


def _enum(text: str, pipeline: Pipeline) -> Enum:
    """A member of an enumeration of the pipeline's own modules, so that a record cannot name any other object."""
    name, _, member = text.partition(".")
    for cls in type(pipeline).__mro__:
        kind = getattr(sys.modules.get(cls.__module__), name, None)
        if isinstance(kind, type) and issubclass(kind, Enum) and member in kind.__members__:
            return kind[member]
    raise ArtifactTooNew(f"MLmodel: this transformers knows no {text[:60]!r}; upgrade it")
