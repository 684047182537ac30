"""Jobs that take their worker down, and jobs that only were there: told apart, with real deaths of real processes."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator

import pytest

from tests import mortal
from warmlane import Client, Settings
from warmlane.blame import Absolve, Blame
from warmlane.client import Job
from warmlane.errors import PoisonJob
from warmlane.jobs import PredictJob
from warmlane.keys import Keys
from warmlane.ops import PATIENCE, Finish, Start
from warmlane.records import Outcome
from warmlane.results import State
from warmlane.store import RedisStore, connect

LIMIT_S = 60


class Lane:
    """A namespace of its own on the server."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.client = Client(settings=Settings(redis_url=url, namespace=namespace))
        self.redis = connect(url, retry_s=LIMIT_S)
        self.store = RedisStore(self.redis, Keys(namespace), url)

    def submit(self, word: str = "") -> Job:
        return self.client.submit(PredictJob(model="m", inputs=word))

    def start(self, job: Job, life: str, *, alone: bool = False) -> tuple[str, int, int]:
        verdict = self.store.run(Start(job.id, "worker", life, alone))
        return verdict.word, verdict.attempts, verdict.crashes

    def close(self) -> None:
        self.client.close()
        self.redis.close()
        self.redis.connection_pool.disconnect()


_numbers = itertools.count()


@pytest.fixture
def lane(url: str) -> Iterator[Lane]:
    made = Lane(url, f"lane{next(_numbers)}")
    yield made
    made.close()


# -- the rules -------------------------------------------------------------------------------------------------------


def test_a_crash_makes_suspects_of_all_that_ran_and_of_nothing_else(lane: Lane) -> None:
    """What had ended, and what another process ran, is taken up as ever; the others are told to come back alone."""
    jobs = [lane.submit() for _ in range(4)]
    for job in jobs[:3]:
        assert lane.start(job, "crashed") == ("run", 1, 0)
    assert lane.start(jobs[3], "other") == ("run", 1, 0)
    lane.store.run(Finish(jobs[2].id, Outcome(State.SUCCEEDED, b""), 60, life="crashed"))
    assert lane.store.run(Blame("crashed")) == 2
    verdicts = [lane.start(job, "next") for job in jobs]
    assert verdicts == [("suspect", 1, 1), ("suspect", 1, 1), ("final", 0, 0), ("run", 2, 0)]
    assert lane.start(jobs[0], "next", alone=True) == ("run", 2, 1)


def test_a_crash_alone_after_a_crash_is_poison(lane: Lane) -> None:
    """Two attempts: one in company, one alone."""
    guilty, neighbour = lane.submit(), lane.submit()
    lane.start(guilty, "life 1")
    lane.start(neighbour, "life 1")
    lane.store.run(Blame("life 1"))
    lane.start(guilty, "life 2", alone=True)
    lane.store.run(Blame("life 2"))
    assert lane.start(guilty, "life 3") == ("poison", 2, 2)
    assert lane.start(neighbour, "life 3") == ("suspect", 1, 1)


def test_crashes_in_company_are_no_proof(lane: Lane) -> None:
    """A job that was there at two crashes, each time beside others, is run once more, alone."""
    unlucky, other = lane.submit(), lane.submit()
    for life in ("life 1", "life 2"):  # taken over by a worker that had not heard of the first crash
        lane.start(unlucky, life)
        lane.start(other, life)
    lane.store.run(Blame("life 1"))
    lane.store.run(Blame("life 2"))
    assert lane.start(unlucky, "life 3", alone=True) == ("run", 3, 1)


def test_a_life_is_blamed_once(lane: Lane) -> None:
    """A worker that says it twice, as after a lost reply, says nothing new."""
    job = lane.submit()
    lane.start(job, "life 1")
    assert [lane.store.run(Blame("life 1")) for _ in range(2)] == [1, 0]
    assert lane.start(job, "life 2") == ("suspect", 1, 1)


def test_a_worker_that_ends_in_order_leaves_no_suspects(lane: Lane) -> None:
    """What it gave back unfinished is not to blame, whatever its supervisor makes of its end."""
    job = lane.submit()
    lane.start(job, "life 1")
    lane.store.run(Absolve("life 1"))
    assert lane.store.run(Blame("life 1")) == 0
    assert lane.start(job, "life 2") == ("run", 2, 0)


def test_a_job_that_lost_two_workers_runs_alone_and_is_poison_after_the_fifth(lane: Lane) -> None:
    """Killed each time and never crashed: it may be what makes the kernel kill for memory."""
    job = lane.submit()
    words = [lane.start(job, f"life {number}")[0] for number in range(PATIENCE.in_company)]
    assert words == ["run", "run"]
    assert lane.start(job, "life") == ("suspect", 2, 0)
    alone = [lane.start(job, "life", alone=True)[0] for _ in range(4)]
    assert alone == ["run", "run", "run", "poison"]


def test_a_job_that_workers_gave_back_in_order_has_lost_none(lane: Lane) -> None:
    """However many workers were drained while it ran, it is taken up again, in company."""
    job = lane.submit()
    for number in range(2 * PATIENCE.attempts):
        assert lane.start(job, f"life {number}")[0] == "run"
        lane.store.run(Absolve(f"life {number}"))
    assert len(job.status().attempts) == 2 * PATIENCE.attempts


# -- processes -------------------------------------------------------------------------------------------------------


def test_jobs_that_crash_their_process_are_poison_after_two_attempts(lane: Lane) -> None:
    """Three at once among 24, each in another way: only they fail, and their records tell both attempts."""
    words = {3: "exit", 12: "segfault", 20: "exit as if all were well"}
    guilty, others = dict[str, Job](), list[Job]()
    for number in range(24):
        job = lane.submit(words.get(number, ""))
        if number in words:
            guilty[job.id] = job
        else:
            others.append(job)
    with mortal.fleet(lane.url, lane.namespace, "cpu"):
        for job in guilty.values():
            with pytest.raises(PoisonJob, match="lost its worker 2 times") as caught:
                job.result(timeout=LIMIT_S)
            assert caught.value.details == {"id": job.id, "attempts": 2, "crashes": 2}
        for job in others:
            job.result(timeout=LIMIT_S)
    assert {len(job.status().attempts) for job in guilty.values()} == {2}
    assert {letter.id for letter in lane.client.dead()} == set(guilty)


def test_a_job_that_gets_its_worker_killed_for_memory_is_poison_in_the_end(lane: Lane) -> None:
    """It looks like a kill from outside, so it takes five attempts; the three last ones are its own alone."""
    guilty, others = lane.submit("out of memory"), [lane.submit() for _ in range(5)]
    with mortal.fleet(lane.url, lane.namespace, "cpu"):
        with pytest.raises(PoisonJob, match="lost its worker 5 times"):
            guilty.result(timeout=LIMIT_S)
        for job in others:
            job.result(timeout=LIMIT_S)
    assert max(len(job.status().attempts) for job in others) <= PATIENCE.in_company + 1


def test_2000_jobs_outlive_20_kills_of_their_two_workers(lane: Lane) -> None:
    """SIGKILL of whoever gave the last answer, twenty times: every job succeeds, none is taken for poison."""
    jobs = [lane.submit() for _ in range(2000)]
    killed = 0
    with mortal.fleet(lane.url, lane.namespace, "0,1"):
        for job in jobs[50::60]:
            pid = job.result(timeout=LIMIT_S)
            with contextlib.suppress(ProcessLookupError):  # killed before
                os.kill(pid, signal.SIGKILL)
                killed += 1
            if killed == 20:
                break
        for job in jobs:
            job.result(timeout=LIMIT_S)
    assert killed == 20
    assert sum(len(job.status().attempts) > 1 for job in jobs) > 50
