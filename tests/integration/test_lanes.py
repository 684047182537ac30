"""Queues on real servers: where a job is put, who takes it and in which order, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pretended import Fleet, pretended, unknown
from warmlane import Client, Settings, codec
from warmlane.errors import (
    IdempotencyConflict,
    InvalidInput,
    JobExpired,
    PoolNotFound,
    QueueFull,
)
from warmlane.fleet import QueueInfo
from warmlane.jobs import LoadJob, PredictJob, SaveJob
from warmlane.keys import WORKER_TTL_S
from warmlane.lanes import PATIENCE_S, Take
from warmlane.message import JobMessage
from warmlane.ops import Finish, Start
from warmlane.records import Outcome
from warmlane.registry import PublishModel
from warmlane.rescue import Acknowledge, Rehome, Requeue
from warmlane.results import ModelInfo, State
from warmlane.routing import Registry
from warmlane.settings import LONGEST_S


@pytest.fixture
def fleet(url: str) -> Iterator[Fleet]:
    with pretended(url) as made:
        yield made


# -- where a job goes ------------------------------------------------------------------------------------------------


def test_a_job_goes_to_the_worker_that_holds_its_model(fleet: Fleet) -> None:
    """Of two workers only the warm one is offered the job."""
    fleet.beat("a")
    fleet.beat("b", "m")
    job = fleet.predict("m/1")
    assert fleet.take("a") == []
    assert fleet.take("b") == [job]


def test_of_two_warm_workers_the_one_with_less_to_do_gets_it(fleet: Fleet) -> None:
    """What a worker has taken and not finished counts as well as what waits for it."""
    fleet.beat("a", "m")
    fleet.beat("b", "m")
    first, second = fleet.predict(), fleet.predict()
    taken = fleet.take("a"), fleet.take("b")
    assert sorted([*taken[0], *taken[1]]) == sorted([first, second])
    assert all(len(ids) == 1 for ids in taken)
    fleet.finish(taken[1][0], "b")
    assert fleet.predict() in fleet.take("b")


def test_a_cold_model_has_one_home(fleet: Fleet) -> None:
    """All jobs of a model that nobody holds wait in one lane: it is loaded once."""
    for name in "abc":
        fleet.beat(name)
    jobs = {fleet.predict() for _ in range(9)}
    assert [set(ids) for name in "abc" if (ids := fleet.take(name))] == [jobs]


def test_cold_models_are_spread(fleet: Fleet) -> None:
    """Six models on three workers: two each, though none is warm yet when all have come."""
    for name in "abc":
        fleet.beat(name)
    for number in range(6):
        fleet.predict(f"model-{number}")
    assert [len(fleet.take(name)) for name in "abc"] == [2, 2, 2]


def test_adapters_of_one_base_have_one_home(fleet: Fleet) -> None:
    """Six adapters that nobody holds, where six models would be spread: their base is loaded once."""
    for name in "abc":
        fleet.beat(name)
    for number in range(6):
        fleet.store.run(PublishModel(ModelInfo(f"x{number}", (1,), "fill-mask", None, 1, None, kin="bert@1"), 1))
    jobs = {fleet.client.submit(LoadJob(model=f"x{number}")).id for number in range(6)}
    assert [set(ids) for name in "abc" if (ids := fleet.take(name))] == [jobs]


def test_a_long_wait_finds_a_second_home(fleet: Fleet) -> None:
    """When the model's worker has its hands full and another is idle, that one takes the model on."""
    fleet.beat("a", "m", pace_ms=200)
    fleet.beat("b")
    for _ in range(int(PATIENCE_S * 1000 / 200)):
        fleet.predict()
    assert fleet.take("b") == []
    spilled = fleet.predict()
    assert fleet.take("b") == [spilled]


def test_the_faster_of_two_warm_workers_gets_more(fleet: Fleet) -> None:
    """What waits is counted in time: of eight jobs a worker that is three times as fast gets three quarters."""
    fleet.beat("a", "m", pace_ms=30)
    fleet.beat("b", "m", pace_ms=10)
    for _ in range(8):
        fleet.predict()
    assert (len(fleet.take("a")), len(fleet.take("b"))) == (2, 6)


def test_without_workers_a_job_waits_for_the_first(fleet: Fleet) -> None:
    """Nobody lives: the job is in the queue of all, and whoever comes takes it."""
    job = fleet.predict()
    fleet.beat("a")
    assert fleet.take("a") == [job]


def test_a_silent_worker_gets_no_jobs(fleet: Fleet) -> None:
    """A worker whose word has expired has no lane, though a client still believes in it."""
    fleet.beat("a", "m")
    fleet.client.workers()
    fleet.client._wire._registry = (float("inf"), Registry(fleet.client.workers()))
    fleet.redis.zadd(fleet.names.lanes("predict"), {"a": 1})
    job = fleet.predict()
    assert fleet.take("b") == [job]


def test_jobs_without_a_device_go_to_all(fleet: Fleet) -> None:
    """A save waits in the management queue, whichever workers live."""
    fleet.beat("a", "m")
    job = fleet.client.submit(SaveJob(name="m", source="org/repo"))
    found = fleet.store.run(Take("manage", "anybody", 1))
    assert JobMessage.decode(found[0] or b"").message_id == job.id


# -- lanes whose worker is gone --------------------------------------------------------------------------------------


def test_the_lane_of_a_dead_worker_is_emptied(fleet: Fleet) -> None:
    """When a worker was silent for too long, what waits in its lane is for all, in its order."""
    fleet.beat("a", "m")
    jobs = [fleet.predict() for _ in range(3)]
    assert fleet.gone("b").lanes == ()
    fleet.redis.zincrby(fleet.names.lanes("predict"), -1000 * (WORKER_TTL_S + 1), "a")
    assert fleet.gone("b").lanes == ("a",)
    assert fleet.store.run(Rehome("predict", "a")) == 3
    assert fleet.gone("b").lanes == ()
    assert fleet.take("b") == jobs


def test_a_worker_that_drains_empties_its_lane_at_once(fleet: Fleet) -> None:
    """Its jobs are for all, and no new one comes into its lane, whatever a client remembers."""
    fleet.beat("a", "m")
    first = fleet.predict(priority="high")
    assert fleet.store.run(Rehome("predict", "a")) == 1
    second = fleet.predict()
    assert fleet.take("b") == [first, second]
    fleet.beat("a", "m", state="draining")
    assert fleet.take("a") == []


# -- priorities ------------------------------------------------------------------------------------------------------


def test_the_high_are_taken_first(fleet: Fleet) -> None:
    """Order of priority; of each, the queue of all before the worker's own lane."""
    shared = [fleet.predict(priority=priority) for priority in ("low", "normal", "high")]
    fleet.beat("a", "m")
    own = [fleet.predict(priority=priority) for priority in ("low", "normal", "high")]
    expected = [shared[2], own[2], shared[1], own[1], shared[0], own[0]]
    assert fleet.take("a", 4) + fleet.take("a") == expected


def test_now_and_then_the_low_are(fleet: Fleet) -> None:
    """A take upwards begins with the lowest."""
    high, low = fleet.predict(priority="high"), fleet.predict(priority="low")
    assert fleet.take("a", 1, upwards=True) == [low]
    assert fleet.take("a") == [high]


# -- pools -----------------------------------------------------------------------------------------------------------


def test_a_pool_takes_its_own_jobs(fleet: Fleet) -> None:
    """A job that names a pool is for its workers, one that names none for those that are in none."""
    fleet.beat("a", "m")
    fleet.beat("b", pool="a100")
    named, other = fleet.predict(pool="a100"), fleet.predict()
    assert fleet.take("b", pool="a100") == [named]
    assert fleet.take("a") == [other]
    assert fleet.client.job(named).status().pool == "a100"


def test_a_pool_of_nobody_is_refused(fleet: Fleet) -> None:
    """Where workers live and none is in the pool, it is a typing error; the message names the pools."""
    fleet.beat("a")
    with pytest.raises(PoolNotFound, match="there are default"):
        fleet.predict(pool="a10O".lower())


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_too_long_expires(fleet: Fleet) -> None:
    """Without any worker the caller hears of it at the deadline; no worker is told to run it afterwards."""
    began = time.monotonic()
    job = fleet.client.submit(PredictJob(model="m", inputs="row"), deadline=0.15)
    with pytest.raises(JobExpired):
        job.result(timeout=5)
    assert 0.15 <= time.monotonic() - began < 2
    assert job.status().state is State.EXPIRED
    assert fleet.store.run(Start(job.id, "a")).word == "final"


def test_a_job_that_is_taken_up_twice_for_want_of_a_reply_counts_once(fleet: Fleet) -> None:
    """A worker that sends its request again does not use up an attempt; another request does."""
    job, request = fleet.predict(), Start(fleet.predict(), "a")
    again = [fleet.store.run(request).attempts for _ in range(3)]
    assert again == [1, 1, 1]
    assert fleet.store.run(Start(request.job_id, "a")).attempts == 2
    assert fleet.store.run(Start(job, "a")).attempts == 1


def test_a_late_job_is_not_started(fleet: Fleet) -> None:
    """A worker that takes it up after its deadline is told so, though nobody has looked meanwhile."""
    job = fleet.predict(deadline=60)
    fleet.redis.hincrby(fleet.names.job(job), "deadline", -60_000)
    assert fleet.store.run(Start(job, "a")).word == "late"


def test_a_worker_hears_how_much_time_is_left(fleet: Fleet) -> None:
    """The start of a job with a deadline says what is left of it, by the server's clock; without one, nothing."""
    left = fleet.store.run(Start(fleet.predict(deadline=30), "a")).left_s
    assert left is not None
    assert 25 < left <= 30
    assert fleet.store.run(Start(fleet.predict(), "a")).left_s is None


# -- idempotency keys ------------------------------------------------------------------------------------------------


def test_one_key_is_one_job(fleet: Fleet) -> None:
    """The second request with a key gets the handle of the first, and nothing is enqueued; its result is for both."""
    first = fleet.client.submit(PredictJob(model="m", inputs="row"), idempotency_key="order 7")
    second = fleet.client.submit(PredictJob(model="m", inputs="row"), idempotency_key="order 7")
    assert first.id == second.id
    assert fleet.take("a") == [first.id]
    fleet.store.run(Start(first.id, "a"))
    fleet.store.run(Finish(first.id, Outcome(State.SUCCEEDED, _result("answer")), 60, "predict", "a"))
    with Client(settings=fleet.settings) as other:
        other._wire._model_info = unknown  # type: ignore[method-assign, assignment]
        third = other.submit(PredictJob(model="m", inputs="row"), idempotency_key="order 7")
        assert third.result(timeout=5) == second.result(timeout=5) == "answer"


def test_a_key_of_another_request_is_refused(fleet: Fleet) -> None:
    """The same key with other inputs is a mistake of the caller, and says so."""
    fleet.predict(rows="one", idempotency_key="order 7")
    with pytest.raises(IdempotencyConflict):
        fleet.predict(rows="two", idempotency_key="order 7")


# -- a full queue ----------------------------------------------------------------------------------------------------


def limited(fleet: Fleet, **limits: int) -> Client:
    client = Client(settings=Settings(redis_url=fleet.settings.redis_url, namespace=fleet.settings.namespace, **limits))
    client._wire._model_info = unknown  # type: ignore[method-assign, assignment]
    return client


def of_predict(fleet: Fleet) -> QueueInfo:
    return next(queue for queue in fleet.client.fleet().queues if queue.name == "predict")


def test_a_full_queue_refuses(fleet: Fleet) -> None:
    """The job beyond the limit is refused and leaves nothing; when one has ended there is room again."""
    with limited(fleet, queue_jobs=2) as client:
        ids = [client.submit(PredictJob(model="m", inputs="row")).id for _ in range(2)]
        with pytest.raises(QueueFull) as caught:
            client.submit(PredictJob(model="m", inputs="row"))
        assert caught.value.details["jobs"] == 2
        assert fleet.take("a") == ids
        fleet.store.run(Start(ids[0], "a"))
        fleet.finish(ids[0], "a")
        client.submit(PredictJob(model="m", inputs="row"))


def test_what_is_cancelled_makes_room_at_once(fleet: Fleet) -> None:
    """Though nobody is there to take it: in the limits, in what is told of the queue, and for whoever comes."""
    with limited(fleet, queue_jobs=3) as client:
        jobs = [client.submit(PredictJob(model="m", inputs=f"row {number}")) for number in range(3)]
        size = of_predict(fleet).bytes
        for job in (jobs[0], jobs[2]):
            job.cancel()
        told = of_predict(fleet)
        assert (told.waiting, told.taken, told.bytes) == (1, 0, size // 3)
        late = client.submit(PredictJob(model="m", inputs="late"))
        assert fleet.take("a", 2) == [jobs[1].id, late.id]


def test_a_worker_that_has_taken_what_is_cancelled_lets_go_of_it(fleet: Fleet) -> None:
    """It counts once: neither what the worker lets go of, nor what comes back from it, is there any more."""
    first, second = fleet.predict(), fleet.predict()
    fleet.take("a")
    for job in (first, second):
        fleet.client.job(job).cancel()
    assert fleet.store.run(Acknowledge("predict", "a", first))
    assert not fleet.store.run(Requeue("predict", "a", (second,)))
    assert int(fleet.redis.get(fleet.names.bytes("predict"))) == 0
    assert not fleet.take("b")


def test_very_many_that_were_cancelled_hold_up_nobody(fleet: Fleet) -> None:
    """Those before it in its list leave the list with the first look."""
    for job in [fleet.predict() for _ in range(300)]:
        fleet.client.job(job).cancel()
    job = fleet.predict()
    assert fleet.take("a", 2) == [job]


def test_bytes_are_limited_as_well(fleet: Fleet) -> None:
    """Messages count until their job has ended."""
    with limited(fleet, queue_bytes=5000) as client:
        first = client.submit(PredictJob(model="m", inputs="x" * 3000)).id
        with pytest.raises(QueueFull):
            client.submit(PredictJob(model="m", inputs="x" * 3000))
        fleet.take("a")
        fleet.store.run(Start(first, "a"))
        fleet.finish(first, "a")
        client.submit(PredictJob(model="m", inputs="x" * 3000))


def test_an_empty_queue_takes_a_job_of_any_size(fleet: Fleet) -> None:
    """One that is larger than the limit by itself waits for nobody; beside others it is refused."""
    with limited(fleet, queue_bytes=5000) as client:
        client.submit(PredictJob(model="m", inputs="x" * 6000))
        with pytest.raises(QueueFull):
            client.submit(PredictJob(model="m", inputs="x"))


# -- results and options ---------------------------------------------------------------------------------------------


def test_a_result_may_live_shorter(fleet: Fleet) -> None:
    """The job's own time wins over the worker's."""
    job = fleet.predict(result_ttl=7)
    fleet.take("a")
    fleet.store.run(Start(job, "a"))
    fleet.store.run(Finish(job, Outcome(State.SUCCEEDED, _result("x")), 3600, "predict", "a"))
    assert 0 < fleet.redis.ttl(fleet.names.result(job)) <= 7


def test_the_record_of_a_cancelled_job_lives_as_its_result_would_have(fleet: Fleet) -> None:
    """Twice as long, as the record of any job that has ended; the job's own time wins over the client's."""
    job = fleet.predict(result_ttl=7)
    fleet.client.job(job).cancel()
    assert 7 < fleet.redis.ttl(fleet.names.job(job)) <= 14


def test_the_longest_times_are_counted_right(fleet: Fleet) -> None:
    """Of a job whose deadline and result's time are as long as may be, the result is kept, and its deadline is then."""
    job = fleet.predict(deadline=LONGEST_S, result_ttl=LONGEST_S)
    fleet.take("a")
    assert fleet.store.run(Start(job, "a")).left_s == pytest.approx(LONGEST_S, abs=60)
    assert fleet.store.run(Finish(job, Outcome(State.SUCCEEDED, _result("x")), 3600, "predict", "a"))
    assert fleet.client.job(job).result(timeout=5) == "x"


@pytest.mark.parametrize(
    "options",
    [
        {"deadline": 0},
        {"deadline": float("nan")},
        {"deadline": True},
        {"deadline": LONGEST_S + 1},
        {"deadline": 10**400},
        {"priority": "urgent"},
        {"pool": "A 100"},
        {"idempotency_key": ""},
        {"idempotency_key": 7},
        {"idempotency_key": "half a pair \udce9"},
        {"result_ttl": 0},
        {"result_ttl": 1.5},
        {"result_ttl": LONGEST_S + 1},
    ],
    ids=str,
)
def test_ill_options_are_refused(fleet: Fleet, options: dict[str, Any]) -> None:
    """An error names the option; nothing is enqueued."""
    with pytest.raises(InvalidInput) as caught:
        fleet.predict(**options)
    assert caught.value.details["field"] == next(iter(options))
    assert fleet.take("a") == []


def _result(value: Any) -> bytes:
    return codec.encode("result", value)
