"""The hardened broker on a real server: real Dramatiq workers in this process, and a handler that needs no model."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

from tests.lane import LIMIT_S, Gate, Lane
from tests.server import Server
from warmlane import codec
from warmlane.embedded import EmbeddedServer
from warmlane.errors import CodecError
from warmlane.jobs import PredictJob, SaveJob
from warmlane.keys import PREDICT_QUEUE
from warmlane.message import JobMessage
from warmlane.results import State
from warmlane_workers import consumer
from warmlane_workers.consumer import HEARTBEAT_TIMEOUT_MS
from warmlane_workers.context import JobContext

#: How soon good jobs are done, whatever lies among them.
SOON_S = 5.0


@pytest.fixture(scope="module")
def lanes() -> Iterator[Callable[[], Lane]]:
    """Makes lanes on one server. They are closed at the end, all together: a listening thread takes up to a second."""
    made: list[Lane] = []

    def make() -> Lane:
        made.append(Lane(server.url, f"lane{len(made)}"))
        return made[-1]

    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home, ThreadPoolExecutor(64) as pool:
        server = EmbeddedServer(Path(home))
        server.attach()
        yield make
        list(pool.map(Lane.close, made))
        server.detach()


@pytest.fixture
def lane(lanes: Callable[[], Lane]) -> Iterator[Lane]:
    made = lanes()
    yield made
    made.stop()


@pytest.fixture
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans are looked for several times a second."""
    monkeypatch.setattr(consumer, "SWEEP_S", 0.2)


# -- messages that are none ------------------------------------------------------------------------------------------

ENVELOPE = JobMessage.of(PredictJob(model="m", inputs="hello"), "0" * 32).encode()
POISON = {
    "nothing": b"",
    "noise": b"\x00\xff" * 50,
    "cut off": ENVELOPE[:-3],
    "one byte more": ENVELOPE + b"\x00",
    "json": b'{"queue_name": "predict", "actor_name": "predict", "args": []}',
    "another frame": codec.encode("event", {"id": "0" * 32}),
    "no envelope": codec.encode("job", [1, 2, 3]),
    "an unknown field": codec.encode("job", {"id": "0" * 32, "pipe_target": "predict"}),
    "another queue": JobMessage.of(SaveJob(name="m", source="warmlane:echo"), "0" * 32).encode(),
}


@pytest.mark.parametrize("data", POISON.values(), ids=POISON.keys())
def test_a_message_that_is_none_goes_to_the_dead_letters_and_the_others_are_done(lane: Lane, data: bytes) -> None:
    """One bad message among good ones delays nobody: they are done soon, its caller hears `CodecError`, and its bytes
    are kept in the dead letters."""
    good = [lane.submit(number) for number in range(3)]
    bad = lane.submit_bytes(data)
    good += [lane.submit(number) for number in range(3, 6)]
    started = time.monotonic()
    lane.worker()
    assert [lane.result(job) for job in good] == list(range(6))
    with pytest.raises(CodecError, match="cannot decode"):
        lane.result(bad)
    assert time.monotonic() - started < SOON_S
    assert lane.dead_letters() == {bad: data}
    lane.until(lane.nothing_is_left)


def test_a_worker_survives_many_bad_messages_at_once(lane: Lane) -> None:
    """A whole fetch of nothing but noise is put away, and the worker that did it serves the next job."""
    bad = [lane.submit_bytes(b"\xc1" * number) for number in range(20)]
    lane.worker(threads=4)
    lane.until(lambda: set(lane.dead_letters()) == set(bad))
    assert lane.result(lane.submit("still here")) == "still here"


def test_a_bad_message_that_no_job_sent_hurts_nobody(lane: Lane) -> None:
    """Noise without a record, as another program might write it, goes to the dead letters like any other."""
    lane.redis.hset(lane.names.messages(PREDICT_QUEUE), "somebody", b"noise")
    lane.redis.rpush(lane.names.queue(PREDICT_QUEUE), "somebody")
    lane.worker()
    assert lane.result(lane.submit(1)) == 1
    lane.until(lambda: lane.dead_letters() == {"somebody": b"noise"})


# -- messages that got lost ------------------------------------------------------------------------------------------


def test_what_a_last_life_had_taken_comes_back_at_the_start(lane: Lane) -> None:
    """A worker that starts under the name of a dead one finds the messages that were in its hands, without a wait for
    any time-out."""
    jobs = [lane.submit(number) for number in range(5)]
    assert len(lane.fetch_as("worker-1", 3)) == 3
    assert len(lane.acks()) == 3
    started = time.monotonic()
    lane.worker()
    assert [lane.result(job) for job in jobs] == list(range(5))
    assert time.monotonic() - started < HEARTBEAT_TIMEOUT_MS / 1000 / 3


@pytest.mark.usefixtures("quick_sweeps")
def test_a_fetch_whose_reply_was_lost_comes_back_in_a_live_worker(lane: Lane) -> None:
    """Messages that the server counts as ours and that never arrived are found by the sweep; what runs stays."""
    gate = Gate()
    lane.worker(threads=1, handler=gate)
    held = [lane.submit("held") for _ in range(2)]
    gate.wait_for(1)
    lane.until(lambda: lane.acks() == set(held))  # it has no room for more
    lost = [lane.submit("lost") for _ in range(2)]
    assert len(lane.fetch_as("worker-1", 2)) == 2  # a reply that nobody reads
    lane.until(lambda: lane.acks() == set(held) and lane.waiting() == 2)
    gate.open()
    assert [lane.result(job) for job in held + lost] == ["held", "held", "lost", "lost"]
    lane.until(lane.nothing_is_left)
    assert [len(lane.status(job).attempts) for job in held + lost] == [1, 1, 1, 1]


@pytest.mark.usefixtures("quick_sweeps")
def test_an_orphan_without_a_message_is_forgotten(lane: Lane) -> None:
    """An id in our acknowledgements whose message is gone is taken off, not looked at for ever."""
    lane.redis.sadd(lane.names.acks("worker-1", PREDICT_QUEUE), "ghost")
    lane.worker()
    lane.until(lambda: not lane.acks())


@pytest.mark.usefixtures("quick_sweeps")
def test_an_orphan_that_does_not_decode_goes_to_the_dead_letters(lane: Lane) -> None:
    """Noise that a last life had fetched is put away at the next start."""
    bad = lane.submit_bytes(b"noise")
    lane.fetch_as("worker-1", 1)
    lane.worker()
    with pytest.raises(CodecError):
        lane.result(bad)
    assert lane.dead_letters() == {bad: b"noise"}


@pytest.mark.usefixtures("quick_sweeps")
def test_lost_connections_lose_no_job(lane: Lane) -> None:
    """Every connection of the worker is cut again and again while it works; all 60 jobs end, each with its result."""
    begun = itertools.count(1)

    def cut(job: PredictJob, context: JobContext) -> Any:
        if next(begun) % 10 == 0:
            lane.redis.client_kill_filter(_type="normal", skipme=True)
            lane.redis.client_kill_filter(_type="pubsub")
        return job.inputs

    jobs = [lane.submit(number) for number in range(60)]
    lane.worker(threads=8, handler=cut)
    assert [lane.result(job) for job in jobs] == list(range(60))
    lane.until(lane.nothing_is_left)
    assert lane.dead_letters() == {}


def test_a_dead_workers_messages_are_taken_over(lane: Lane) -> None:
    """When a worker has been silent for the heartbeat time-out, a living one gets what it had taken; before, not."""
    jobs = [lane.submit(number) for number in range(3)]
    assert len(lane.fetch_as("gone", 3)) == 3
    lane.worker()
    lane.until(lambda: lane.heartbeat() > lane.heartbeat("gone"))
    assert len(lane.acks("gone")) == 3
    lane.silence("gone")
    assert [lane.result(job) for job in jobs] == [0, 1, 2]
    assert lane.acks("gone") == set()
    lane.until(lambda: not lane.heartbeat("gone"))


# -- the doorbell ----------------------------------------------------------------------------------------------------


class Pickup:
    """A handler that says when it was called."""

    def __init__(self) -> None:
        self.called = threading.Event()

    def __call__(self, job: PredictJob, context: JobContext) -> Any:
        self.called.set()
        return job.inputs

    def measure(self, lane: Lane) -> float:
        """Seconds from a submit to the handler, in a worker that has nothing else to do."""
        self.called.clear()
        started = time.perf_counter()
        job = lane.submit()
        assert self.called.wait(LIMIT_S)
        taken = time.perf_counter() - started
        lane.result(job)
        return taken


def test_the_doorbell_wakes_an_idle_worker(lane: Lane) -> None:
    """An idle worker takes a job up in a few milliseconds, where polling would take half a second in the middle."""
    pickup = Pickup()
    lane.worker(handler=pickup, poll_ms=1000)
    pickup.measure(lane)
    assert statistics.median(pickup.measure(lane) for _ in range(15)) < 0.1


def test_without_a_bell_jobs_are_found_by_polling(lane: Lane) -> None:
    """A worker that hears no bell looks by itself, once a poll."""
    pickup = Pickup()
    lane.worker(handler=pickup, bell=False, poll_ms=300)
    assert max(pickup.measure(lane) for _ in range(3)) < 2.0


def test_a_bell_that_was_cut_is_heard_again(lane: Lane) -> None:
    """After its connection was killed the bell subscribes anew; a job that comes meanwhile is found by polling."""
    pickup = Pickup()
    lane.worker(handler=pickup, poll_ms=1000)
    pickup.measure(lane)
    lane.redis.client_kill_filter(_type="pubsub")
    assert pickup.measure(lane) < 3.0
    bell = lane.names.bell(PREDICT_QUEUE)
    lane.until(lambda: dict(lane.redis.pubsub_numsub(bell))[bell.encode()] == 1)
    assert statistics.median(pickup.measure(lane) for _ in range(5)) < 0.1


# -- how much a worker holds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4, 9])
def test_a_worker_holds_a_quarter_more_than_it_has_threads(lane: Lane, threads: int) -> None:
    """At no time has a worker taken more than its threads and a quarter of them, at least one; the rest waits for
    others."""
    most = threads + max(1, threads // 4)
    seen: list[int] = []

    def handler(job: PredictJob, context: JobContext) -> Any:
        seen.append(len(lane.acks()))
        return job.inputs

    jobs = [lane.submit(number) for number in range(40)]
    lane.worker(threads=threads, handler=handler)
    for job in jobs:
        lane.result(job)
    assert 1 <= max(seen) <= most


def test_a_busy_worker_leaves_the_rest_to_others(lane: Lane) -> None:
    """With all threads held, a second worker gets what the first has no room for."""
    gate = Gate()
    jobs = [lane.submit(number) for number in range(20)]
    lane.worker("worker-1", threads=4, handler=gate)
    gate.wait_for(4)
    lane.worker("worker-2", threads=4)
    lane.until(lambda: not lane.waiting() and not lane.acks("worker-2"))
    assert len(lane.acks("worker-1")) == 5
    gate.open()
    assert [lane.result(job) for job in jobs] == list(range(20))


def test_a_draining_worker_takes_nothing_and_goes_on_beating(lane: Lane) -> None:
    """After a drain has begun nothing is fetched, while heartbeats keep what it still runs from being taken over."""
    gate = Gate()
    worker = lane.worker(handler=gate)
    running = lane.submit("running")
    gate.wait_for(1)
    worker.broker.draining = True
    worker.broker.ring()
    late = lane.submit("late")
    for _ in range(3):  # three looks at the queue
        last = lane.heartbeat()
        worker.broker.ring()
        lane.until(lambda last=last: lane.heartbeat() > last)  # type: ignore[misc]
    assert (lane.waiting(), lane.acks()) == (1, {running})
    gate.open()
    assert lane.result(running) == "running"
    lane.worker("worker-2")
    assert lane.result(late) == "late"


def test_give_back_returns_all_that_a_worker_holds(lane: Lane) -> None:
    """What runs and what waits in a worker goes back to the queue in one call, for another worker to do."""
    gate = Gate()
    jobs = [lane.submit(number) for number in range(5)]
    first = lane.worker("worker-1", threads=4, handler=gate)
    gate.wait_for(4)
    lane.until(lambda: len(lane.acks("worker-1")) == 5)
    first.broker.draining = True
    assert first.broker.give_back() == 5
    assert (lane.acks("worker-1"), lane.waiting()) == (set(), 5)
    lane.worker("worker-2")
    assert [lane.result(job) for job in jobs] == list(range(5))
    ends = [lane.status(job).finished for job in jobs]
    gate.open()
    lane.until(lane.nothing_is_left)
    # What the first worker finishes late changes no outcome.
    assert [lane.status(job).finished for job in jobs] == ends
    assert {lane.status(job).state for job in jobs} == {State.SUCCEEDED}


# -- Dramatiq's own --------------------------------------------------------------------------------------------------


@pytest.fixture
def stock(lane: Lane) -> RedisBroker:
    """Dramatiq's broker as it comes, over the same keys."""
    client: redis.Redis = lane.redis
    return RedisBroker(client=client, namespace=lane.names.broker, middleware=[])  # type: ignore[no-untyped-call]


def test_stock_dramatiq_reads_what_we_enqueue(lane: Lane, stock: RedisBroker) -> None:
    """Our submit leaves the queue as Dramatiq's own enqueue would: its Lua counts, fetches and acknowledges it."""
    job_id = lane.submit("hello")
    assert stock.do_qsize(PREDICT_QUEUE) == 1
    (data,) = stock.do_fetch(PREDICT_QUEUE, 10)
    message = JobMessage.decode(data)
    assert (message.message_id, message.kwargs["job"].inputs) == (job_id, "hello")
    assert lane.acks(stock.broker_id) == {job_id}
    stock.do_ack(PREDICT_QUEUE, message.options["redis_message_id"])
    assert stock.do_qsize(PREDICT_QUEUE) == 0
    assert lane.nothing_is_left(stock.broker_id)


def test_we_run_what_stock_dramatiq_enqueues(lane: Lane, stock: RedisBroker) -> None:
    """A message that Dramatiq itself enqueued, under an id that it made up, is run and acknowledged."""
    job_id = lane.submit("hello")
    (data,) = stock.do_fetch(PREDICT_QUEUE, 1)
    stock.do_ack(PREDICT_QUEUE, job_id)
    sent = stock.enqueue(JobMessage.decode(data))
    assert sent.options["redis_message_id"] != job_id
    lane.worker()
    assert lane.result(job_id) == "hello"
    lane.until(lane.nothing_is_left)


def test_a_message_that_comes_twice_is_run_once(lane: Lane, stock: RedisBroker) -> None:
    """A copy of a message whose job has ended is acknowledged without a second run."""
    ran: list[str] = []

    def handler(job: PredictJob, context: JobContext) -> Any:
        ran.append(context.job_id)
        return job.inputs

    worker = lane.worker(handler=handler)
    job_id = lane.submit("hello")
    assert lane.result(job_id) == "hello"
    stock.enqueue(JobMessage.of(PredictJob(model="m", inputs="again"), job_id))
    worker.broker.ring()
    lane.until(lane.nothing_is_left)
    assert ran == [job_id]
    assert lane.result(job_id) == "hello"


# -- a server that was away ------------------------------------------------------------------------------------------


def test_after_an_outage_nobody_counts_as_dead_until_all_could_beat_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server is silent nobody's heartbeat is heard. A worker that hears it again first does not take over
    what the others run; only who is silent for the whole time-out after it is dead."""
    timeout_s = 2.0
    monkeypatch.setattr(consumer, "HEARTBEAT_TIMEOUT_MS", int(timeout_s * 1000))
    monkeypatch.setattr(consumer, "SILENCE_S", 1.0)
    monkeypatch.setattr(consumer, "RESCUE_S", 0.2)
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home, ExitStack() as stack:
        server = Server(Path(home))
        server.attach()
        stack.callback(server.detach)
        lane = stack.enter_context(closing(Lane(server.url, "outage")))
        stack.callback(lane.stop)
        jobs = [lane.submit(number) for number in range(3)]
        assert len(lane.fetch_as("other", 3)) == 3
        lane.worker()
        lane.until(lambda: lane.heartbeat() > lane.heartbeat("other"))
        server.freeze()
        threading.Event().wait(timeout_s + 0.5)
        server.thaw()
        back = time.monotonic()
        assert [lane.result(job) for job in jobs] == [0, 1, 2]
        assert time.monotonic() - back > timeout_s
