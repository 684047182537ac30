"""A pipeline's own answer as plain data that travels: arrays as arrays, pictures as PNG, sounds as they are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy
import torch

from warmlane.errors import InternalError


def plain(value: Any) -> Any:
    """An answer of any pipeline as plain data.

    Tensors become arrays (bfloat16 as float32), pictures the bytes of a PNG file, dicts and lists are searched.
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
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "save") and hasattr(value, "tobytes"):  # a picture, told without importing Pillow
        file = io.BytesIO()
        value.save(file, format="PNG")
        return file.getvalue()
    raise InternalError(f"the pipeline answers with a {type(value).__name__}, which does not travel")
