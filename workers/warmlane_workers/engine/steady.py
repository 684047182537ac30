"""Whether a running batch answers as the model does. Knows a batch and a model; no store, no job.

A few prompts of different lengths are generated in the batch, so that they join and leave at different times; then the
model reads each with its answer in one plain forward, and each token has to be the likeliest where it stands. That is
what greedy `generate` gives, at the cost of three forwards. Logits may differ by what their type rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from warmlane_workers.engine.batcher import Row
from warmlane_workers.engine.running import RunningBatch
from warmlane_workers.engine.seats import Seat
from warmlane_workers.tasks.continuous import Manner, Request, Sampling

#: (tokens of the prompt, tokens of its answer) of the prompts.
_PROMPTS = ((3, 8), (11, 4), (18, 6))
#: Of a type's own rounding error, what two ways of computing a logit may differ by.
_ROUNDINGS = 16
#: How long a prompt may take, in seconds.
_PATIENCE_S = 120.0

#: Tokens that it takes room for; a model that reads fewer cannot be asked.
TOKENS = max(prompt + answer for prompt, answer in _PROMPTS)


class Unsteady(Exception):
    """A running batch does not answer as the model does, or not at all."""


def check(batch: RunningBatch, model: Any, vocabulary: int, *, sampled: bool) -> None:
    """Compare a batch that has begun with its model.

    Args:
        sampled: whether the batch draws its tokens; here among one.

    Raises:
        Unsteady: says in what.
    """
    manner = Manner(sampling=Sampling(1.0, 1, 1.0) if sampled else None)
    requests = [Request(_ids(length, vocabulary), most, manner) for length, most in _PROMPTS]
    first, second, third = rows = [Row(None, len(request.ids)) for request in requests]
    lost: list[Row] = []
    for row, request in zip((first, second), requests, strict=False):
        _join(batch, row, request, lost)
    _answer(second, lost)  # it leaves, and the third comes beside the first
    _join(batch, third, requests[2], lost)
    for row, request in zip(rows, requests, strict=True):
        if not likeliest(model, request.ids, _answer(row, lost)):
            raise Unsteady("it gives other tokens than the model alone")


def _join(batch: RunningBatch, row: Row, request: Request, lost: list[Row]) -> None:
    def gone(rows: Sequence[Row]) -> None:
        lost.extend(rows)
        for row in rows:
            row.future.set_exception(Unsteady("it breaks"))

    if not batch.join(Seat(row, request, list, gone)):
        gone([row])


def _answer(row: Row, lost: list[Row]) -> list[int]:
    try:
        tokens: list[int] = row.future.result(_PATIENCE_S)
    except TimeoutError as exc:
        raise Unsteady("it does not answer") from exc
    return tokens


def _ids(length: int, vocabulary: int) -> list[int]:
    """A prompt that is the same whenever it is asked for."""
    return [(7 + 31 * length + 17 * place) % vocabulary for place in range(length)]


@torch.inference_mode()
def likeliest(model: Any, ids: list[int], tokens: list[int]) -> bool:
    """Whether each token of an answer is, but for rounding, the likeliest after those before it."""
    whole = torch.tensor([ids + tokens[:-1]], device=model.device)  # (1, prompt + answer but its last)
    logits = model(input_ids=whole).logits[0, len(ids) - 1 :].float().cpu()  # (answer, vocabulary)
    chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    best = logits.max(dim=1).values
    spread = logits.abs().max(dim=1).values
    return bool((best - chosen <= _ROUNDINGS * torch.finfo(model.dtype).eps * spread).all())
