"""Who is in a running batch and who is next, and what of a row can be in one. No model, no batch."""

from __future__ import annotations

from typing import Any

import pytest

from warmlane_workers.engine.batcher import PROMOTION_S, RANKS, Row
from warmlane_workers.engine.seats import PAGE, Seat, Seats
from warmlane_workers.tasks.continuous import Manner, Request, Sampling, manner

VOCABULARY = 1000


def seat(tokens: int, rank: str = "normal", came: float = 0.0) -> Seat:
    """A row that may grow to so many tokens."""
    return Seat(Row(None, 1, RANKS[rank]), Request([5], tokens - 1, Manner()), list, lambda rows: None, came=came)


def seats_of(pages: int, most: int = 8, now: float = 0.0) -> Seats:
    """Room for so many pages, at a time by the clock."""
    return Seats(pages * PAGE, most, lambda: now)


def filled(seats: Seats, *waiting: Seat) -> list[Seat]:
    """Who comes in when these have come, in order."""
    for one in waiting:
        seats.add(one)
    return list(iter(seats.next, None))


# -- room ------------------------------------------------------------------------------------------------------------


def test_a_row_is_let_in_when_all_that_it_may_grow_to_has_room() -> None:
    """Three pages are two rows of a page and a half, which take two pages each; the second waits for the first."""
    seats = seats_of(3)
    first, second = seat(PAGE + PAGE // 2), seat(PAGE + 1)
    assert filled(seats, first, second) == [first]
    assert seats.leave(first)
    assert list(iter(seats.next, None)) == [second]


def test_no_more_rows_come_in_than_may_be_there() -> None:
    """Room in tokens is not all: logits have a row for each."""
    seats = seats_of(100, 2)
    rows = [seat(1) for _ in range(3)]
    assert filled(seats, *rows) == rows[:2]


def test_urgent_rows_come_first_and_equals_by_age() -> None:
    """The order is that of ranks, then of arrival."""
    rows = [seat(PAGE, rank) for rank in ("low", "normal", "high", "normal")]
    assert filled(seats_of(9, 9), *rows) == [rows[2], rows[1], rows[3], rows[0]]


def test_who_has_no_room_yet_lets_pass_who_has() -> None:
    """A short answer does not wait for two long ones, nor an urgent long one hold up a short one of less urgency."""
    inside, large, small, other = seat(2 * PAGE), seat(3 * PAGE, "high"), seat(PAGE), seat(PAGE, "high")
    seats = seats_of(4)
    assert filled(seats, inside) == [inside]
    assert filled(seats, large, small, other) == [other, small]


def test_a_large_row_is_not_overtaken_for_ever() -> None:
    """When it has waited long nobody passes it, of whatever rank, and it comes in as soon as there is room."""
    inside, large = seat(2 * PAGE, came=PROMOTION_S), seat(3 * PAGE)
    small = [seat(PAGE, rank, came=PROMOTION_S) for rank in ("normal", "high")]
    seats = seats_of(4, now=PROMOTION_S)
    assert filled(seats, inside) == [inside]
    assert filled(seats, large, *small) == []
    assert seats.leave(inside)
    assert list(iter(seats.next, None)) == [large, small[1]]


def test_who_has_waited_long_has_the_rank_above_its_own() -> None:
    """So rows of a low rank come in though others of higher ones come all the time."""
    low, high, normal = seat(PAGE, "low"), seat(PAGE, "high", 2 * PROMOTION_S), seat(PAGE, "normal", 2 * PROMOTION_S)
    assert filled(seats_of(9, 9, now=2 * PROMOTION_S), normal, high, low) == [low, high, normal]


def test_a_row_that_was_given_up_takes_no_room() -> None:
    """Waiting, it is passed over; and a batch of such rows alone is empty for whoever clears it."""
    seats = seats_of(2)
    gone, wanted = seat(2 * PAGE), seat(2 * PAGE)
    gone.future.cancel()
    assert filled(seats, gone, wanted) == [wanted]
    assert not seats.leave(gone)


def test_whoever_is_wanted_is_sent_elsewhere_at_the_end() -> None:
    """Those inside, then those who wait; nobody stays."""
    seats = seats_of(1)
    rows = [seat(PAGE) for _ in range(3)]
    filled(seats, *rows)
    rows[1].future.cancel()
    assert seats.clear() == [rows[0], rows[2]]
    assert seats.empty


# -- what can be in one -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, Manner()),
        ({"do_sample": False, "temperature": 0.7, "min_p": 0.1, "max_new_tokens": 5}, Manner()),
        ({"eos_token_id": 2}, Manner((2,))),
        ({"eos_token_id": [2, 3], "num_beams": 1, "repetition_penalty": 1.0}, Manner((2, 3))),
        ({"do_sample": True}, Manner((), Sampling(1.0, 50, 1.0))),
        ({"do_sample": True, "top_k": None}, Manner((), Sampling(1.0, VOCABULARY, 1.0))),
        ({"do_sample": True, "top_k": 0, "top_p": None}, Manner((), Sampling(1.0, VOCABULARY, 1.0))),
        (
            {"do_sample": True, "temperature": 2, "top_k": 9999, "top_p": 0.5},
            Manner((), Sampling(2.0, VOCABULARY, 0.5)),
        ),
    ],
)
def test_greedy_and_plain_sampling_can_run(settings: dict[str, Any], found: Manner) -> None:
    """Settings that are off, or of sampling where nothing is drawn, are in nobody's way."""
    assert manner(settings, VOCABULARY) == found


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 3},
        {"stop_strings": ["end"]},
        {"do_sample": True, "min_p": 0.1},
        {"do_sample": True, "typical_p": 0.9},
        {"max_time": 3.0},
        {"suppress_tokens": [1]},
        {"a_setting_of_next_year": 1},
    ],
    ids=lambda settings: next(reversed(settings)),
)
def test_what_only_generate_can_do_does_not_run(settings: dict[str, Any]) -> None:
    """Nor does what nobody here knows."""
    assert manner(settings, VOCABULARY) is None


def test_nothing_is_drawn_of_a_vocabulary_without_a_size() -> None:
    """Who does not say how many tokens there are cannot be asked for all of them."""
    assert manner({"do_sample": True}, None) is None
