"""Everything that a save can know of its parts, and refuse, before a byte is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import transformers
from transformers import PreTrainedModel

from warmlane.errors import (
    InvalidInput,
    PipelineMismatch,
    ReferenceImpossible,
    TaskConflict,
    TaskRequired,
    UnsupportedInferenceTask,
    UnsupportedModel,
    WeightsDiffer,
)
from warmlane.model import dtype_name
from warmlane.saving import INFERENCE_TASKS, check_inference_task, pipeline_task
from warmlane_workers.flavor import custom_code, files, fit, heads, hub, reference
from warmlane_workers.flavor.architectures import infer_task
from warmlane_workers.flavor.parts import Parts, check_complete
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.pipelines import arguments
from warmlane_workers.pipelines.registry import canonical, model_type, pipeline_class, serving, task_of

#: Tasks that take the base of any model, so whatever head a checkpoint has is left out.
_HEADLESS = ("feature-extraction", "image-feature-extraction")
#: Pipelines and models that MLflow cannot load as a python function (its documented list).
_NO_PYFUNC = frozenset(
    {
        *("DocumentQuestionAnsweringPipeline", "ImageToTextPipeline", "VisualQuestionAnsweringPipeline"),
        *("ImageSegmentationPipeline", "DepthEstimationPipeline", "ObjectDetectionPipeline"),
        *("VideoClassificationPipeline", "ZeroShotImageClassificationPipeline", "ZeroShotObjectDetectionPipeline"),
        "ZeroShotAudioClassificationPipeline",
    }
)
_NO_PYFUNC_MODELS = ("Graphormer", "Informer", "TimeSeriesTransformer", "DecisionTransformer")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a save was asked for that bears on what is written.

    Attributes:
        check_weights: compare what is in memory with the hub before it is referred to.
        code: custom code may run, and is taken along.
    """

    task: str | None
    dtype: str | None
    save_pretrained: bool
    check_weights: bool
    code: bool
    report: hub.Report


def describe(parts: Parts, components: Mapping[str, Any], wishes: Wishes) -> Artifact:
    """The artifact that will be written.

    Args:
        components: name -> object, as `components.read_components` read them.

    Raises:
        SaveRefused, SourceError, UnsupportedTask, CustomCodeRefused: it would not load again.
        HubUnavailable: a commit, or weights to compare with, cannot be had.
    """
    model = parts.model
    if model is None:
        return Artifact(parts.task or "", "", "", None, "", has_weights=False, components={}, pyfunc=False)
    task = _task(parts, wishes.task)
    brought = heads.replaced(parts.adapter)
    kind = _model_type(model, task, brought)
    head = _head(parts, kind, task, brought)
    artifact = Artifact(
        task=task,
        instance_type=type(parts.pipeline).__name__ if parts.pipeline else pipeline_class(task).__name__,
        model_type=kind,
        dtype=wishes.dtype or _dtype(model),
        source_name=model.name if isinstance(model, Checkpoint) else model.name_or_path or "",
        has_weights=True,
        components={name: type(component).__name__ for name, component in components.items()},
        has_adapter=parts.adapter is not None,
        inference_task=wishes.task if wishes.task in INFERENCE_TASKS else None,
    )
    _check_talks(artifact, components)
    artifact = replace(artifact, pyfunc=_has_pyfunc(artifact))
    check_complete(parts.components, task)
    if parts.pipeline is not None and (given := arguments.dump(parts.pipeline)):
        artifact = replace(artifact, own={"pipeline": given})
    placed = _place(artifact, parts, components, wishes, brought)
    # A base that is written beside its adapter says itself what its labels are.
    return placed if placed.has_weights or not head else replace(placed, own={**placed.own, "head": head})


def _check_talks(artifact: Artifact, components: Mapping[str, Any]) -> None:
    """Refuse a model of chats whose tokenizer makes no prompt of messages: no predict would be answered.

    Raises:
        UnsupportedInferenceTask, PipelineMismatch: what to set.
    """
    tokenizer = components.get("tokenizer") or getattr(components.get("processor"), "tokenizer", None)
    if tokenizer is None or getattr(tokenizer, "chat_template", None):
        return
    if artifact.inference_task == "llm/v1/chat":
        raise UnsupportedInferenceTask(
            "task: the model's tokenizer has no chat template; set `tokenizer.chat_template`, or save the model as "
            "llm/v1/completions",
            field="task",
        )
    if artifact.task == "conversational" and tokenizer.eos_token is None:
        raise PipelineMismatch(
            "task: the model's tokenizer has neither a chat template nor an eos_token, so it makes no prompt of "
            "messages; set `tokenizer.chat_template`, or save the model with another task",
            field="task",
        )


def _task(parts: Parts, asked: str | None) -> str:
    """The pipeline's task. What was asked for must not contradict a pipeline that was given.

    Raises:
        TaskRequired, TaskConflict, UnsupportedTask, UnsupportedInferenceTask.
    """
    below = pipeline_task(asked)
    own = (parts.pipeline.task or task_of(type(parts.pipeline))) if parts.pipeline is not None else None
    if own is not None and below is not None and asked == below and canonical(below) != canonical(own):
        raise TaskConflict(f"task: the pipeline's task is {own!r}; leave it out, or give the same", field="task")
    found = own or below or parts.task
    if found is None and isinstance(parts.model, PreTrainedModel):
        kind = parts.model.config.model_type
        found = infer_task({"architectures": [type(parts.model).__name__], "model_type": kind})
    if found is None:
        raise TaskRequired("task: the source does not tell it; give one, e.g. 'text-classification'", field="task")
    task = canonical(found)
    check_inference_task(asked if asked != below else None, task)
    return task


def _head(parts: Parts, model_type: str, task: str, brought: heads.Replaced) -> dict[str, Any]:
    """The labels of a head that an adapter brings; empty where the base tells them.

    Raises:
        PipelineMismatch: the adapter brings none for the task, and the base has none.
        SourceError, SourceIncomplete: it brings one that does not fit, or not all that the base lacks.
    """
    model = parts.model
    if not isinstance(model, Checkpoint):
        return heads.labels(model.config) if brought and model is not None else {}
    if not brought:
        return {}
    found = heads.check(model, model_type, task, brought)
    if model.revision is None:
        fit.check(model, model_type, task, unneeded=brought, settings=heads.settings(found))
    return found


def _model_type(model: Checkpoint | PreTrainedModel, task: str, brought: heads.Replaced) -> str:
    """Class name of the model.

    Args:
        brought: what an adapter replaces; whether that is the head which a checkpoint lacks is for `heads.check`.

    Raises:
        PipelineMismatch: its head serves another task.
    """
    if isinstance(model, Checkpoint):
        config = model.config()
        declared, kind = str((config.get("architectures") or [""])[0]), str(config.get("model_type"))
        if custom_code.model_file(model.directory, declared) is not None:
            return declared
        found = model_type(task, config)
    else:
        if getattr(model, "_hf_peft_config_loaded", False):
            raise UnsupportedModel(
                "the model has an adapter that transformers put into it, and would save nothing else; wrap the base "
                "with `peft.get_peft_model()` instead, or merge the adapter",
                field="model",
            )
        declared, kind = type(model).__name__, model.config.model_type
        found = declared
    known = serving(task, kind)
    lacks = bool(declared and known) and declared not in known and task not in _HEADLESS
    if lacks and not _is_tied(declared, found) and not (brought and isinstance(model, Checkpoint)):
        raise heads.missing(declared, task, known)
    if custom_code.is_native(declared) and not known:
        raise PipelineMismatch(f"{task} takes no {declared}: give the task that the model was made for", field="task")
    return found


def _is_tied(declared: str, found: str) -> bool:
    """Whether a base model is all that a language model needs, because its head is its embeddings."""
    kind = getattr(transformers, found, None)
    return declared.endswith("Model") and bool(getattr(kind, "_tied_weights_keys", None))


def _dtype(model: Checkpoint | PreTrainedModel) -> str | None:
    """The weights' own type, if it is one that models are loaded in."""
    if isinstance(model, PreTrainedModel):
        candidates: list[Any] = [str(model.dtype)]
    else:
        config = model.config()
        candidates = [model.weights_dtype(), config.get("dtype") or config.get("torch_dtype")]
    for text in candidates:
        try:
            found = dtype_name(text)
        except InvalidInput:
            continue
        if found is not None:
            return found
    return None


def _has_pyfunc(artifact: Artifact) -> bool:
    return artifact.instance_type not in _NO_PYFUNC and not artifact.model_type.startswith(_NO_PYFUNC_MODELS)


def _place(
    artifact: Artifact, parts: Parts, components: Mapping[str, Any], wishes: Wishes, brought: heads.Replaced
) -> Artifact:
    """Where the weights are to be found: in the artifact, at the hub, or, an adapter's base, in a directory."""
    model = parts.model
    assert model is not None
    if parts.adapter is None and wishes.save_pretrained:
        if isinstance(model, Checkpoint):
            model.files(code=wishes.code)
        return artifact
    try:
        return _referring(artifact, parts, components, wishes, brought)
    except WeightsDiffer:
        # An adapter over a base that is no longer what it was loaded as, e.g. with more tokens: the base comes along.
        if parts.adapter is None or not wishes.save_pretrained or parts.base_is_given:
            raise
        return artifact


def _referring(
    artifact: Artifact, parts: Parts, components: Mapping[str, Any], wishes: Wishes, brought: heads.Replaced
) -> Artifact:
    """An artifact that says where its weights are.

    Raises:
        WeightsDiffer: those in memory are others.
        ReferenceImpossible: they are nowhere.
    """
    model = parts.model
    assert model is not None
    if parts.base_path is not None:
        if isinstance(model, PreTrainedModel) and wishes.check_weights:
            reference.check_model(
                model, artifact.task, parts.base_path, str(parts.base_path), code=wishes.code, unneeded=brought
            )
        own = {**artifact.own, "base_files": files.fingerprint(parts.base_path)}
        return replace(artifact, has_weights=False, base_path=str(parts.base_path), own=own)
    found = _origin(model, artifact, wishes, brought)
    if found is None:
        if parts.adapter is not None and isinstance(model, PreTrainedModel):
            return artifact  # a base that came from nowhere is written beside its adapter
        raise ReferenceImpossible(
            "save_pretrained=False refers to the hub, and this model did not come from there; leave it out to save "
            "the weights",
            field="save_pretrained",
        )
    return replace(
        artifact,
        has_weights=False,
        source_name=found[0],
        source_revision=found[1],
        component_sources=reference.find_components(parts.components, components, found),
    )


def _origin(
    model: Checkpoint | PreTrainedModel, artifact: Artifact, wishes: Wishes, brought: heads.Replaced
) -> tuple[str, str] | None:
    """Hub id and commit of a model; None for one that did not come from the hub."""
    if isinstance(model, Checkpoint):
        return (model.name, model.revision) if model.revision else None
    return reference.find_model(
        model, artifact.task, check=wishes.check_weights, code=wishes.code, report=wishes.report, unneeded=brought
    )
