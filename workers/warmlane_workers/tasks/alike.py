"""Parts that share a batch only where nothing has to be padded: a batch of equal shapes changes no row's answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch

from warmlane_workers.tasks.base import Prepared


def runs_alike(batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
    """Neighbours of equal shapes, in order."""
    for _, parts in groupby(batch, key=_shapes):
        yield list(parts)


def _shapes(part: Prepared) -> list[tuple[str, Any, Any]]:
    return [
        (name, value.shape, value.dtype) if isinstance(value, torch.Tensor) else (name, type(value), None)
        for name, value in sorted(part.inputs.items())
    ]
