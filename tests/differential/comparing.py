"""Where two answers differ, said by the place in them."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

#: Largest difference between two numbers that are the same answer, in single precision.
TOLERANCE = 1e-4
#: Levels of a picture, or of a sound of 16 bits, between which rounding may choose.
_LEVELS = 1


def difference(found: Any, expected: Any, place: str = "answer") -> str | None:
    """The first difference, or None: words equal, shapes equal, numbers within the tolerance."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(expected):
            return f"{place}: {found!r} and not {expected!r}"
        pairs = [(found[key], expected[key], f"{place}[{key!r}]") for key in expected]
        return next(filter(None, (difference(*pair) for pair in pairs)), None)
    if isinstance(expected, bytes) and isinstance(found, bytes) and found != expected:
        levels = np.abs(_levels(found) - _levels(expected))
        return None if levels.max() <= _LEVELS else f"{place}: {int((levels > _LEVELS).sum())} levels differ"
    if isinstance(expected, str | bytes | None) or isinstance(found, str | bytes | None):
        return None if found == expected else f"{place}: {found!r} and not {expected!r}"
    arrays = isinstance(found, np.ndarray) or isinstance(expected, np.ndarray)
    if (
        not arrays
        and isinstance(expected, list | tuple)
        and isinstance(expected[0] if expected else "", str | Mapping | list | bytes)
    ):
        if not isinstance(found, list) or len(found) != len(expected):
            return f"{place}: {found!r} and not {expected!r}"
        items = [(*pair, f"{place}[{at}]") for at, pair in enumerate(zip(found, expected, strict=True))]
        return next(filter(None, (difference(*item) for item in items)), None)
    return _numbers(np.asarray(found, dtype=float), np.asarray(expected, dtype=float), place)


def _numbers(found: Any, expected: Any, place: str) -> str | None:
    if found.shape != expected.shape:
        return f"{place}: shape {found.shape} and not {expected.shape}"
    if np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        return None
    return f"{place}: numbers differ by up to {np.abs(found - expected).max():.2g}"


def _levels(file: bytes) -> Any:
    if file.startswith(b"RIFF"):
        with wave.open(io.BytesIO(file)) as sound:
            return np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(int)
    return np.asarray(Image.open(io.BytesIO(file))).astype(int)
