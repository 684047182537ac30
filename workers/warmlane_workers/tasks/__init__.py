"""Predict, one file a family of pipelines. `implementation` chooses from a table, imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

from warmlane.errors import UnsupportedTask
from warmlane_workers.tasks.base import Task

#: Task -> the class that answers it.
TASKS = {
    "text-classification": "warmlane_workers.tasks.text_classification:TextClassification",
    "feature-extraction": "warmlane_workers.tasks.feature_extraction:FeatureExtraction",
    "text-generation": "warmlane_workers.tasks.text_generation:TextGeneration",
    "echo": "warmlane_workers.tasks.echo:Echo",
}


def check(task: str) -> None:
    """Whether this release can predict with a task, before its model is loaded.

    Raises:
        UnsupportedTask: it cannot.
    """
    if task not in TASKS:
        raise UnsupportedTask(f"predict does not know the task {task!r} yet; it knows {', '.join(TASKS)}", task=task)


def implementation(task: str, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> Task:
    """The task's implementation over loaded components.

    Args:
        record: arguments of the pipeline that was saved.

    Raises:
        UnsupportedTask: this release cannot predict with it.
    """
    check(task)
    made: Task = pkgutil.resolve_name(TASKS[task])(components, record)
    return made
