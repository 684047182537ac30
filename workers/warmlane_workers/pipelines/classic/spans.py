"""The best spans of tokens, given how likely each token starts and ends the answer. Knows tokens, not texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]


def probabilities(logits: Floats, allowed: Flags) -> Floats:
    """Softmax over the allowed tokens, 0 elsewhere; both are (tokens,)."""
    if not allowed.any():
        return np.zeros_like(logits)
    powers: Floats = np.exp(np.where(allowed, logits - logits[allowed].max(), -np.inf))
    shares: Floats = powers / powers.sum()
    return shares


def best(start: Floats, end: Floats, allowed: Flags, count: int, longest: int) -> list[tuple[int, int, float]]:
    """The likeliest spans `(first token, last token, probability)`, best first, of equal ones the earliest.

    Args:
        start: probability of each token to begin the answer, (tokens,).
        end: of each to be its last, (tokens,).
        allowed: the tokens that a span may begin and end with, (tokens,).
        count: most spans.
        longest: most tokens of a span.
    """
    first = np.repeat(np.arange(len(start)), min(longest, len(start)))
    last = first + np.tile(np.arange(min(longest, len(start))), len(start))
    inside = last < len(start)
    first, last = first[inside], last[inside]
    wanted = allowed[first] & allowed[last]
    first, last = first[wanted], last[wanted]
    scores = start[first] * end[last]
    order = np.argsort(-scores, kind="stable")[:count]
    return [(int(first[at]), int(last[at]), float(scores[at])) for at in order]
