"""Which rows share a batch, by their lengths alone."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from warmlane.budget import BatchBudget
from warmlane_workers.engine.cutting import MAX_LENGTH_RATIO, SHORT_TOKENS, choose


def fits(lengths: Sequence[int], budget: int) -> bool:
    """Whether ascending lengths may be one batch of several rows: padded size and ratio within their limits."""
    near = lengths[-1] <= max(SHORT_TOKENS, lengths[0] * MAX_LENGTH_RATIO)
    return near and len(lengths) * lengths[-1] <= budget


@st.composite
def waiting_rows(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Ascending lengths, the place of the oldest, a budget."""
    lengths = sorted(draw(st.lists(st.integers(1, 300), min_size=1, max_size=60)))
    return lengths, draw(st.integers(0, len(lengths) - 1)), draw(st.integers(1, 2000))


@settings(max_examples=200, deadline=None)
@given(waiting_rows())
def test_a_batch_is_around_the_oldest_within_its_limits_and_maximal(case: tuple[list[int], int, int]) -> None:
    """Every choice has the oldest row, keeps budget and ratio unless it is alone, and could take no neighbour."""
    lengths, oldest, budget = case
    low, high = choose(lengths, oldest, BatchBudget(budget))
    assert 0 <= low <= oldest < high <= len(lengths)
    assert high - low == 1 or fits(lengths[low:high], budget)
    if low:
        assert not fits(lengths[low - 1 : high], budget)
    if high < len(lengths):
        assert not fits(lengths[low : high + 1], budget)


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    """A row that no budget holds still runs, alone."""
    assert choose([10, 10, 700], 2, BatchBudget(512)) == (2, 3)


def test_the_nearer_neighbour_in_length_comes_first() -> None:
    """Where only one more row fits, it is the one that costs least padding."""
    assert choose([70, 98, 100, 130], 2, BatchBudget(250)) == (1, 3)
    assert choose([70, 90, 100, 101, 130], 2, BatchBudget(250)) == (2, 4)


def test_short_rows_count_as_equal() -> None:
    """One token and eight may share a batch; nine and four may not."""
    assert choose([1, 8], 0, BatchBudget(512)) == (0, 2)
    assert choose([4, 9], 0, BatchBudget(512)) == (0, 1)


@settings(max_examples=200, deadline=None)
@given(waiting_rows(), st.integers(0, 2000))
def test_a_fixed_cost_never_makes_a_token_dearer(case: tuple[list[int], int, int], fixed: int) -> None:
    """What a batch costs whatever its size makes batches larger where that pays, and breaks no budget."""
    lengths, oldest, tokens = case

    def cost(low: int, high: int) -> float:
        return (fixed + (high - low) * lengths[high - 1]) / sum(lengths[low:high])

    near = choose(lengths, oldest, BatchBudget(tokens))
    low, high = choose(lengths, oldest, BatchBudget(tokens, fixed))
    assert low <= oldest < high
    assert high - low == 1 or (high - low) * lengths[high - 1] <= tokens
    assert cost(low, high) <= cost(oldest, oldest + 1) * MAX_LENGTH_RATIO or high - low <= near[1] - near[0]


def test_a_dear_batch_takes_rows_of_any_length() -> None:
    """Where a batch costs as much as 400 tokens, three lengths share one; where it costs one, not."""
    assert choose([10, 40, 90], 0, BatchBudget(512, 400)) == (0, 3)
    assert choose([10, 40, 90], 0, BatchBudget(512, 1)) == (0, 1)
    assert choose([10, 40, 90], 2, BatchBudget(200, 400)) == (1, 3)
