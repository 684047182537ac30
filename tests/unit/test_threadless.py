"""Jobs that keep no thread: begun, answered by whatever thread, and landed together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from warmlane import codec
from warmlane.jobs import Job, PredictJob
from warmlane.ops import Finish, ReportProgress, Start, Verdict
from warmlane.results import State
from warmlane_workers.context import JobContext
from warmlane_workers.lifecycle import Lifecycle
from warmlane_workers.threadless import Threadless

LIMIT_S = 10
JOB = PredictJob(model="m", inputs="x")


class Store:
    """Takes everything; notes what came in one round trip.

    Attributes:
        verdict: of the jobs that are taken up.
        cancel: whether a report hears that the job was cancelled.
        breaks: whether it raises what nobody foresaw.
    """

    def __init__(self) -> None:
        self.verdict = Verdict("run", 1)
        self.cancel = self.breaks = False
        self.trips: list[list[Any]] = []
        self.changed = threading.Condition()

    def run(self, op: Any) -> Any:
        return self.run_all([op])[0]

    def run_all(self, ops: Sequence[Any]) -> list[Any]:
        if self.breaks:
            raise ZeroDivisionError
        with self.changed:
            self.trips.append(list(ops))
            self.changed.notify_all()
        return [self._reply(op) for op in ops]

    def _reply(self, op: Any) -> Any:
        if isinstance(op, Start):
            return Verdict("run", 1) if op.alone else self.verdict
        return self.cancel if isinstance(op, ReportProgress) else True

    def of(self, kind: type[Any]) -> list[Any]:
        return [op for trip in self.trips for op in trip if isinstance(op, kind)]

    def finished(self, count: int = 1) -> list[Finish]:
        """The commits, when there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(Finish)) >= count, LIMIT_S)
        return self.of(Finish)


class Begun:
    """A begun job that the test answers."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self._call: Callable[[], None] | None = None
        self.closed = 0

    def when_ready(self, call: Callable[[], None]) -> None:
        self._call = call

    def ready(self) -> None:
        assert self._call is not None
        self._call()

    def answer(self) -> Any:
        return self._answer()

    def progress(self) -> tuple[float, str]:
        return 0.0, "rows 0/1"

    def close(self) -> None:
        self.closed += 1


class Planned:
    """A job that can be begun."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Life:
    """A life cycle whose jobs are begun as the test says.

    Attributes:
        plans: whether a job can be begun.
        begins: whether one that can is, or needs a thread after all.
        planned: what could be begun.
        begun: the jobs on their way.
        handled: in whose threads the handler ran.
    """

    def __init__(self, answer: Callable[[], Any] = lambda: "answer") -> None:
        self.store = Store()
        self.plans = self.begins = True
        self.planned: list[Planned] = []
        self.begun: list[Begun] = []
        self.handled: list[threading.Thread] = []
        self.told: list[str] = []
        self._answer = answer
        self.lifecycle = Lifecycle(
            self.store,  # type: ignore[arg-type]
            "w",
            {"predict": self._handle},
            60,
            lambda queue, job_id: self.told.append(job_id),
            "life",
        )
        self.threadless = Threadless(self.lifecycle, self)

    def _handle(self, job: PredictJob, context: JobContext) -> Any:
        self.handled.append(threading.current_thread())
        return "by itself"

    def plan(self, jobs: Sequence[Job]) -> list[Planned | None]:
        made = [Planned() if self.plans else None for _ in jobs]
        self.planned += [one for one in made if one is not None]
        return made

    def begin(self, asked: Sequence[tuple[Any, JobContext]]) -> list[Begun | None]:
        made = [Begun(self._answer) if self.begins else None for _ in asked]
        self.begun += [one for one in made if one is not None]
        return made

    def come(self, *job_ids: str) -> frozenset[str]:
        """The ids of those that have begun."""
        return self.threadless.begin("predict", [(job_id, JOB) for job_id in job_ids or "a"])

    def wait(self) -> bool:
        return self.threadless.wait(LIMIT_S)

    def result(self) -> Any:
        (finish,) = self.store.finished()
        assert finish.outcome.result is not None
        return codec.decode("result", finish.outcome.result)


def code_of(finish: Finish) -> str:
    assert finish.outcome.error is not None
    return str(finish.outcome.error["code"])


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked after flights often."""
    monkeypatch.setattr("warmlane_workers.flights.LOOK_S", 0.02)


def test_a_begun_job_keeps_no_thread() -> None:
    """It is answered later, and its message acknowledged with its outcome."""
    life = Life()
    assert life.come() == {"a"}
    assert not life.store.of(Finish)
    assert (life.told, life.lifecycle.running) == ([], 1)
    life.begun[0].ready()
    assert life.result() == "answer"
    assert life.wait()
    assert (life.told, life.begun[0].closed, life.lifecycle.running) == (["a"], 1, 0)


def test_jobs_that_come_together_are_taken_up_together() -> None:
    """One round trip for all."""
    life = Life()
    assert life.come("a", "b", "c") == {"a", "b", "c"}
    assert [len(trip) for trip in life.store.trips] == [3]


def test_what_cannot_be_begun_is_not_touched() -> None:
    """It is not taken up: should it go back to the queue, no attempt has been counted."""
    life = Life()
    life.plans = False
    assert not life.come()
    assert not life.store.trips


@pytest.mark.parametrize("word", ["cancelled", "late", "final", "missing", "poison", "suspect"])
def test_a_job_that_may_not_run_now_is_left_to_a_thread(word: str) -> None:
    """It lets go of its model and of its place; the thread hears the same and obeys."""
    life = Life()
    life.store.verdict = Verdict(word, 2, 1)
    assert not life.come()
    assert life.planned[0].closed == 1
    assert life.lifecycle.gate.enter(1)
    assert (life.begun, life.lifecycle.running, life.wait()) == ([], 0, True)


def test_a_job_that_cannot_be_begun_after_all_runs_by_itself() -> None:
    """It was taken up already, so a thread of its own runs it, and a drain waits for that."""
    life = Life()
    life.begins = False
    assert life.come() == {"a"}
    assert life.wait()
    assert (life.result(), life.told, len(life.handled)) == ("by itself", ["a"], 1)
    assert life.handled != [threading.current_thread()]


def test_nothing_begins_beside_one_that_is_alone() -> None:
    """While a suspect runs, jobs are left to threads, which wait at the gate: the consumer does not."""
    life = Life()
    with life.lifecycle.gate.alone():
        assert not life.come()
    assert (life.planned[0].closed, life.store.trips) == (1, [])


def test_a_store_that_breaks_leaves_nobody_inside() -> None:
    """What a take-up raises is the consumer's to hear; neither the gate nor a model stays taken."""
    life = Life()
    life.store.breaks = True
    with pytest.raises(ZeroDivisionError):
        life.come()
    assert life.planned[0].closed == 1
    with life.lifecycle.gate.alone():
        pass


def test_a_job_without_an_answer_is_run_again_by_itself() -> None:
    """When a begun job fails, its handler runs in a thread of its own, and its word counts."""

    def fail() -> Any:
        raise ValueError("a row is no good")

    life = Life(fail)
    life.come()
    life.begun[0].ready()
    assert life.result() == "by itself"
    assert life.wait()
    assert (len(life.handled), life.begun[0].closed, life.lifecycle.running) == (1, 1, 0)


def test_a_result_that_cannot_be_written_is_heard_of() -> None:
    """A value that does not travel fails the job as its handler would, and strands nothing."""
    life = Life(lambda: object())
    life.come()
    life.begun[0].ready()
    assert life.result() == "by itself"


@pytest.mark.usefixtures("brief")
def test_a_begun_job_can_be_cancelled() -> None:
    """Somebody's wish is heard while the job is on the device, and ends it there."""
    life = Life()
    life.come()
    life.store.cancel = True
    (finish,) = life.store.finished()
    assert (finish.outcome.state, code_of(finish)) == (State.CANCELLED, "job_cancelled")
    life.begun[0].ready()  # too late
    assert life.wait()
    assert (len(life.store.of(Finish)), life.begun[0].closed) == (1, 1)


def test_a_begun_job_ends_at_its_deadline() -> None:
    """Not at the next look: a caller with a deadline of a moment hears at that moment."""
    life = Life()
    life.store.verdict = Verdict("run", 1, left_s=0.05)
    began = time.monotonic()
    life.come()
    (finish,) = life.store.finished()
    assert code_of(finish) == "job_expired"
    assert time.monotonic() - began < 0.9


@pytest.mark.usefixtures("brief")
def test_a_long_flight_says_how_far_it_is() -> None:
    """Reports go on while a job is on the device."""
    life = Life()
    life.come()
    with life.store.changed:
        assert life.store.changed.wait_for(lambda: len(life.store.of(ReportProgress)) >= 2, LIMIT_S)
    life.begun[0].ready()
    assert life.result() == "answer"


def test_jobs_that_are_ready_together_are_committed_together() -> None:
    """What is ready by the time that the first is committed shares one round trip."""
    life, hold = Life(), threading.Event()
    life.come("a", "b", "c")
    life.begun[0]._answer = lambda: hold.wait(LIMIT_S)
    for one in life.begun:
        one.ready()
    hold.set()
    life.store.finished(3)
    assert len([trip for trip in life.store.trips if isinstance(trip[0], Finish)]) <= 2


def test_a_suspect_waits_for_the_jobs_on_the_device() -> None:
    """A job that runs alone does not run beside one that keeps no thread."""
    life = Life()
    life.come("a")
    life.store.verdict = Verdict("suspect", 2, 1)
    with ThreadPoolExecutor(1) as pool:
        alone = pool.submit(life.lifecycle.work, "predict", "b", JOB)
        while not life.lifecycle.gate._wanting:
            assert not alone.done()
        assert not life.handled
        life.begun[0].ready()
        alone.result(LIMIT_S)
    assert len(life.handled) == 1
