"""What each kind of pipeline is asked, natively and by MLflow's pyfunc, and when two answers are the same."""

from __future__ import annotations

import io
import json
import math
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

RATE_HZ = 16_000
TEXTS = ["the cat sat on the big tree", "a very bad film"]
_DOCUMENT = {"question": "what is red?", "word_boxes": [("the", [0, 0, 9, 9]), ("red", [10, 0, 20, 9])]}
_TABLE = {"name": ["cat", "dog"], "colour": ["red", "blue"]}
_CHOICE = {"sequences": TEXTS[0], "candidate_labels": ["animal", "film"], "hypothesis_template": "it is {}"}
#: Largest difference between two numbers that are the same answer.
TOLERANCE = 1e-4


def tone(samples: int = RATE_HZ // 4) -> Any:
    """A quarter of a second of two notes: float32, mono, in [-1, 1]."""
    seconds = np.arange(samples) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 440 * seconds) + 0.3 * np.sin(2 * np.pi * 1310 * seconds)).astype(np.float32)


def wav() -> bytes:
    """The tone as a file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE_HZ)
        writer.writeframes((tone() * 32767).astype("<i2").tobytes())
    return file.getvalue()


@cache
def picture() -> Image.Image:
    """Coloured noise of 40 by 48 pixels, from a fixed seed."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))


@dataclass(frozen=True)
class Question:
    """
    Attributes:
        native: arguments of the pipeline's call.
        options: its keyword arguments.
        pyfunc: what MLflow's pyfunc is asked; None where MLflow makes no pyfunc of the kind.
        shown: the native answers to the same, one a row -> what pyfunc answers.
    """

    native: Any
    options: Mapping[str, Any]
    pyfunc: Any = None
    shown: Callable[[Any], Any] | None = None

    def ask(self, pipeline: Any) -> Any:
        # Copies: some pipelines write into what they are given.
        with torch.inference_mode():
            return pipeline(json_copy(self.native), **self.options)


def json_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: json_copy(item) for name, item in value.items()}
    return [json_copy(item) for item in value] if isinstance(value, list) else value


def _field(name: str) -> Callable[[Any], Any]:
    return lambda answers: [(answer[0] if isinstance(answer, list) else answer)[name].strip() for answer in answers]


def _tags(answers: Any) -> Any:
    return [",".join(word["entity"] for word in words) for words in answers]


def _ranking(answer: Any) -> Any:
    rows = {"sequence": [answer["sequence"]] * len(answer["labels"])}
    return pd.DataFrame({**rows, "labels": answer["labels"], "scores": answer["scores"]})


QUESTIONS: dict[str, Question] = {
    "text-classification": Question(TEXTS, {}, TEXTS, pd.DataFrame),
    "token-classification": Question(TEXTS, {}, TEXTS, _tags),
    "fill-mask": Question(
        ["the [MASK] sat", "a [MASK] film"], {}, ["the [MASK] sat", "a [MASK] film"], _field("token_str")
    ),
    # One text: of several, MLflow answers the first.
    "feature-extraction": Question(TEXTS[0], {}, TEXTS[0], lambda answer: np.array(answer[0])),
    "zero-shot-classification": Question(
        TEXTS[0],
        {name: value for name, value in _CHOICE.items() if name != "sequences"},
        {**_CHOICE, "candidate_labels": json.dumps(_CHOICE["candidate_labels"])},
        _ranking,
    ),
    "text-generation": Question(TEXTS, {}, TEXTS, _field("generated_text")),
    "decision": Question({"state": "a cat", "questions": {"size": {"type": "noul", "instructions": "big?"}}}, {}),
    "table-question-answering": Question(
        {"table": _TABLE, "query": "what colour"},
        {},
        {"table": json.dumps(_TABLE), "query": "what colour"},
        lambda answer: [answer["answer"]],
    ),
    "speech-ctc": Question(tone(), {}, tone(), lambda answer: [answer["text"].strip()]),
    "speech-whisper": Question(tone(), {}, tone(), lambda answer: [answer["text"].strip()]),
    "audio-classification": Question(tone(), {}, tone(), pd.DataFrame),
    "image-classification": Question(picture(), {}),
    "image-feature-extraction": Question(picture(), {}),
    "object-detection": Question(picture(), {"threshold": 0.0}),
    "image-segmentation": Question(picture(), {}),
    "depth-estimation": Question(picture(), {}),
    "zero-shot-image-classification": Question(picture(), {"candidate_labels": ["cat", "dog"]}),
    "zero-shot-object-detection": Question(picture(), {"candidate_labels": ["cat", "dog"], "threshold": 0.0}),
    "zero-shot-audio-classification": Question(tone(), {"candidate_labels": ["cat", "dog"]}),
    "document-question-answering": Question({"image": picture(), **_DOCUMENT}, {}),
    "text-to-audio": Question("a red cat", {}),
}
PYFUNCS = [kind for kind, question in QUESTIONS.items() if question.shown is not None]


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same: of the same shape and words, numbers within the tolerance."""
    if isinstance(one, pd.DataFrame):
        return isinstance(other, pd.DataFrame) and same(one.to_dict("list"), other.to_dict("list"))
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str | bytes | bool | None):
        return type(one) is type(other) and bool(one == other)
    return _numbers_same(one, other)


def _numbers_same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    left, right = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE))
