"""Which task a model serves, told by its class: by the tables of the transformers that is installed, and by the name of
a class that it does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.auto.auto_mappings import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from warmlane_workers.pipelines.registry import tasks_of

#: What these are published for, though the tables have other tasks for them as well.
_USUAL = {
    "ClapModel": "zero-shot-audio-classification",
    "MarianMTModel": "translation",
    "PegasusForConditionalGeneration": "summarization",
}
#: Of several tasks the first of these is taken: what sees or hears before what only writes, bare features last.
_PREFERRED = (
    *("text-classification", "token-classification", "document-question-answering", "question-answering"),
    *("table-question-answering", "automatic-speech-recognition", "audio-classification", "text-to-audio"),
    *("image-text-to-text", "text-generation", "text2text-generation", "fill-mask", "image-classification"),
    *("object-detection", "zero-shot-object-detection", "image-segmentation", "mask-generation", "depth-estimation"),
    *("video-classification", "keypoint-matching", "zero-shot-image-classification", "feature-extraction"),
)
#: A class that transformers does not have ends so -> its task.
_ENDINGS = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForMaskedLM", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForAudioClassification", "audio-classification"),
    ("ForImageClassification", "image-classification"),
    ("ForObjectDetection", "object-detection"),
    ("ForDepthEstimation", "depth-estimation"),
    ("Model", "feature-extraction"),
)


def infer_task(config: Mapping[str, Any]) -> str | None:
    """The task that a checkpoint's architecture serves; None where nothing tells.

    Args:
        config: of it `architectures`, class names, and `model_type`, which tells a model of pictures from one of texts.
    """
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    found = (_task_of(name, str(config.get("model_type"))) for name in names)
    return next((task for task in found if task is not None), None)


def _task_of(name: str, kind: str) -> str | None:
    known = tasks_of(name)
    if not known:
        return next((task for ending, task in _ENDINGS if name.endswith(ending)), None)
    found = _USUAL.get(name) or next((task for task in _PREFERRED if task in known), None)
    if found == "feature-extraction" and kind in IMAGE_PROCESSOR_MAPPING_NAMES and kind not in TOKENIZER_MAPPING_NAMES:
        return "image-feature-extraction"
    return found
