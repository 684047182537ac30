"""A pipeline's own answer as plain data that travels: arrays as arrays, pictures as PNG, sounds as they are."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Any

import numpy
import torch

from warmlane.errors import InternalError


def plain(value: Any) -> Any:
    """An answer of any pipeline as plain data.

    Tensors become arrays (bfloat16 as float32), pictures the bytes of a PNG file, samples beside their `sampling_rate`
    those of a WAV file (16 bits), dicts and lists are searched.
    """
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    if isinstance(value, numpy.ndarray):
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, Mapping):
        if set(value) == {"audio", "sampling_rate"}:
            rate = int(value["sampling_rate"])
            return {"audio": wav(plain(value["audio"]), rate), "sampling_rate": rate}
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "save") and hasattr(value, "tobytes"):  # a picture, told without importing Pillow
        file = io.BytesIO()
        value.save(file, format="PNG")
        return file.getvalue()
    raise InternalError(f"the pipeline answers with a {type(value).__name__}, which does not travel")


def wav(samples: Any, rate: int) -> bytes:
    """A WAV file of 16 bits.

    Args:
        samples: (n,) or (channels, n), between -1 and 1; what is louder is cut off, as a loudspeaker does it.
        rate: samples in a second.
    """
    channels = numpy.atleast_2d(numpy.asarray(samples, dtype=numpy.float64))
    whole = numpy.round(numpy.clip(channels, -1, 1) * 32767).astype("<i2")  # (channels, n)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(whole))
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(whole.T.tobytes())
    return file.getvalue()
