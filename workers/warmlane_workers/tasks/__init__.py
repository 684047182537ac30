"""Predict, one file a family of pipelines. `implementation` chooses from a table, imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

from warmlane.errors import UnsupportedTask
from warmlane_workers.pipelines.classic import is_language_pair
from warmlane_workers.pipelines.registry import is_task
from warmlane_workers.tasks.base import Task

#: Task -> the class that answers it; any other task of transformers is answered by `PipelineTask`, in native mode.
TASKS = {
    "text-classification": "warmlane_workers.tasks.text_classification:TextClassification",
    "token-classification": "warmlane_workers.tasks.token_classification:TokenClassification",
    "fill-mask": "warmlane_workers.tasks.fill_mask:FillMask",
    "feature-extraction": "warmlane_workers.tasks.feature_extraction:FeatureExtraction",
    "zero-shot-classification": "warmlane_workers.tasks.zero_shot:ZeroShotClassification",
    "question-answering": "warmlane_workers.tasks.question_answering:QuestionAnswering",
    "text-generation": "warmlane_workers.tasks.text_generation:TextGeneration",
    "text2text-generation": "warmlane_workers.tasks.seq2seq:Text2Text",
    "summarization": "warmlane_workers.tasks.seq2seq:Text2Text",
    "translation": "warmlane_workers.tasks.seq2seq:Text2Text",
    "conversational": "warmlane_workers.tasks.conversational:Conversational",
    "echo": "warmlane_workers.tasks.echo:Echo",
}
_ANY = "warmlane_workers.tasks.pipeline:PipelineTask"


def check(task: str) -> None:
    """Whether this release can predict with a task, before its model is loaded.

    Raises:
        UnsupportedTask: transformers has no pipeline for it.
    """
    if task not in TASKS and not is_task(task):
        raise UnsupportedTask(f"transformers has no pipeline for the task {task!r}", task=task)


def implementation(task: str, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> Task:
    """The task's implementation over loaded components.

    Args:
        record: arguments of the pipeline that was saved.

    Raises:
        UnsupportedTask: this release cannot predict with it.
    """
    check(task)
    made: Task = pkgutil.resolve_name(TASKS.get(_family(task), _ANY))(components, record)
    return made


def _family(task: str) -> str:
    return "translation" if is_language_pair(task) else task
