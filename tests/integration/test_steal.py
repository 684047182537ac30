"""Workers without work and the lanes of those that cannot keep up, on real servers: what is taken, and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.lane import Gate, Lane
from tests.pretended import Fleet, pretended, unknown
from warmlane.keys import PREDICT_QUEUE, QUEUES
from warmlane.lanes import PATIENCE_S, Steal
from warmlane.message import JobMessage
from warmlane.registry import Beat
from warmlane.results import State, WarmModel, WorkerInfo
from warmlane.routing import Registry
from warmlane_workers.consumer import STEAL_S

#: A wait that is too long.
LONG_S = PATIENCE_S + 0.1


@pytest.fixture
def fleet(url: str) -> Iterator[Fleet]:
    """Worker "a" holds what jobs are about, and has one that takes for ever; "b" comes later."""
    with pretended(url) as made:
        made.beat("a", "m", "n", pace_ms=60_000)
        yield made


def late(fleet: Fleet, model: str = "m", seconds: float = LONG_S, worker: str = "a", priority: str = "normal") -> str:
    """A job that has waited in a worker's lane for so long."""
    job = fleet.predict(model, priority=priority)
    queued = fleet.redis.hincrby(fleet.names.job(job), "queued", -int(1000 * seconds))
    fleet.redis.zadd(fleet.names.waiting(PREDICT_QUEUE), {worker: queued}, lt=True)
    return job


def steal(fleet: Fleet, *models: str, most: int = 100, load_s: float = 0.0, worker: str = "b") -> list[str]:
    """What a worker gets that holds some models and takes so long to load one."""
    found = fleet.store.run(Steal(PREDICT_QUEUE, worker, most, frozenset(models), 1000 * load_s))
    return [JobMessage.decode(data or b"").message_id for data in found]


def test_what_waits_too_long_is_taken_by_a_worker_without_work(fleet: Fleet) -> None:
    """It is out of the lane then, and in the hands of the one that took it."""
    job = late(fleet)
    assert steal(fleet) == [job]
    assert fleet.take("a") == steal(fleet) == []
    assert fleet.redis.smembers(fleet.names.acks("b", PREDICT_QUEUE)) == {job.encode()}


def test_what_has_not_waited_so_long_is_left(fleet: Fleet) -> None:
    """Its worker is likely to be done first."""
    job = late(fleet, seconds=PATIENCE_S - 0.5)
    assert steal(fleet) == []
    assert fleet.take("a") == [job]


def test_what_a_worker_has_taken_is_left(fleet: Fleet) -> None:
    """However long it takes: only lanes are looked into."""
    job = late(fleet)
    assert fleet.take("a") == [job]
    assert steal(fleet) == []


def test_a_model_is_loaded_for_what_waits_behind_a_job_that_takes_longer(fleet: Fleet) -> None:
    """However long it waits, where jobs are done one after the other it is left to a worker that holds its model."""
    fleet.beat("a", "m", "n", pace_ms=5900)
    job = late(fleet, seconds=60)
    assert steal(fleet, "n", load_s=6) == []
    assert steal(fleet, "m", load_s=6) == [job]
    stuck = late(fleet)
    fleet.beat("a", "m", "n", pace_ms=6100)
    assert steal(fleet, "n", load_s=6) == [stuck]


def test_jobs_of_one_model_are_taken_together(fleet: Fleet) -> None:
    """Those that came later as well, since the model is there then; others stay, in their order."""
    first, other, second, third = late(fleet), late(fleet, "n", 0), late(fleet, "m/1", 0), late(fleet, "m@prod", 0)
    assert steal(fleet, most=2) == [first, second]
    assert fleet.take("a") == [other, third]


def test_one_behind_others_is_found(fleet: Fleet) -> None:
    """What is first in the lane is not worth a load yet; what comes behind it needs none."""
    fleet.beat("a", "m", "n")
    first, second = late(fleet, "n"), late(fleet)
    assert steal(fleet, "m", load_s=60) == [second]
    assert fleet.take("a") == [first]


def test_the_high_are_taken_before_the_normal(fleet: Fleet) -> None:
    """Whichever waits longer."""
    normal, high = late(fleet, seconds=60), late(fleet, priority="high")
    assert [steal(fleet), steal(fleet)] == [[high], [normal]]


def test_lanes_that_keep_up_hide_none_that_does_not(fleet: Fleet) -> None:
    """A look is into four lanes; those in which nothing waits, or nothing long enough, are not looked into again."""
    for name in "cdefghijk":
        fleet.beat(name, f"of-{name}")
        late(fleet, f"of-{name}", seconds=60, worker=name)
    for name in "cde":
        fleet.take(name)
    for name in "fghij":
        [job] = fleet.redis.lrange(f"{fleet.names.queue(PREDICT_QUEUE)}@{name}", 0, -1)
        fleet.redis.hincrby(fleet.names.job(job.decode()), "queued", 60_000)
    looks = [steal(fleet, *(f"of-{name}" for name in "cdefghijk")) for _ in range(3)]
    assert [len(found) for found in looks] == [0, 0, 1]
    assert fleet.client.job(looks[2][0]).status().model == "of-k"


def test_who_takes_a_model_on_gets_the_next_job_on_it(fleet: Fleet) -> None:
    """Though it is not the one that would be the model's second home, and has the job that it took."""
    held, job = late(fleet), late(fleet)
    assert fleet.take("a", 1) == [held]
    for name in "bc":
        fleet.beat(name)
    *_, last = [name for name, _ in Registry(fleet.client.workers()).route(PREDICT_QUEUE, "m").cold if name != "a"]
    assert steal(fleet, worker=last) == [job]
    following = fleet.predict()
    assert fleet.take(last) == [following]


def test_a_worker_without_work_takes_what_waits_behind_a_long_job(url: str) -> None:
    """Two workers of one thread. One has a job that does not end, a second in hand and a third in its lane; the other
    has the third done within the patience and a look, and leaves those that the first has taken."""
    gate = Gate()
    with ExitStack() as stack:
        lane = stack.enter_context(closing(Lane(url, "steal")))
        stack.callback(lane.stop)
        stack.callback(gate.open)
        lane.client._wire._model_info = unknown  # type: ignore[method-assign, assignment]
        lane.worker("a", threads=1, handler=gate)
        idle = lane.worker("b", threads=1)
        idle.broker.describe = lambda: describe("b", "n")
        idle.broker.store.run(Beat(describe("a", "m", pace_ms=60_000)))
        held = [lane.submit("held"), lane.submit("held")]
        gate.wait_for(1)
        lane.until(lambda: lane.acks("a") == set(held))
        waits = lane.submit("waits")
        assert lane.result(waits) == "waits"
        status = lane.status(waits)
        assert status.worker == "b"
        assert status.finished is not None
        assert PATIENCE_S <= status.finished - status.queued < PATIENCE_S + 2 * STEAL_S + 1
        assert [lane.status(job).state for job in held] == [State.RUNNING, State.QUEUED]
        gate.open()
        assert [lane.result(job) for job in held] == ["held", "held"]
        assert {lane.status(job).worker for job in held} == {"a"}


def describe(name: str, model: str, pace_ms: float = 1.0) -> WorkerInfo:
    warm = WarmModel(f"{model}/1", "fill-mask", "float32", "cpu", 1, False, 0.0)
    return WorkerInfo(name, "node", 1, "cpu", "ready", 1, 0, 100, QUEUES, (warm,), pace_ms=pace_ms)
