"""Two workers of a fleet: which of them gets a job, and what becomes of it when that one goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from tests import tiny
from tests.fleet import START_S, Fleet
from warmlane import Client
from warmlane.errors import JobExpired, PoolNotFound
from warmlane.results import State

#: Rows of a job that needs a thread.
MANY = ["the cat"] * 100

MODELS = ("one", "two", "three", "four")


@pytest.fixture
def pair(fleet: Fleet) -> Fleet:
    """Two live workers of the default pool, and one of another."""
    fleet.start_worker()
    fleet.start_worker("--pool", "a100", ready=False)
    fleet.start_worker(ready=False)
    with fleet.client() as client:
        live(client, 3)
        source = tiny.save("text-classification", fleet.home / "source")
        for job in [client.save(name, source, task="text-classification") for name in MODELS]:
            job.result(timeout=START_S)
    return fleet


def live(client: Client, count: int) -> None:
    """Return when so many workers are ready: there is nothing to block on before their first job."""
    until(lambda: sum(worker.state == "ready" for worker in client.workers()) == count)


def until(true: Callable[[], bool]) -> None:
    """Return when something is so that nobody tells of."""
    pause = threading.Event()
    while not true():
        pause.wait(0.1)


def test_models_are_warm_in_one_place_and_pools_keep_to_themselves(pair: Fleet) -> None:
    """Four cold models on two workers: each is loaded once, two a worker, however many jobs come; a pool's job goes to
    the pool's worker, a pool of nobody is refused; a late job is not run."""
    with pair.client() as client:
        jobs = [client.predict(name, "the cat") for _ in range(10) for name in MODELS]
        for job in jobs:
            job.result(timeout=START_S)
        holders = {info.name: info.warm_on for info in client.models()}
        assert all(len(holders[name]) == 1 for name in MODELS)
        places = [holders[name][0] for name in MODELS]
        assert sorted(map(places.count, set(places))) == [2, 2]
        assert {job.status().worker for job in jobs} == set(places)

        named = client.predict("one", "the cat", pool="a100")
        named.result(timeout=START_S)
        [other] = [worker.id for worker in client.workers() if worker.pool == "a100"]
        assert named.status().worker == other
        with pytest.raises(PoolNotFound):
            client.predict("one", "the cat", pool="h200")

        late = client.predict("one", ["the cat"] * 20_000, deadline=0.1)
        with pytest.raises(JobExpired):
            late.result(timeout=START_S)
        assert late.status().state is State.EXPIRED


def test_a_model_finds_a_new_home_when_its_worker_leaves(pair: Fleet) -> None:
    """The worker that holds a model drains: jobs that come meanwhile and after go to the other, and none fails."""
    with pair.client() as client:
        first = client.predict("one", "the cat")
        first.result(timeout=START_S)
        home = first.status().worker
        [pid] = [worker.pid for worker in client.workers() if worker.id == home]
        jobs = [client.predict("one", "the cat") for _ in range(50)]
        [supervisor] = [process for process in pair.workers if pid in children(process.pid)]
        supervisor.send_signal(signal.SIGTERM)
        jobs += [client.predict("one", "the cat") for _ in range(50)]
        answers = [job.result(timeout=START_S) for job in jobs]
        assert all(answer["score"] == pytest.approx(answers[0]["score"], abs=1e-5) for answer in answers)
        assert jobs[-1].status().worker != home
        assert supervisor.wait(START_S) == 0


def test_a_worker_without_work_helps_one_that_has_a_long_job(fleet: Fleet) -> None:
    """Each does one job at a time. What waits behind a long one and the one in hand is done by the other, which does
    not hold the model, a few seconds after it came: the patience, a heartbeat, a look, a load."""
    for _ in range(2):
        fleet.start_worker("--threads", "1", ready=False)
    with fleet.client() as client:
        source = tiny.save("text-classification", fleet.home / "source")
        client.save("one", source, task="text-classification").result(timeout=START_S)
        live(client, 2)
        client.load("one").result(timeout=START_S)
        long = client.predict("one", ["the cat"] * 200_000)
        for state in (State.QUEUED, State.LOADING):
            until(lambda state=state: long.status().state is not state)  # type: ignore[misc]
        held = client.predict("one", MANY)
        until(lambda: client.fleet().queues[1].taken == 2)
        waits = client.predict("one", MANY)
        waits.result(timeout=START_S)
        assert (long.status().state, held.status().state) == (State.RUNNING, State.QUEUED)
        status = waits.status()
        assert status.worker != long.status().worker
        assert status.finished is not None
        assert status.finished - status.queued < 30
        long.cancel()
        held.result(timeout=START_S)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]
