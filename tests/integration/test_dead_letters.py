"""Jobs that failed for no fault of their caller: kept, listed, enqueued again, dropped. On a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from warmlane import AsyncClient, Client, Settings, dead
from warmlane.client import Job
from warmlane.dead import Bury, ReadLetter
from warmlane.errors import CodecError, JobNotFound
from warmlane.jobs import PredictJob
from warmlane.keys import DEFAULT_POOL, PREDICT_QUEUE, Keys, pool_queue
from warmlane.message import JobMessage
from warmlane.ops import Finish
from warmlane.records import Outcome
from warmlane.results import State
from warmlane.store import RedisStore, connect


class Lane:
    """A server, a client, and what a worker does to it, by hand."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(redis_url=url)
        self.client = Client(settings=self.settings)
        self.redis = connect(url, retry_s=5)
        self.store = RedisStore(self.redis, Keys(), url)

    def bury(
        self, text: str = "a secret text", code: str = "poison_job", pool: str = DEFAULT_POOL, **options: Any
    ) -> Job:
        """A job that fails, as a worker fails it."""
        job = self.client.submit(PredictJob(model="m/3", inputs=text), pool=pool, **options)
        queue = pool_queue(PREDICT_QUEUE, pool)
        self.redis.sadd(Keys().acks("worker", queue), job.id)
        assert self.store.run(Bury(job.id, queue, code))
        outcome = Outcome(State.FAILED, error={"code": code, "message": "it failed", "details": {}})
        self.store.run(Finish(job.id, outcome, 60, queue, "worker"))
        return job

    def message(self, job_id: str) -> JobMessage:
        """What waits in the queue for a worker."""
        data = self.redis.hget(Keys().messages(PREDICT_QUEUE), job_id)
        assert isinstance(data, bytes)
        return JobMessage.decode(data)

    def close(self) -> None:
        self.client.close()
        self.redis.close()
        self.redis.connection_pool.disconnect()


@pytest.fixture
def lane(url: str) -> Iterator[Lane]:
    made = Lane(url)
    made.redis.flushdb()
    yield made
    made.close()


def test_a_dead_letter_says_what_it_was_and_not_what_is_in_it(lane: Lane) -> None:
    """Its kind, model, error, time and size, oldest first; the queue has it no more."""
    one, two = lane.bury(), lane.bury(code="internal_error")
    letters = lane.client.dead()
    assert [letter.id for letter in letters] == [one.id, two.id]
    assert [(letter.kind, letter.model, letter.code) for letter in letters] == [
        ("predict", "m/3", "poison_job"),
        ("predict", "m/3", "internal_error"),
    ]
    assert letters[0].time == pytest.approx(one.status().finished, abs=1)
    assert letters[0].bytes == len(lane.store.run(ReadLetter(one.id)) or b"")
    assert "secret" not in repr(letters)
    assert not lane.redis.hexists(Keys().messages(PREDICT_QUEUE), one.id)


def test_a_replay_is_a_new_job_and_both_records_say_so(lane: Lane) -> None:
    """The dead one keeps its one outcome; the new one has the same payload and waits for a worker."""
    old = lane.bury()
    new = lane.client.replay(old.id)
    assert new.id != old.id
    assert lane.message(new.id).kwargs["job"] == PredictJob(model="m/3", inputs="a secret text")
    assert (new.status().state, new.status().replay_of) == (State.QUEUED, old.id)
    assert (old.status().state, old.status().replayed_as) == (State.FAILED, new.id)
    assert lane.client.dead() == []


def test_a_replay_goes_to_the_same_workers(lane: Lane) -> None:
    """What crashed a worker of one pool must not be tried on those of another; and its priority is the same."""
    old = lane.bury(pool="risky", priority="low", deadline=60)
    again = lane.client.replay(old.id).status()
    assert (again.pool, again.priority, again.deadline) == ("risky", "low", None)
    assert lane.redis.hkeys(Keys().messages("predict.risky")) == [again.id.encode()]
    assert not lane.redis.exists(Keys().messages(PREDICT_QUEUE))


def test_a_replay_goes_to_the_same_workers_when_the_record_has_expired(lane: Lane) -> None:
    """A letter is kept for longer than a record."""
    old = lane.bury(pool="risky", priority="low")
    lane.redis.delete(Keys().job(old.id))
    again = lane.client.replay(old.id).status()
    assert (again.pool, again.priority) == ("risky", "normal")


def test_what_was_dropped_is_gone(lane: Lane) -> None:
    """And a second drop, or a replay, says that there is no such letter."""
    job = lane.bury()
    lane.client.drop(job.id)
    assert lane.client.dead() == []
    for act in (lane.client.drop, lane.client.replay):
        with pytest.raises(JobNotFound, match="no dead letter"):
            act(job.id)
    assert job.status().state is State.FAILED


def test_noise_cannot_be_replayed_and_stays_until_it_is_dropped(lane: Lane) -> None:
    """The error names the way out, and quotes nothing."""
    lane.redis.hset(Keys().messages(PREDICT_QUEUE), "somebody", b"noise")
    lane.store.run(Bury("somebody", PREDICT_QUEUE, "codec"))
    with pytest.raises(CodecError, match="drop"):
        lane.client.replay("somebody")
    assert [(letter.id, letter.kind, letter.bytes) for letter in lane.client.dead()] == [("somebody", "", 5)]
    lane.client.drop("somebody")
    assert lane.client.dead() == []


def test_the_oldest_make_room(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, and by bytes together."""
    monkeypatch.setattr(dead, "DEAD_MOST", 3)
    jobs = [lane.bury() for _ in range(5)]
    assert [letter.id for letter in lane.client.dead()] == [job.id for job in jobs[2:]]
    monkeypatch.setattr(dead, "DEAD_MOST_BYTES", 2 * lane.client.dead()[0].bytes)
    last = lane.bury()
    assert [letter.id for letter in lane.client.dead()] == [jobs[4].id, last.id]
    assert lane.redis.exists(Keys().letter(jobs[2].id)) == 0


def test_a_letter_whose_time_is_over_is_not_listed(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis forgets it, and so does the list."""
    job = lane.bury()
    assert 0 < lane.redis.ttl(Keys().letter(job.id)) <= dead.DEAD_TTL_S
    lane.redis.delete(Keys().letter(job.id))
    assert lane.client.dead() == []
    assert lane.redis.zcard(Keys().dead) == 0


def test_the_client_for_event_loops_does_the_same(lane: Lane) -> None:
    """List, replay, drop."""
    first, second = lane.bury(), lane.bury()

    async def deal() -> str:
        async with AsyncClient(settings=lane.settings) as client:
            assert [letter.id for letter in await client.dead()] == [first.id, second.id]
            await client.drop(second.id)
            return (await client.replay(first.id)).id

    new = asyncio.run(deal())
    assert lane.client.job(new).status().replay_of == first.id
    assert lane.client.dead() == []
