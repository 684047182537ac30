"""What the transformers that is installed knows: task -> pipeline and model classes, component -> its reader."""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from typing import Any

from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.pipelines import PIPELINE_REGISTRY

from warmlane.errors import UnsupportedTask
from warmlane_workers.pipelines.classic import is_language_pair

#: Component -> the class that reads it from a directory.
READERS: Mapping[str, Any] = {
    "tokenizer": AutoTokenizer,
    "feature_extractor": AutoFeatureExtractor,
    "image_processor": AutoImageProcessor,
    "processor": AutoProcessor,
}


def canonical(task: str) -> str:
    """The task's own name, where it was given by another, e.g. `sentiment-analysis`. `translation_xx_to_yy` is one.

    Raises:
        UnsupportedTask: no such task.
    """
    name = _check(task)[0]
    return task if is_language_pair(task) else name


def is_task(task: str) -> bool:
    """Whether there is a pipeline for a task, by whatever of its names."""
    try:
        PIPELINE_REGISTRY.check_task(task)
    except KeyError:
        return False
    return True


def serving(task: str, kind: str) -> list[str]:
    """The classes that a task's auto classes load for a `model_type` of transformers, e.g. "bert"; best first.

    Raises:
        UnsupportedTask: no such task.
    """
    found: list[str] = []
    for auto in _entry(task)["pt"]:
        names = auto._model_mapping._model_mapping.get(kind, ())
        found += [names] if isinstance(names, str) else names
    return found


def tasks_of(class_name: str) -> list[str]:
    """The tasks whose auto classes load a class of transformers; none for a class that it does not have."""
    return [task for task in PIPELINE_REGISTRY.supported_tasks if class_name in _classes(task)]


@functools.cache
def _classes(task: str) -> frozenset[str]:
    found: set[str] = set()
    for auto in _entry(task)["pt"]:
        for names in auto._model_mapping._model_mapping.values():
            found |= {names} if isinstance(names, str) else set(names)
    return frozenset(found)


def _entry(task: str) -> dict[str, Any]:
    return _check(task)[1]


def _check(task: str) -> tuple[str, dict[str, Any]]:
    try:
        name, entry, _ = PIPELINE_REGISTRY.check_task(task)
    except KeyError:
        known = ", ".join(PIPELINE_REGISTRY.get_supported_tasks())
        raise UnsupportedTask(f"this transformers has no pipeline for the task {task!r}; it has {known}") from None
    return name, entry


def pipeline_class(task: str) -> type[Any]:
    """The class of a task's pipeline.

    Raises:
        UnsupportedTask: none is known; the message lists those that are.
    """
    impl = _entry(task)["impl"]
    found: type[Any] = pkgutil.resolve_name(impl) if isinstance(impl, str) else impl
    return found


def needed(task: str) -> list[str]:
    """The components that a task's pipeline cannot do without."""
    kind = pipeline_class(task)
    return [name for name in READERS if getattr(kind, f"_load_{name}", False)]


def takes_processor(task: str) -> bool:
    """Whether a task's pipeline takes a processor, needed or not."""
    return getattr(pipeline_class(task), "_load_processor", False) is not False


def model_type(task: str, config: Mapping[str, Any]) -> str:
    """The name of the class that a task's pipeline makes of a checkpoint: the one that its `config.json` declares if
    that serves the task, else the one that the auto class picks; a language model gives features by its base."""
    declared = [str(name) for name in config.get("architectures") or []]
    known = serving(task, str(config.get("model_type")))
    return next((name for name in declared if name in known), (known or declared or [""])[0])


def task_of(kind: type[Any]) -> str | None:
    """The task of a pipeline's class; None for one that transformers does not know."""
    for task in PIPELINE_REGISTRY.supported_tasks:
        if pipeline_class(task) is kind:
            return str(task)
    return None


def model_class(task: str) -> Any:
    """The auto class that loads a task's models."""
    return _entry(task)["pt"][0]
