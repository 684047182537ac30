"""Tiny pipelines, one for every kind that transformers has. Random weights from a fixed seed, no file of any hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests import tiny_media as media
from tests import tiny_text as text
from tests import tiny_watching as watching

#: Kind -> its task, and what makes its components: those that MLflow saves as well.
MAKERS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "text-classification": ("text-classification", text.text_classification),
    "token-classification": ("token-classification", text.token_classification),
    "fill-mask": ("fill-mask", text.fill_mask),
    "feature-extraction": ("feature-extraction", text.feature_extraction),
    "zero-shot-classification": ("zero-shot-classification", text.zero_shot_classification),
    "text-generation": ("text-generation", text.text_generation),
    "decision": ("decision", text.decision),
    "table-question-answering": ("table-question-answering", text.table_question_answering),
    "speech-ctc": ("automatic-speech-recognition", media.speech_ctc),
    "speech-whisper": ("automatic-speech-recognition", media.speech_whisper),
    "audio-classification": ("audio-classification", media.audio_classification),
    "image-classification": ("image-classification", media.image_classification),
    "image-feature-extraction": ("image-feature-extraction", media.image_features),
    "object-detection": ("object-detection", media.object_detection),
    "image-segmentation": ("image-segmentation", media.image_segmentation),
    "depth-estimation": ("depth-estimation", media.depth_estimation),
    "zero-shot-image-classification": ("zero-shot-image-classification", media.zero_shot_image),
    "zero-shot-object-detection": ("zero-shot-object-detection", media.zero_shot_objects),
    "zero-shot-audio-classification": ("zero-shot-audio-classification", media.zero_shot_audio),
    "document-question-answering": ("document-question-answering", text.document_question_answering),
    "text-to-audio": ("text-to-audio", media.text_to_audio),
}
#: The other tasks of transformers: kind -> as above.
OTHERS: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "image-text-to-text": ("image-text-to-text", media.image_text),
    "any-to-any": ("any-to-any", media.image_text),
    "keypoint-matching": ("keypoint-matching", watching.keypoints),
    "video-classification": ("video-classification", watching.video),
    "mask-generation": ("mask-generation", watching.masks),
}


def components(kind: str) -> dict[str, Any]:
    """A kind's model, ready to predict, and what goes with it."""
    return seeded({**MAKERS, **OTHERS}[kind][1])


def seeded(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    torch.manual_seed(7)
    made = make()
    made["model"].eval()
    return made


def pipeline(kind: str) -> Any:
    return tf.pipeline({**MAKERS, **OTHERS}[kind][0], device="cpu", **components(kind))


def checkpoint(kind: str, directory: Path) -> Path:
    """Write all files of a kind to one directory, as a hub repository has them."""
    for part in components(kind).values():
        part.save_pretrained(directory)
    return directory


def weights_of(directory: Path) -> set[str]:
    """The paths of the weight files below a directory."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*.safetensors")}
