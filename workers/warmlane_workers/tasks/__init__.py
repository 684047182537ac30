"""Predict, one file a family of pipelines. `implementation` chooses from a table, imported on first use."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import Any

from warmlane.errors import UnsupportedTask
from warmlane_workers.pipelines.classic import is_language_pair
from warmlane_workers.pipelines.registry import is_task
from warmlane_workers.tasks.base import Task
from warmlane_workers.tasks.reach import NOWHERE, Reach

#: Task -> the class that answers it; any other task of transformers is answered by `AnyTask`, in native mode.
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
    "automatic-speech-recognition": "warmlane_workers.tasks.audio:SpeechRecognition",
    "audio-classification": "warmlane_workers.tasks.audio:AudioClassification",
    "zero-shot-audio-classification": "warmlane_workers.tasks.audio:ZeroShotAudioClassification",
    "image-classification": "warmlane_workers.tasks.image:ImageClassification",
    "table-question-answering": "warmlane_workers.tasks.table:TableQuestionAnswering",
    "video-classification": "warmlane_workers.tasks.video:VideoClassification",
    "echo": "warmlane_workers.tasks.echo:Echo",
}
#: Inference task -> the class that answers in OpenAI's shapes, over the pipeline of the task below it.
OPENAI = {
    "llm/v1/chat": "warmlane_workers.tasks.openai.generation:Chat",
    "llm/v1/completions": "warmlane_workers.tasks.openai.generation:Completions",
    "llm/v1/embeddings": "warmlane_workers.tasks.openai.embeddings:Embeddings",
}
_ANY = "warmlane_workers.tasks.anything:AnyTask"


def check(task: str) -> None:
    """Whether this release can predict with a task, before its model is loaded.

    Raises:
        UnsupportedTask: transformers has no pipeline for it.
    """
    if task not in TASKS and not is_task(task):
        raise UnsupportedTask(f"transformers has no pipeline for the task {task!r}", task=task)


def implementation(
    task: str,
    components: dict[str, Any],
    record: Mapping[str, Any] | None = None,
    reach: Reach = NOWHERE,
    instance_type: str = "",
) -> Task:
    """The task's implementation over loaded components.

    Args:
        record: arguments of the pipeline that was saved.
        reach: what rows may name that lies outside of them.
        instance_type: class name of the pipeline that was saved.

    Raises:
        UnsupportedTask: this release cannot predict with it.
    """
    check(task)
    made: Task = pkgutil.resolve_name(TASKS.get(_family(task), _ANY))(components, record)
    made.reach, made.instance_type = reach, instance_type
    return made


def inference(inference_task: str, components: dict[str, Any], record: Mapping[str, Any] | None, model: str) -> Task:
    """An `llm/v1` task's implementation over loaded components.

    Args:
        model: the name that answers give as their model's.

    Raises:
        UnsupportedTask: there is no such task.
    """
    if inference_task not in OPENAI:
        raise UnsupportedTask(
            f"the inference tasks are {', '.join(OPENAI)}; save the model with one of them", task=inference_task
        )
    made: Task = pkgutil.resolve_name(OPENAI[inference_task])(components, record, model)
    return made


def _family(task: str) -> str:
    return "translation" if is_language_pair(task) else task
