"""What was taken and is not done comes back, on real servers: where to, in which order, and from whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pretended import Fleet, pretended
from warmlane.keys import PREDICT_QUEUE
from warmlane.rescue import Acknowledge, Rehome, Requeue


@pytest.fixture
def fleet(url: str) -> Iterator[Fleet]:
    with pretended(url) as made:
        yield made


def taken(fleet: Fleet, *priorities: str) -> list[str]:
    """Jobs that a worker has in hand, accepted at different times, and one more of each priority that waits."""
    jobs = [fleet.predict(priority=priority) for priority in priorities]
    for place, job in enumerate(jobs):
        fleet.redis.hincrby(fleet.names.job(job), "queued", 10 * place)
    assert len(fleet.take("a")) == len(jobs)
    for priority in ("high", "normal", "low"):
        fleet.predict(priority=priority)
    return jobs


def test_what_is_given_back_is_the_first_of_its_priority(fleet: Fleet) -> None:
    """The high before the normal before the low, and of each those that came back before those that came later."""
    low, high, first, second = taken(fleet, "low", "high", "normal", "normal")
    assert fleet.store.run(Requeue(PREDICT_QUEUE, "a", (second, low, first, high))) == 4
    order = fleet.take("b")
    assert [order[0], order[2], order[3], order[5]] == [high, first, second, low]
    assert len(order) == 7


def test_what_a_dead_worker_had_is_the_first_of_its_priority(fleet: Fleet) -> None:
    """All that it had comes back in the order in which it was accepted, and the worker is forgotten."""
    low, high, first = taken(fleet, "low", "high", "normal")
    fleet.silence("a")
    assert fleet.gone("b").takers == ("a",)
    assert fleet.store.run(Requeue(PREDICT_QUEUE, "a")) == 3
    assert fleet.gone("b").takers == ()
    order = fleet.take("b")
    assert [order[0], order[2], order[4]] == [high, first, low]


def test_what_was_in_hand_comes_before_what_waited_in_the_lane(fleet: Fleet) -> None:
    """The lane of a dead worker is emptied to the front as well, and what it had taken stands before that."""
    fleet.beat("a", "m")
    jobs = [fleet.predict() for _ in range(4)]
    assert fleet.take("a", 2) == jobs[:2]
    fleet.redis.rpush(fleet.names.queue(PREDICT_QUEUE), later := "f" * 32)
    fleet.store.run(Rehome(PREDICT_QUEUE, "a"))
    fleet.store.run(Requeue(PREDICT_QUEUE, "a"))
    waiting = fleet.redis.lrange(fleet.names.queue(PREDICT_QUEUE), 0, -1)
    assert [job.decode() for job in waiting] == [*jobs, later]


def test_what_comes_back_rings_the_bell(fleet: Fleet) -> None:
    """Idle workers need not poll for it."""
    [job] = taken(fleet, "normal")
    with fleet.redis.pubsub(ignore_subscribe_messages=True) as bell:
        bell.subscribe(fleet.names.bell(PREDICT_QUEUE))
        bell.get_message(timeout=1)
        fleet.store.run(Requeue(PREDICT_QUEUE, "a", (job,)))
        assert bell.get_message(timeout=5) is not None


def test_what_a_worker_does_not_have_is_not_put_back(fleet: Fleet) -> None:
    """A job that ended, and one that another worker has, stay where they are."""
    ended, other = taken(fleet, "normal", "normal")
    fleet.finish(ended, "a")
    assert fleet.store.run(Requeue(PREDICT_QUEUE, "b", (other,))) == 0
    assert fleet.store.run(Requeue(PREDICT_QUEUE, "a", (ended,))) == 0


def test_after_a_silence_nobody_is_gone(fleet: Fleet) -> None:
    """Nobody has asked for a while, so the server may have been away: whoever asks first believes no old heartbeat. A
    worker that starts at that moment is one of them."""
    fleet.beat("a", "m")
    taken(fleet, "normal")
    fleet.silence("a")
    fleet.redis.zincrby(fleet.names.lanes(PREDICT_QUEUE), -60_000, "a")
    for newcomer in ("b", "c"):
        gone = fleet.gone(newcomer, doubt=True)
        assert (gone.takers, gone.lanes) == ((), ())
    assert fleet.gone("b").takers == fleet.gone("b").lanes == ("a",)


def test_a_message_that_is_not_run_frees_its_bytes(fleet: Fleet) -> None:
    """A job that a worker has taken and lets go of counts no more."""
    job = fleet.predict()
    fleet.predict()
    both = int(fleet.redis.get(fleet.names.bytes(PREDICT_QUEUE)))
    assert job in fleet.take("a")
    assert fleet.store.run(Acknowledge(PREDICT_QUEUE, "a", job))
    assert not fleet.store.run(Acknowledge(PREDICT_QUEUE, "a", job))
    assert int(fleet.redis.get(fleet.names.bytes(PREDICT_QUEUE))) == both // 2
