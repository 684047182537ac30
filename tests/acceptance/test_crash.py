"""Workers that die, drain and come back, by real signals. Nothing is lost, nothing is seen twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fleet import START_S, Fleet, minilm
from warmlane import Client, State
from warmlane.client import Job
from warmlane.keys import Keys
from warmlane.records import Outcome

#: Rows in a job that takes long enough to be killed in the middle.
ROWS = ["a text of some length to be embedded, again and again"] * 8


@contextmanager
def counted_events(fleet: Fleet, client: Client) -> Iterator[Counter[str]]:
    """How many times each job's outcome was published to the client."""
    counts: Counter[str] = Counter()
    pubsub = client._transport._store.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[attr-defined]
    pubsub.subscribe(Keys().inbox(client._transport.slots.id))
    pubsub.get_message(timeout=1)
    done = threading.Event()

    def listen() -> None:
        while not done.is_set():
            message = pubsub.get_message(timeout=0.2)
            if message is not None:
                counts[Outcome.from_event(message["data"])[0]] += 1

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield counts
    finally:
        done.set()
        thread.join()
        pubsub.close()


def wait_for_running(jobs: list[Job]) -> None:
    """Return when some job is done and others are not: the middle."""
    jobs[len(jobs) // 8].result(timeout=START_S)


def enqueue_200(client: Client) -> list[Job]:
    return [client.predict("minilm", ROWS, params={"pooling": "mean"}) for _ in range(200)]


def prepare(fleet: Fleet) -> None:
    fleet.start_worker("--threads", "16")
    with fleet.client() as client:
        client.save("minilm", minilm()).result(timeout=60)
        client.load("minilm").result(timeout=START_S)  # so that jobs go to this worker, whoever comes after it


def check_all_succeeded(jobs: list[Job], counts: Counter[str]) -> list[int]:
    """Every job has one visible outcome; returns how many attempts each took."""
    for job in jobs:
        assert len(job.result(timeout=START_S)) == len(ROWS)
    statuses = [job.status() for job in jobs]
    assert {status.state for status in statuses} == {State.SUCCEEDED}
    assert set(counts.values()) == {1}
    return [len(status.attempts) for status in statuses]


def test_a_job_enqueued_before_any_worker_runs_is_answered_when_one_starts(fleet: Fleet) -> None:
    """The queue keeps it; the worker that comes finds it."""
    worker = fleet.start_worker()
    fleet.stop_worker(worker)
    with fleet.client() as client:
        job = client.predict("echo", "early")
        assert job.status().state is State.QUEUED
        fleet.start_worker(ready=False)
        assert job.result(timeout=START_S) == "early"


def test_a_killed_worker_process_is_restarted_and_its_jobs_come_back(fleet: Fleet) -> None:
    """SIGKILL of the worker's process in the middle of 200 jobs: all succeed, once, some at the second attempt."""
    prepare(fleet)
    [pid] = fleet.children()
    with fleet.client() as client:
        client.predict("echo", "connect").result(timeout=30)
        with counted_events(fleet, client) as counts:
            jobs = enqueue_200(client)
            wait_for_running(jobs)
            os.kill(pid, signal.SIGKILL)
            attempts = check_all_succeeded(jobs, counts)
        assert max(attempts) == 2
        assert fleet.children() != [pid]
        assert fleet.workers[0].poll() is None


def test_a_killed_supervisor_and_worker_lose_nothing_either(fleet: Fleet) -> None:
    """SIGKILL of everything, then a new `warmlane worker`: its jobs come back within 15 s of its start."""
    prepare(fleet)
    [pid] = fleet.children()
    [supervisor] = fleet.workers
    with fleet.client() as client:
        client.predict("echo", "connect").result(timeout=30)
        with counted_events(fleet, client) as counts:
            jobs = enqueue_200(client)
            wait_for_running(jobs)
            fleet.stop_worker(supervisor, signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            began = time.time()
            fleet.start_worker("--threads", "16", ready=False)
            attempts = check_all_succeeded(jobs, counts)
        assert max(attempts) == 2
        second = [status.attempts[1] for status in (job.status() for job in jobs) if len(status.attempts) == 2]
        # The same worker name, so nobody waits for a heartbeat to time out; a start takes as long as importing torch.
        assert min(attempt.started for attempt in second) - began < 15 + START_S


def test_another_worker_takes_over_from_a_dead_one_within_the_heartbeat(fleet: Fleet) -> None:
    """A worker that dies with its machine is not restarted; the others have its jobs back in 15 s and a poll."""
    prepare(fleet)
    [pid] = fleet.children()
    [supervisor] = fleet.workers
    fleet.start_worker("--threads", "16", ready=False)
    with fleet.client() as client:
        both = threading.Event()
        while len(client.workers()) < 2:  # there is nothing to block on until it has a first job
            both.wait(0.1)
        jobs = enqueue_200(client)
        wait_for_running(jobs)
        os.kill(pid, signal.SIGSTOP)  # it would drain when its supervisor is gone, and may be done before it is killed
        fleet.stop_worker(supervisor, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        died = time.time()
        for job in jobs:
            job.result(timeout=START_S)
        again = [status for status in (job.status() for job in jobs) if len(status.attempts) == 2]
        assert again
        assert max(status.attempts[1].started for status in again) - died < 20
        assert all(status.attempts[1].worker != status.attempts[0].worker for status in again)


def test_a_drain_finishes_what_runs_and_gives_back_the_rest(fleet: Fleet) -> None:
    """SIGTERM: the worker leaves with status 0, off the registry; no job runs twice, none is lost."""
    prepare(fleet)
    [worker] = fleet.workers
    with fleet.client() as client:
        jobs = enqueue_200(client)
        wait_for_running(jobs)
        assert fleet.stop_worker(worker) == 0
        assert client.workers() == []
        states = Counter(job.status().state for job in jobs)
        assert set(states) == {State.SUCCEEDED, State.QUEUED}
        fleet.start_worker(ready=False)
        for job in jobs:
            job.result(timeout=START_S)
        assert {len(job.status().attempts) for job in jobs} == {1}


def test_a_second_signal_stops_at_once_and_nothing_is_lost(fleet: Fleet) -> None:
    """What was cut off goes back to the queue and is done by the next worker."""
    prepare(fleet)
    [worker] = fleet.workers
    with fleet.client() as client:
        long = [client.predict("minilm", ROWS * 20, params={"pooling": "mean"}) for _ in range(16)]
        long[0].result(timeout=START_S)
        worker.send_signal(signal.SIGTERM)
        drains = threading.Event()
        while client.workers()[0].state != "draining":  # two signals that come at once are one
            drains.wait(0.05)
        began = time.monotonic()
        fleet.stop_worker(worker)
        assert time.monotonic() - began < 10
        fleet.start_worker(ready=False)
        for job in long:
            assert len(job.result(timeout=START_S)) == len(ROWS) * 20


def test_a_drain_that_takes_too_long_gives_back_what_runs(fleet: Fleet) -> None:
    """After `WARMLANE_DRAIN_TIMEOUT` the worker leaves all the same, and its jobs lie in the queue again."""
    worker = fleet.start_worker("--drain-timeout", "1")
    with fleet.client() as client:
        client.save("minilm", minilm()).result(timeout=60)
        client.load("minilm").result(timeout=60)
        jobs = [client.predict("minilm", ROWS * 1000, params={"pooling": "mean"}) for _ in range(2)]
        running = threading.Event()
        while any(job.status().state is not State.RUNNING for job in jobs):
            running.wait(0.05)
        began = time.monotonic()
        assert fleet.stop_worker(worker) == 0
        assert time.monotonic() - began < 20
        server = client._transport._store.client  # type: ignore[attr-defined]
        assert server.llen(Keys().queue("predict")) == 2
        assert {job.cancel() for job in jobs} == {State.RUNNING}  # as far as the record knows, until it is taken again
