"""Jobs that the consumer begins, on a real server: they reach no thread of Dramatiq's, and none is lost on the way."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.lane import LIMIT_S, Lane
from warmlane.jobs import Job, PredictJob
from warmlane.keys import PREDICT_QUEUE
from warmlane.results import State
from warmlane_workers import consumer
from warmlane_workers.context import JobContext


class Ready:
    """A job that is answered at once, or when it is told to."""

    def __init__(self, job: PredictJob, hold: threading.Event | None) -> None:
        self._job = job
        self._hold = hold

    def when_ready(self, call: Callable[[], None]) -> None:
        if self._hold is None:
            call()
        else:
            threading.Thread(target=lambda: (self._hold.wait(LIMIT_S), call()), daemon=True).start()  # type: ignore[union-attr]

    def answer(self) -> Any:
        return ["begun", self._job.inputs]

    def progress(self) -> tuple[float, str]:
        return 0.0, "rows 0/1"

    def close(self) -> None:
        return None


class Begins:
    """Begins what it may.

    Attributes:
        groups: how many came at a time.
        fails: how many of the next calls raise.
    """

    def __init__(self, *, hold: threading.Event | None = None, fails: int = 0) -> None:
        self.groups: list[int] = []
        self.fails = fails
        self._hold = hold

    def plan(self, jobs: Sequence[Job]) -> list[Any]:
        self.groups.append(len(jobs))
        if self.fails:
            self.fails -= 1
            raise ZeroDivisionError
        return [
            Ready(job, self._hold) if isinstance(job, PredictJob) and job.inputs != "slow" else None for job in jobs
        ]

    def begin(self, asked: Sequence[tuple[Any, JobContext]]) -> list[Any]:
        return [one for one, _ in asked]


@pytest.fixture
def lane(url: str) -> Iterator[Lane]:
    made = Lane(url, f"begins-{uuid.uuid4().hex[:8]}")
    yield made
    made.stop()
    made.close()


def never(job: PredictJob, context: JobContext) -> Any:
    raise AssertionError("a thread has it")


def test_what_comes_together_begins_together(lane: Lane) -> None:
    """All that one fetch took is begun in one call; each is answered, and acknowledged with its outcome."""
    jobs = [lane.submit(number) for number in range(4)]
    begins = Begins()
    lane.worker(threads=4, handler=never, beginner=begins)
    assert [lane.result(job) for job in jobs] == [["begun", number] for number in range(4)]
    lane.until(lane.nothing_is_left)
    assert begins.groups == [4]


def test_what_cannot_begin_has_a_thread(lane: Lane) -> None:
    """Among jobs that begin, one that does not is run as ever."""
    jobs = [lane.submit(inputs) for inputs in ("a", "slow", "b")]
    lane.worker(beginner=Begins())
    assert [lane.result(job) for job in jobs] == [["begun", "a"], "slow", ["begun", "b"]]
    lane.until(lane.nothing_is_left)


def test_no_more_begin_than_there_is_room_for(lane: Lane) -> None:
    """Jobs that keep no thread count as much as those that do: the rest is left to other workers."""
    hold = threading.Event()
    jobs = [lane.submit(number) for number in range(20)]
    lane.worker("worker-1", threads=4, handler=never, beginner=Begins(hold=hold))
    lane.until(lambda: len(lane.acks("worker-1")) == 5)
    lane.worker("worker-2", threads=4)
    assert [lane.result(job) for job in jobs[5:]] == list(range(5, 20))
    hold.set()
    assert [lane.result(job) for job in jobs[:5]] == [["begun", number] for number in range(5)]


def test_jobs_come_as_room_is_made(lane: Lane) -> None:
    """Far more jobs than a worker may hold are fetched as others end, and not by polling alone."""
    jobs = [lane.submit(number) for number in range(200)]
    lane.worker(threads=4, handler=never, beginner=Begins(), poll_ms=1000)
    assert [lane.result(job) for job in jobs] == [["begun", number] for number in range(200)]


def test_a_bug_in_beginning_loses_no_job(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """What was taken and not begun is swept back into the queue, and is run."""
    jobs = [lane.submit(number) for number in range(3)]
    lane.worker(handler=never, beginner=Begins(fails=1))
    assert [lane.result(job) for job in jobs] == [["begun", number] for number in range(3)]
    assert "ZeroDivisionError" in caplog.text


def test_a_worker_that_is_long_at_beginning_jobs_is_not_taken_for_dead(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats go on, though the consumer itself sends none."""
    monkeypatch.setattr(consumer, "RESCUE_S", 0.05)
    hold, begins = threading.Event(), Begins()
    plan = begins.plan
    monkeypatch.setattr(begins, "plan", lambda jobs: (hold.wait(LIMIT_S), plan(jobs))[1])
    job = lane.submit("long")
    lane.worker(handler=never, beginner=begins)
    lane.until(lambda: bool(lane.acks()))
    for _ in range(3):
        last = lane.heartbeat()
        lane.until(lambda last=last: lane.heartbeat() > last)  # type: ignore[misc]
    hold.set()
    assert lane.result(job) == ["begun", "long"]


def test_a_draining_worker_begins_nothing(lane: Lane) -> None:
    """Its consumers only say that they live."""
    begins = Begins()
    worker = lane.worker(handler=never, beginner=begins)
    worker.broker.draining = True
    worker.broker.ring()
    last = lane.heartbeat()
    lane.until(lambda: lane.heartbeat() > last)
    job = lane.submit("late")
    lane.until(lambda: lane.heartbeat() > last + 200)
    assert (begins.groups, lane.acks(), lane.status(job).state) == ([], set(), State.QUEUED)
    assert lane.redis.llen(lane.names.queue(PREDICT_QUEUE)) == 1
