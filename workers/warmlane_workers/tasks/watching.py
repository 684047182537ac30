"""The ear and the hand of jobs in the generation of their rows: between two tokens it hears who has stopped, and tells
the rows that are listened to. One criterion for all that `generate` can do with a batch, which streamers cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from warmlane_workers.tasks.base import Prepared, Watch


class Watching(StoppingCriteria):
    """Ends the rows whose job has stopped, and tells the tokens of the rows that are listened to.

    Args:
        first: where answers begin in the sequences of the (padded) batch.
    """

    def __init__(self, batch: Sequence[Prepared], first: int) -> None:
        self._watches = [part.watch or Watch() for part in batch]
        self._first = self._told = first
        self._heard = [(row, watch.tell) for row, watch in enumerate(self._watches) if watch.tell is not None]
        self._nobody: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(batch * beams, tokens) -> (batch * beams,), whether each sequence has ended."""
        for row, tell in self._heard:
            tell(self._told - self._first, input_ids[row, self._told :].tolist())
        self._told = input_ids.shape[1]
        sequences, stopped = input_ids.shape[0], [watch.stopped for watch in self._watches]
        if any(stopped):
            return torch.tensor(stopped, device=input_ids.device).repeat_interleave(sequences // len(stopped))
        if self._nobody is None:  # made once: a step takes a tiny model less than a millisecond
            self._nobody = torch.zeros(sequences, dtype=torch.bool, device=input_ids.device)
        return self._nobody


def watched(settings: Mapping[str, Any], batch: Sequence[Prepared], first: int) -> dict[str, Any]:
    """Arguments of `generate` for a batch, with `Watching` where somebody watches; as they are where nobody does."""
    if all(part.watch is None for part in batch):
        return dict(settings)
    criteria = StoppingCriteriaList([*settings.get("stopping_criteria", ()), Watching(batch, first)])
    return {**settings, "stopping_criteria": criteria}
