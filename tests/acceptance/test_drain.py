"""A worker is drained while everybody goes on sending: nobody notices."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests import tiny
from tests.fleet import START_S, Fleet
from warmlane.client import Job

CALLERS = 64


def home(job: Job) -> str:
    """The worker that did a job."""
    job.result(timeout=START_S)
    return job.status().attempts[0].worker


def test_a_drain_under_load_loses_nothing_and_no_caller_hears_of_it(fleet: Fleet) -> None:
    """64 callers send without a pause to two models, each on a worker of its own, while one worker gets SIGTERM.
    It leaves with status 0, every call gets its result, every job was taken up once; then the other has both models."""
    source = tiny.save("text-classification", fleet.home / "source")
    drained, _ = (fleet.start_worker(ready=False) for _ in range(2))
    stopped = threading.Event()
    with fleet.client() as client:
        client.save("one", source).result(timeout=START_S)
        client.save("two", source).result(timeout=START_S)
        looking = threading.Event()
        while len(client.workers()) < 2:
            looking.wait(0.1)
        homes = {home(client.load(name)) for name in ("one", "two")}
        assert len(homes) == 2
        many = threading.Semaphore(0)

        def call(number: int) -> list[Job]:
            jobs: list[Job] = []
            while not stopped.is_set() or len(jobs) < 2:
                jobs.append(client.predict(("one", "two")[len(jobs) % 2], f"a text of {number}"))
                assert len(jobs[-1].result(timeout=START_S)) == 1
                many.release()
            # Both models once more, when only one worker is left.
            last = [client.predict(name, "the last") for name in ("one", "two")]
            for job in last:
                job.result(timeout=START_S)
            return jobs + last

        with ThreadPoolExecutor(CALLERS) as pool:
            calls = [pool.submit(call, number) for number in range(CALLERS)]
            for _ in range(2 * CALLERS):
                many.acquire()
            try:
                assert fleet.stop_worker(drained) == 0
            finally:
                stopped.set()
            jobs = [job for call in calls for job in call.result()]
        statuses = [job.status() for job in jobs]
        assert {len(status.attempts) for status in statuses} == {1}
        takers = Counter(status.attempts[0].worker for status in statuses)
        assert set(takers) == homes
        assert [worker.id for worker in client.workers()] == [statuses[-1].attempts[0].worker]
