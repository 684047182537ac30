"""How fast a worker says that it is."""

from __future__ import annotations

import pytest

from warmlane_workers.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_one_after_the_other_it_is_a_jobs_time(clock: Clock) -> None:
    """Idle time between jobs does not count."""
    pace = Pace(clock)
    for _ in range(500):
        pace.begin()
        clock.now += 0.04
        pace.end()
        clock.now += 10
    assert pace.ms == pytest.approx(40, rel=0.01)


def test_together_they_share_the_time(clock: Clock) -> None:
    """Fifty jobs that run at once and end together in half a second take ten milliseconds each."""
    pace = Pace(clock)
    for _ in range(50):
        for _ in range(50):
            pace.begin()
        assert pace.running == 50
        clock.now += 0.5
        for _ in range(50):
            pace.end()
    assert pace.ms == pytest.approx(10, rel=0.7)  # it remembers the last fifty or so
    assert pace.running == 0


def test_a_job_that_goes_on_tells_before_its_end(clock: Clock) -> None:
    """While nothing ends, a job takes at least the time since the last end, however quick those before were."""
    pace = Pace(clock)
    pace.begin()
    clock.now += 0.001
    pace.end()
    assert pace.ms < 2
    pace.begin()
    clock.now += 60
    assert pace.ms == pytest.approx(60_000)


def test_a_load_is_no_part_of_a_jobs_time(clock: Clock) -> None:
    """While a model loads nothing looks stuck, and its time is not the first job's."""
    pace = Pace(clock)
    pace.begin()
    pace.load(begins=True)
    clock.now += 60
    assert pace.ms < 2
    pace.load(begins=False)
    clock.now += 0.01
    pace.end()
    assert pace.ms < 2


def test_how_long_a_load_takes_is_told(clock: Clock) -> None:
    """0 before the first; then what loads take lately, and of two at a time the time in which both were done."""
    pace = Pace(clock)
    assert pace.load_ms == 0
    pace.load(begins=True)
    pace.load(begins=True)
    clock.now += 2
    pace.load(begins=False)
    assert pace.load_ms == 0
    clock.now += 2
    pace.load(begins=False)
    assert pace.load_ms == pytest.approx(4000)
    for _ in range(20):
        pace.load(begins=True)
        clock.now += 1
        pace.load(begins=False)
    assert pace.load_ms == pytest.approx(1000, rel=0.01)
