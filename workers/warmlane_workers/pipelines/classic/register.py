"""Makes transformers know the classic tasks: `transformers.pipeline("summarization", …)` works after `register`.

A task that the installed transformers still has, or has again, stays its own.
"""

from __future__ import annotations

import re
from typing import Any

import transformers.pipelines
from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM
from transformers.pipelines import PIPELINE_REGISTRY

from warmlane_workers.pipelines.classic.conversational import ConversationalPipeline
from warmlane_workers.pipelines.classic.question_answering import QuestionAnsweringPipeline
from warmlane_workers.pipelines.classic.text2text import (
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TranslationPipeline,
)

#: Task -> its pipeline and the auto classes of its models, in the order in which they are tried.
_TASKS: dict[str, tuple[type[Any], tuple[Any, ...]]] = {
    "conversational": (ConversationalPipeline, (AutoModelForSeq2SeqLM, AutoModelForCausalLM)),
    "question-answering": (QuestionAnsweringPipeline, (AutoModelForQuestionAnswering,)),
    "summarization": (SummarizationPipeline, (AutoModelForSeq2SeqLM,)),
    "text2text-generation": (Text2TextGenerationPipeline, (AutoModelForSeq2SeqLM,)),
    "translation": (TranslationPipeline, (AutoModelForSeq2SeqLM,)),
}
_PAIR = re.compile(r"translation_[^_]+_to_[^_]+")


def is_language_pair(task: Any) -> bool:
    """Whether a task is `translation_xx_to_yy`, which names its languages."""
    return isinstance(task, str) and _PAIR.fullmatch(task) is not None


class _Aliases(dict[str, str]):
    """Other names of tasks, among which any `translation_xx_to_yy` is one of `translation`."""

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or is_language_pair(task)

    def __missing__(self, task: str) -> str:
        if is_language_pair(task):
            return "translation"
        raise KeyError(task)


def register() -> None:
    """Put the classic pipelines into transformers' table; once is enough, twice changes nothing.

    Not by `register_pipeline`: it marks a class as custom code, and `save_pretrained` would then store our source files
    with the model and name them in its configuration.
    """
    removed: dict[str, str] = getattr(transformers.pipelines, "REMOVED_TASKS", {})
    for task, (pipeline, models) in _TASKS.items():
        if task in PIPELINE_REGISTRY.supported_tasks:
            continue
        PIPELINE_REGISTRY.supported_tasks[task] = {"impl": pipeline, "pt": models, "type": "text"}
        removed.pop(task, None)  # transformers refuses these names before it looks at its table
        if task == "translation":
            PIPELINE_REGISTRY.task_aliases = _Aliases(PIPELINE_REGISTRY.task_aliases)
