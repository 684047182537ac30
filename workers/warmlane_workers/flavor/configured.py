"""Whether each predict could go by a `model_config`, told before it is saved: by the checks of the task that predicts.

They need the model's kind and no weights, so a model on torch's device without memory stands for it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from warmlane.errors import InvalidParams, WarmlaneError
from warmlane_workers import tasks
from warmlane_workers.flavor import custom_code, heads, reading
from warmlane_workers.flavor.parts import Parts
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.params import of_config
from warmlane_workers.tasks.trimming import split

logger = logging.getLogger(__name__)


def check(config: Mapping[str, Any], parts: Parts, components: Mapping[str, Any], artifact: Artifact) -> None:
    """Refuse a configuration by which every predict would fail. Not told of models whose own code would have to run,
    nor of conversations, for which no configuration counts.

    Raises:
        InvalidParams: names the key, and what there is, or what it may be.
    """
    if not config or artifact.task == "conversational" or not custom_code.is_native(artifact.model_type):
        return
    try:
        task = _task(parts, components, artifact)
    except WarmlaneError as exc:  # said again where a load needs it
        logger.info("a configuration is not checked: %s", exc, extra={"action": "config_unchecked"})
        return
    trims = artifact.task == "text-generation" and artifact.inference_task is None
    try:
        task.plan(config if trims else split(config)[0])
    except InvalidParams as exc:
        raise of_config(exc) from exc


def _task(parts: Parts, components: Mapping[str, Any], artifact: Artifact) -> Any:
    """The task that will predict, over copies: a task sets up its tokenizer, and those here are yet to be written."""
    made = {"task": artifact.task, "model": _skeleton(parts, artifact), **copy.deepcopy(dict(components))}
    record = artifact.own.get("pipeline")
    if artifact.inference_task is None:
        return tasks.implementation(artifact.task, made, record, instance_type=artifact.instance_type)
    return tasks.inference(artifact.inference_task, made, record, "")


def _skeleton(parts: Parts, artifact: Artifact) -> Any:
    """The model without weights, with its settings of generation."""
    model: Any = parts.model
    if not isinstance(model, Checkpoint):
        made = reading.hollow(type(model), copy.deepcopy(model.config))
        settings = copy.deepcopy(getattr(model, "generation_config", None))
    else:
        labels = heads.settings(artifact.own.get("head"))
        made = reading.skeleton(model.directory, artifact.model_type, artifact.task, **labels)
        has_settings = (model.directory / "generation_config.json").is_file()
        settings = GenerationConfig.from_pretrained(model.directory) if has_settings else None
    if settings is not None and made.can_generate():
        made.generation_config = settings
    return made.eval()
