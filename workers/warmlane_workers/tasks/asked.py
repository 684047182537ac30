"""What a row of a task with a pipeline of its own has to say, where the pipeline would end in an error that does not
tell. Knows rows, and runs nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from warmlane.errors import MissingExtra, SchemaError

#: Names of a row's picture.
_PICTURE = ("image", "images", "inputs")


def check(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    """Refuse a row that lacks what its task is about.

    Args:
        row: as the pipeline's call takes it.
        params: the job's, which may stand for a part of the row.

    Raises:
        SchemaError: names the part.
        MissingExtra: the part could be made by a package that is not installed.
    """
    checked = _CHECKS.get(pipeline.task)
    if checked is not None:
        checked(pipeline, row, params)


def _wrong(name: str, says: str) -> SchemaError:
    return SchemaError(f"inputs.{name}: {says}", field=f"inputs.{name}")


def _of(row: Any) -> Any:
    """The picture of a row, or its pictures."""
    return next((row[name] for name in _PICTURE if row.get(name) is not None), None) if isinstance(row, dict) else row


def _pictured(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    if _of(row) is None:
        raise SchemaError(
            "inputs: a row is a picture (bytes, an array, or a str: base64, path, URL), or a dict with one as 'image'",
            field="inputs",
        )


def _labelled(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    _pictured(pipeline, row, params)
    own = row.get("candidate_labels") if isinstance(row, dict) else None
    labels = params.get("candidate_labels") if own is None else own
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        says = "a list of str that is not empty, in the row or among the params"
        raise _wrong("candidate_labels", says)


def _paired(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    pictures = _of(row)
    if not isinstance(pictures, list) or len(pictures) != 2:
        raise _wrong("images", "two pictures, whose points are matched: {'images': [one, other]}")


def _worded(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    """A text says by tokens where its pictures are; messages have parts for that."""
    token = getattr(pipeline.processor, "image_token", None)
    text, pictures = (row.get("text"), _of(row)) if isinstance(row, dict) else (row, None)
    if isinstance(text, str) and pictures is not None and token and token not in text:
        says = f"has no {token} for its picture; put one in for each, or send 'messages' with pictures in their parts"
        raise _wrong("text", says)


def _documented(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str):
        raise _wrong("question", "missing; a row is a dict of 'image', 'question' and perhaps 'word_boxes'")
    if pipeline.model.config.model_type == "vision-encoder-decoder":  # reads the picture itself
        return
    boxes = row.get("word_boxes")
    if boxes is None:
        _pictured(pipeline, row, params)
        if importlib.util.find_spec("pytesseract") is None:
            raise MissingExtra(
                "a picture without 'word_boxes' needs text recognition, which the worker lacks: pip install "
                "pytesseract, and the program tesseract; or send the words and their boxes"
            )
        return
    most = getattr(pipeline.model.config, "max_2d_position_embeddings", None)
    if not isinstance(boxes, list | tuple) or not boxes or not all(_is_word(box, most) for box in boxes):
        side = "" if most is None else f", each from 0 to {most - 1}"
        says = (
            f"a list of [word, [left, top, right, bottom]], whole numbers{side}, left before right, top before bottom"
        )
        raise _wrong("word_boxes", says)


def _is_word(value: Any, most: int | None) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2 or not isinstance(value[0], str):
        return False
    box = value[1]
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(type(side) is int and side >= 0 for side in box):
        return False
    return bool(most is None or max(box) < most) and bool(box[0] <= box[2] and box[1] <= box[3])


def _spoken(pipeline: Any, row: Any, params: Mapping[str, Any]) -> None:
    if not isinstance(row, str) or not row.strip():
        raise SchemaError("inputs: a row is a str that is not empty", field="inputs")


_CHECKS: Mapping[str, Callable[[Any, Any, Mapping[str, Any]], None]] = {
    **dict.fromkeys(
        (
            *("object-detection", "image-segmentation", "depth-estimation", "image-feature-extraction"),
            "mask-generation",
        ),
        _pictured,
    ),
    "zero-shot-image-classification": _labelled,
    "zero-shot-object-detection": _labelled,
    "keypoint-matching": _paired,
    "image-text-to-text": _worded,
    "document-question-answering": _documented,
    "text-to-audio": _spoken,
    "text-to-speech": _spoken,
}
