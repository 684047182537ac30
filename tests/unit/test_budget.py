"""Which size of batch is found best, of what its runs say. No models, no clock but a pretended one."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from warmlane_workers.engine.budget import LEAST_GAIN, PATIENCE_S, best, fixed_cost


class Machine:
    """Runs batches of known speeds, each in a known time.

    Attributes:
        tried: the sizes that were run, in order.
    """

    def __init__(self, rates: Mapping[int, float], takes_s: float = 0.0) -> None:
        self._rates = rates
        self._takes_s = takes_s
        self.now = 0.0
        self.tried: list[int] = []

    def run(self, size: int) -> tuple[int, float]:
        self.tried.append(size)
        self.now += self._takes_s
        return size, size / self._rates[size]

    def clock(self) -> float:
        return self.now


SAME = dict.fromkeys((128, 256, 512, 1024, 2048), 100.0)


@pytest.mark.parametrize("fastest", sorted(SAME))
def test_the_fastest_is_found(fastest: int) -> None:
    """Wherever it lies among the sizes that are tried."""
    machine = Machine({**SAME, fastest: 200.0})
    assert best(machine.run, 512).tokens == fastest
    assert set(machine.tried) == set(SAME)


def test_a_little_faster_is_no_reason() -> None:
    """What is measured once has noise: below the least gain the default stays."""
    assert best(Machine({**SAME, 2048: 100 * LEAST_GAIN - 1}).run, 512).tokens == 512
    assert best(Machine({**SAME, 2048: 100 * LEAST_GAIN + 1}).run, 512).tokens == 2048


def test_what_was_faster_once_is_not_believed() -> None:
    """The size that looked best is run once more beside the default, and has to be better again."""
    machine = Machine({**SAME, 2048: 200.0})
    rates = iter([100.0, 100.0, 100.0, 100.0, 200.0, 104.0, 100.0])
    assert best(lambda size: (size, size / next(rates)), 512).tokens == 512
    assert best(machine.run, 512).tokens == 2048
    assert machine.tried[-2:] == [2048, 512]


def test_sizes_near_the_default_are_tried_first_and_not_for_ever() -> None:
    """On a slow device the search ends with what it has."""
    machine = Machine(SAME, takes_s=0.4 * PATIENCE_S)
    assert best(machine.run, 512, clock=machine.clock).tokens == 512
    assert machine.tried == [512, 256, 128]


@pytest.mark.parametrize("fixed", [0, 40, 500])
def test_what_a_batch_costs_whatever_its_size_is_found(fixed: int) -> None:
    """In tokens: of batches whose times lie on a line."""
    found = best(lambda size: (size, 0.001 * (fixed + size)), 512)
    assert found.fixed == pytest.approx(fixed, abs=1)


@pytest.mark.parametrize("times", [{512: 1.0}, {256: 1.0, 512: 3.0}, {256: 2.0, 512: 1.0}, {}])
def test_times_that_say_nothing_give_no_cost(times: dict[int, float]) -> None:
    """One size alone, larger ones that are slower by more than their size, and noise."""
    assert fixed_cost(times) == 0


def test_a_size_that_memory_does_not_hold_is_left_out() -> None:
    """It takes for ever, and says nothing of the others."""
    found = best(lambda size: (size, 0.001 * (200 + size) if size < 2048 else math.inf), 512)
    assert (found.tokens, found.fixed) == (1024, pytest.approx(200, abs=1))
