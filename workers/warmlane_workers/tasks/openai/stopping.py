"""Texts that end an answer: found while it is generated, in what was generated and never in the prompt."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

#: Tokens that may lie behind a text in its last token, or that say nothing, as special ones do.
_SLACK = 8


class StopTexts(StoppingCriteria):
    """Ends a row when one of the texts is in its answer.

    Args:
        prompt_tokens: how many tokens the (padded) prompt has.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._texts = texts
        self._from = prompt_tokens
        # A token is a byte of text at least, so a text that has just ended lies in the last so many.
        self._tail = max(len(text.encode()) for text in texts) + _SLACK

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(batch, tokens) -> (batch,), whether each row has ended."""
        tails = input_ids[:, max(self._from, input_ids.shape[1] - self._tail) :]
        answers = self._tokenizer.batch_decode(tails, skip_special_tokens=True)
        ended = [any(text in answer for text in self._texts) for answer in answers]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def cut(tokenizer: Any, tokens: Sequence[int], texts: Sequence[str]) -> tuple[str, int, bool]:
    """An answer up to the first of the texts, the tokens that it took to see it, and whether there was one."""

    def decoded(count: int) -> str:
        text: str = tokenizer.decode(tokens[:count], skip_special_tokens=True)
        return text

    answer = decoded(len(tokens))
    places = [answer.find(text) for text in texts if text in answer]
    if not places:
        return answer, len(tokens), False
    count = bisect.bisect_left(
        range(1, len(tokens)), True, key=lambda number: any(text in decoded(number) for text in texts)
    )
    return answer[: min(places)], count + 1, True
