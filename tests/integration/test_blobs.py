"""Large payloads and results beside a real Redis: by reference, cleaned up with their jobs, and clear when amiss."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from warmlane import AsyncClient, Client, Settings
from warmlane.blobs import Blobs
from warmlane.client import Job
from warmlane.errors import (
    BlobChanged,
    BlobMissing,
    BlobStoreUnavailable,
    IdempotencyConflict,
    InternalError,
    PayloadTooLarge,
    QueueFull,
)
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.message import JobMessage
from warmlane.results import State
from warmlane.store import RedisStore, connect
from warmlane_workers import sweeper
from warmlane_workers.context import JobContext
from warmlane_workers.lifecycle import Lifecycle
from warmlane_workers.sweeper import Sweeper

#: A payload, and a result, that goes to the store.
LARGE = "secret " * 20_000


def answer(job: PredictJob, context: JobContext) -> Any:
    """Echoes; "long" asks for a long answer, "fail" for a bug."""
    if job.inputs == "fail" or job.params.get("fail"):
        raise InternalError("as it was told")
    return LARGE if job.inputs == "long" else job.inputs


class Lane:
    """A server with a blob store, a client, and a worker that works when it is told to."""

    def __init__(self, url: str, blobs: Path) -> None:
        self.settings = Settings(redis_url=url, blobs=str(blobs), result_ttl_s=600)
        self.directory = blobs
        self.client = Client(settings=self.settings)
        self.redis: Any = connect(url, retry_s=5)
        self.store = RedisStore(self.redis, Keys(), url)

    def submit(self, inputs: Any, **params: Any) -> Job:
        return self.client.submit(PredictJob(model="m", inputs=inputs, params=params))

    def message(self, job: Job) -> JobMessage:
        data = self.redis.hget(Keys().messages(PREDICT_QUEUE), job.id)
        assert len(data) < 1000, "the payload is in Redis"
        return JobMessage.decode(data)

    def work(self, job: Job, blobs: str | None = "the client's") -> None:
        """What a worker does with the job's message."""
        store = Blobs.of(self.settings if blobs is not None else replace(self.settings, blobs=None))
        lifecycle = Lifecycle(self.store, "worker", {"predict": answer}, 600, lambda *args: None, blobs=store)
        data = self.redis.hget(Keys().messages(PREDICT_QUEUE), job.id)
        self.redis.sadd(Keys().acks("worker", PREDICT_QUEUE), job.id)
        lifecycle.work(PREDICT_QUEUE, job.id, JobMessage.decode(data).kwargs["job"])

    def blobs(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.is_file()]

    def sweep(self) -> int:
        blobs = Blobs.of(self.settings)
        assert blobs is not None
        return Sweeper(self.store, blobs).sweep()

    def close(self) -> None:
        self.client.close()
        self.redis.close()
        self.redis.connection_pool.disconnect()


@pytest.fixture
def lane(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    monkeypatch.setattr(sweeper, "YOUNG_S", -1)
    made = Lane(url, tmp_path / "blobs")
    made.redis.flushdb()
    yield made
    made.close()


def test_a_large_payload_and_a_large_result_go_by_reference(lane: Lane) -> None:
    """Neither is in Redis, and the caller sees no difference."""
    job = lane.submit(LARGE)
    assert lane.message(job).kwargs["job"].subject == "m"
    assert job.status().model == "m"
    lane.work(job)
    assert len(lane.redis.get(Keys().result(job.id))) < 1000
    assert job.result(timeout=1) == LARGE
    assert lane.client.job(job.id).result(timeout=1) == LARGE
    assert len(lane.blobs()) == 2


def test_a_small_one_stays_in_redis(lane: Lane) -> None:
    """Up to the setting, both ways; and a long result of a short payload is its own case."""
    job, asks = lane.submit("small"), lane.submit("long")
    lane.work(job)
    lane.work(asks)
    assert job.result(timeout=1) == "small"
    assert len(lane.blobs()) == 1
    assert asks.result(timeout=1) == LARGE


def test_the_event_loop_goes_on_while_a_blob_is_written_and_read(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are another thread's: the loop's own thread touches none."""
    threads = set[int]()
    write, read = Blobs.write, Blobs.read

    def noting(method: Any) -> Any:
        def call(*args: Any) -> Any:
            threads.add(threading.get_ident())
            return method(*args)

        return call

    async def ask() -> str:
        monkeypatch.setattr(Blobs, "write", noting(write))
        monkeypatch.setattr(Blobs, "read", noting(read))
        async with AsyncClient(settings=lane.settings) as client:
            handle = await client.submit(PredictJob(model="m", inputs=LARGE))
            monkeypatch.setattr(Blobs, "write", write)
            monkeypatch.setattr(Blobs, "read", read)
            await asyncio.to_thread(lane.work, lane.client.job(handle.id))
            monkeypatch.setattr(Blobs, "read", noting(read))
            return str(await handle.result(timeout=5))

    assert asyncio.run(ask()) == LARGE
    assert threads
    assert threading.get_ident() not in threads


def test_blobs_go_with_their_jobs_record(lane: Lane) -> None:
    """While there is a record they stay; without one, the next sweep takes them."""
    job, other = lane.submit(LARGE), lane.submit(LARGE)
    lane.work(job)
    assert (lane.sweep(), len(lane.blobs())) == (0, 3)
    lane.redis.delete(Keys().job(job.id))
    assert (lane.sweep(), len(lane.blobs())) == (2, 1)
    lane.work(other)
    assert other.result(timeout=1) == LARGE


def test_a_dead_letter_keeps_its_blob_until_it_is_dropped(lane: Lane) -> None:
    """Also when the record is gone."""
    job = lane.submit(LARGE, fail=True)
    lane.work(job)
    lane.redis.delete(Keys().job(job.id))
    assert lane.sweep() == 0
    lane.client.drop(job.id)
    assert lane.blobs() == []


def test_a_replay_has_the_payload_again(lane: Lane) -> None:
    """In a blob of the new job."""
    job = lane.submit(LARGE, fail=True)
    lane.work(job)
    again = lane.client.replay(job.id)
    (blob,) = lane.blobs()
    assert blob.name.startswith(again.id)
    lane.work(again)
    with pytest.raises(InternalError):
        again.result(timeout=1)


def test_a_refused_job_leaves_no_blob(lane: Lane) -> None:
    """The queue is full, or its key had another payload; the same key with the same payload is the same job."""
    full = Client(settings=replace(lane.settings, queue_jobs=1))
    first = lane.client.submit(PredictJob(model="m", inputs=LARGE), idempotency_key="key")
    with pytest.raises(QueueFull):
        full.predict("m", LARGE)
    with pytest.raises(IdempotencyConflict):
        lane.client.submit(PredictJob(model="m", inputs=LARGE + "!"), idempotency_key="key")
    assert len(lane.blobs()) == 1
    assert lane.client.submit(PredictJob(model="m", inputs=LARGE), idempotency_key="key").id == first.id
    assert len(lane.blobs()) == 1
    full.close()


def test_a_retry_of_a_call_whose_reply_was_lost_keeps_the_blob(lane: Lane) -> None:
    """The queue knows the job already, and it is the payload that was just written which it needs."""
    run = lane.client._transport.run

    def twice(op: Any) -> Any:
        run(op)
        return run(op)

    lane.client._transport.run = twice  # type: ignore[method-assign]
    job = lane.submit(LARGE)
    lane.client._transport.run = run  # type: ignore[method-assign]
    lane.work(job)
    assert job.result(timeout=1) == LARGE


@pytest.mark.parametrize("cancelled", [False, True], ids=["done", "cancelled"])
def test_a_payload_beside_the_queue_counts_as_well(lane: Lane, *, cancelled: bool) -> None:
    """Towards the limit on bytes, and in what is told of the queue, until its job has ended, however that was."""
    with Client(settings=replace(lane.settings, queue_bytes=2 * len(LARGE))) as full:
        first, other = full.predict("m", LARGE), full.predict("m", "small")
        assert full.fleet().queues[1].bytes > len(LARGE)
        with pytest.raises(QueueFull):
            full.predict("m", LARGE)
        if cancelled:
            first.cancel()
        else:
            lane.work(first)
        assert full.fleet().queues[1].bytes < 1000
        full.predict("m", LARGE)
        assert other.status().state is State.QUEUED


@pytest.mark.parametrize(
    ("harm", "error"),
    [(Path.unlink, BlobMissing), (lambda path: path.write_bytes(b"x" * path.stat().st_size), BlobChanged)],
    ids=["gone", "changed"],
)
def test_a_payload_that_is_amiss_fails_its_job(lane: Lane, harm: Any, error: type[Exception]) -> None:
    """By an error of its own, which reaches the caller."""
    job = lane.submit(LARGE)
    harm(*lane.blobs())
    lane.work(job)
    with pytest.raises(error):
        job.result(timeout=1)


def test_a_result_that_is_gone_says_so_to_its_caller(lane: Lane) -> None:
    """The job has succeeded; what is left of it is the reference."""
    job = lane.submit("long")
    lane.work(job)
    shutil.rmtree(lane.directory)
    with pytest.raises(BlobMissing):
        job.result(timeout=1)


def test_a_side_without_a_store_says_what_to_set(lane: Lane) -> None:
    """A worker fails the job, a client raises."""
    job = lane.submit(LARGE)
    lane.work(job, blobs=None)
    with pytest.raises(BlobStoreUnavailable, match="set WARMLANE_BLOBS"):
        job.result(timeout=1)
    asks = lane.submit("long")
    lane.work(asks)
    with Client(settings=replace(lane.settings, blobs=None)) as client, pytest.raises(BlobStoreUnavailable):
        client.job(asks.id).result(timeout=1)


def test_what_is_larger_than_a_blob_may_be_is_refused(lane: Lane) -> None:
    """On the client before anything is enqueued, on the worker as the job's error."""
    small = replace(lane.settings, blob_bytes=100_000)
    with Client(settings=small) as client, pytest.raises(PayloadTooLarge, match="the limit is 100000"):
        client.predict("m", LARGE)
    lane.settings = small
    job = lane.submit("long")
    lane.work(job)
    with pytest.raises(PayloadTooLarge, match="the result is too large"):
        job.result(timeout=1)
