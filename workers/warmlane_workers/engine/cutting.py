"""Which waiting rows share a batch, by their lengths and what a batch costs. Knows numbers only.

A batch is cut by padded tokens, never by count: on a CPU, padding costs more than batching saves. It is built around
one row, from those nearest to it in length: rows of about its length, and others while a token costs less for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from warmlane.budget import BatchBudget

#: Rows are about as long when the longest has at most so many times the tokens of the shortest.
MAX_LENGTH_RATIO = 1.5
#: Lengths below this count as equal: padding two tokens to eight costs nothing that can be measured.
SHORT_TOKENS = 8


def choose(lengths: Sequence[int], oldest: int, budget: BatchBudget) -> tuple[int, int]:
    """The slice of ascending lengths that makes a batch around the row at `oldest`.

    Grows on the side whose next row is nearer in length, while rows x longest stays within the budget, and the rows are
    about as long or cost less a token for the company.
    """
    low, high, tokens = oldest, oldest + 1, lengths[oldest]

    def takes(shortest: int, longest: int, added: int) -> bool:
        rows = high - low + 1
        if rows * longest > budget.tokens:
            return False
        if longest <= max(SHORT_TOKENS, shortest * MAX_LENGTH_RATIO):
            return True
        if not budget.fixed:
            return False
        cost = budget.fixed + (rows - 1) * lengths[high - 1]
        return (budget.fixed + rows * longest) * tokens < cost * (tokens + added)

    while True:
        shortest, longest = lengths[low], lengths[high - 1]
        above = lengths[high] if high < len(lengths) else None
        below = lengths[low - 1] if low else None
        up = above is not None and takes(shortest, above, above)
        down = below is not None and takes(below, longest, below)
        if not up and not down:
            return low, high
        if up and (not down or above - longest <= shortest - below):  # type: ignore[operator]
            tokens += lengths[high]
            high += 1
        else:
            low -= 1
            tokens += lengths[low]
