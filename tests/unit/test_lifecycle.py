"""One job's life on a worker, on a store that is a dozen lines of memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from warmlane import codec
from warmlane.dead import Bury
from warmlane.errors import CodecError, InputTooLong, JobExpired, ServerUnreachable
from warmlane.jobs import LoadJob, PredictJob, SaveJob
from warmlane.keys import queue_of
from warmlane.ops import PATIENCE, Finish, ReportProgress, Start, Verdict
from warmlane.records import Outcome
from warmlane.results import State
from warmlane_workers.context import REPORT_S, JobContext
from warmlane_workers.lifecycle import Lifecycle
from warmlane_workers.observer import Ended, Observer

JOB_ID = "0" * 32
PREDICT = PredictJob(model="echo", inputs=["a very secret text"])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not take an outcome is asked again at once."""
    monkeypatch.setattr("warmlane_workers.insisting.INSIST_S", 0.0)


class Store:
    """Answers as told, and remembers what it was asked.

    Attributes:
        away: how many of the next operations meet no server.
    """

    def __init__(self, verdict: tuple[str, int] = ("run", 1), *, cancel: bool = False) -> None:
        self.verdict = Verdict(*verdict)
        self.cancel = cancel
        self.away = 0
        self.ops: list[Any] = []

    def run(self, op: Any) -> Any:
        self.ops.append(op)
        if self.away:
            self.away -= 1
            raise ServerUnreachable("no Redis answers")
        return self.verdict if isinstance(op, Start) else self.cancel

    def run_all(self, ops: Sequence[Any]) -> list[Any]:
        return [self.run(op) for op in ops]

    @property
    def finished(self) -> list[Finish]:
        return [op for op in self.ops if isinstance(op, Finish)]

    @property
    def reported(self) -> list[ReportProgress]:
        return [op for op in self.ops if isinstance(op, ReportProgress)]

    @property
    def outcome(self) -> Outcome:
        (finish,) = self.finished
        return finish.outcome


class Life:
    """A life cycle with one handler for all kinds."""

    def __init__(self, handler: Callable[[Any, JobContext], Any], store: Store | None = None) -> None:
        self.store = store or Store()
        self.settled: list[tuple[str, str]] = []
        handlers = dict.fromkeys(("predict", "load", "save"), handler)
        self.lifecycle = Lifecycle(self.store, "worker-1", handlers, 60, self._on_settled, "life-1")  # type: ignore[arg-type]

    def _on_settled(self, queue: str, message_id: str) -> None:
        assert self.store.finished, "settled before the commit"
        self.settled.append((queue, message_id))

    def work(self, job: Any = PREDICT) -> Outcome:
        self.lifecycle.work(queue_of(job.kind), JOB_ID, job)
        return self.store.outcome


def echo(job: PredictJob, context: JobContext) -> Any:
    return job.inputs


def never(job: PredictJob, context: JobContext) -> Any:
    raise AssertionError("this job must not run")


def raising(error: BaseException) -> Callable[[Any, JobContext], Any]:
    def handler(job: Any, context: JobContext) -> Any:
        raise error

    return handler


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_a_result_is_committed_and_its_message_settled() -> None:
    """The handler's value is committed as SUCCEEDED, in the same step that acknowledges the message."""
    life = Life(echo)
    outcome = life.work()
    assert outcome.state is State.SUCCEEDED
    assert outcome.result is not None
    assert codec.decode("result", outcome.result) == PREDICT.inputs
    (finish,) = life.store.finished
    assert (finish.queue_name, finish.broker_id, finish.result_ttl_s) == ("predict", "worker-1", 60)
    assert life.settled == [("predict", JOB_ID)]


@pytest.mark.parametrize(
    ("job", "queue"),
    [(LoadJob(model="m"), "predict"), (SaveJob(name="m", source="warmlane:echo"), "manage")],
)
def test_the_message_is_acknowledged_in_the_queue_of_its_kind(job: Any, queue: str) -> None:
    """A job's commit names the queue that carried it."""
    life = Life(lambda job, context: None)
    life.work(job)
    assert life.store.finished[0].queue_name == queue
    assert life.settled == [(queue, JOB_ID)]


def test_the_handler_sees_which_attempt_it_is() -> None:
    """The context carries the job's id and the attempt's number, which a second run needs to publish once."""
    life = Life(lambda job, context: [context.job_id, context.attempt], Store(("run", 3)))
    outcome = life.work()
    assert outcome.result is not None
    assert codec.decode("result", outcome.result) == [JOB_ID, 3]


def test_an_attempt_is_counted_against_the_limit() -> None:
    """Taking a job up names the worker, its process, and how often a job may be tried."""
    life = Life(echo)
    life.work()
    assert life.store.ops[0] == Start(JOB_ID, "worker-1", "life-1", patience=PATIENCE)


def test_an_error_of_ours_arrives_as_it_is() -> None:
    """A `WarmlaneError` fails the job with its code, message and details."""
    error = InputTooLong("a row has 600 tokens", tokens=600, limit=512)
    outcome = Life(raising(error)).work()
    assert (outcome.state, outcome.error) == (State.FAILED, error.to_dict())


def test_a_foreign_error_does_not_quote_the_payload(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody translated is an `InternalError` with its class and job, never its text."""
    outcome = Life(raising(ValueError(f"cannot parse {PREDICT.inputs[0]}"))).work()
    assert outcome.state is State.FAILED
    assert outcome.error is not None
    assert outcome.error["code"] == "internal_error"
    assert "ValueError" in outcome.error["message"]
    assert outcome.error["details"] == {"id": JOB_ID, "worker": "worker-1"}
    assert "secret" not in str(outcome.error)
    assert caplog.records[0].__dict__["job_id"] == JOB_ID


def test_a_result_that_cannot_travel_fails_the_job() -> None:
    """A handler's value of a foreign type ends in `CodecError`, not in a job without an end."""
    outcome = Life(lambda job, context: object()).work()
    assert outcome.state is State.FAILED
    assert outcome.error is not None
    assert outcome.error["code"] == CodecError.code


def test_a_passed_deadline_is_a_state_of_its_own() -> None:
    """`JobExpired` ends a job as EXPIRED."""
    assert Life(raising(JobExpired("too late"))).work().state is State.EXPIRED


class Seen(Observer):
    """Remembers the jobs that ended."""

    def __init__(self) -> None:
        self.jobs: list[Ended] = []

    def ended(self, job: Ended) -> None:
        self.jobs.append(job)


@pytest.mark.parametrize(
    ("handler", "verdict", "outcome", "waited"),
    [
        (echo, ("run", 1, 0, None, "normal", 1.5), "succeeded", 1.5),
        (echo, ("run", 2, 0, None, "normal", 60.0), "succeeded", None),
        (raising(InputTooLong("long")), ("run", 1, 0, None, "normal", 1.5), "input_too_long", 1.5),
        (never, ("poison", 5), "poison_job", None),
    ],
)
def test_an_observer_is_told_of_each_job_that_ended(
    handler: Any, verdict: Any, outcome: str, waited: float | None
) -> None:
    """Once committed: its kind, its model's name, how it ended, and its time in the queue if it comes from there."""
    seen = Seen()
    store = Store(verdict)
    life = Lifecycle(store, "w", {"predict": handler}, 60, lambda queue, id: None, "life-1", observer=seen)  # type: ignore[arg-type]
    life.work("predict", JOB_ID, PredictJob(model="sentiment@prod", inputs="x"))
    (job,) = seen.jobs
    assert job._replace(commit_s=0.0) == Ended("predict", "sentiment", outcome, waited, 0.0)
    assert 0 <= job.commit_s < 60


# -- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["missing", "final"])
def test_a_job_with_nothing_left_to_do_is_not_run_and_not_committed(verdict: str) -> None:
    """A redelivered message of a job that has ended, or whose record is gone, is left to be acknowledged."""
    life = Life(never, Store((verdict, 0)))
    life.lifecycle.work("predict", JOB_ID, PREDICT)
    assert life.store.finished == []
    assert life.settled == []


def test_a_job_that_was_cancelled_before_its_start_is_not_run() -> None:
    """The verdict "cancelled" commits CANCELLED without running."""
    outcome = Life(never, Store(("cancelled", 0))).work()
    assert outcome.state is State.CANCELLED
    assert outcome.error is not None
    assert outcome.error["code"] == "job_cancelled"


def test_a_job_that_lost_its_worker_too_often_is_poison() -> None:
    """The verdict "poison" fails the job, says how often it was tried, and does not run it again."""
    outcome = Life(never, Store(("poison", 5))).work()
    assert outcome.state is State.FAILED
    assert outcome.error is not None
    assert outcome.error["code"] == "poison_job"
    assert outcome.error["details"] == {"id": JOB_ID, "attempts": 5, "crashes": 0}


# -- reports ---------------------------------------------------------------------------------------------------------


def test_a_cancel_is_heard_at_the_next_report() -> None:
    """A running job that reports learns that somebody wants it cancelled, and ends as CANCELLED."""

    def handler(job: Any, context: JobContext) -> Any:
        context.report(0.5, "rows 1/2")
        raise AssertionError("went on after a cancel")

    assert Life(handler, Store(cancel=True)).work().state is State.CANCELLED


def test_reports_of_one_phase_are_rare_and_a_new_phase_is_told_at_once() -> None:
    """Within `REPORT_S` a phase is told once, whatever it counts; the next phase does not wait."""
    store = Store()
    context = JobContext(store, JOB_ID, 1)  # type: ignore[arg-type]
    context.tell(State.LOADING, "loading")
    for row in range(100):
        context.report(row / 100, f"rows {row}/100")
    context.report(1.0, "assembling")
    assert [(op.progress.phase, op.state) for op in store.reported] == [
        ("loading", State.LOADING),
        ("rows 0/100", State.RUNNING),
        ("assembling", State.RUNNING),
    ]
    assert REPORT_S > 0


def test_a_load_is_not_ended_by_a_cancel_of_the_job_that_began_it() -> None:
    """Other jobs wait for a load, so telling of it raises nothing, whatever becomes of its own job."""
    JobContext(Store(cancel=True), JOB_ID, 1).tell(State.LOADING, "loading")  # type: ignore[arg-type]


def test_running_counts_jobs_that_run_now() -> None:
    """The number of running jobs is one inside a handler and none after it, even after a failure."""
    seen: list[int] = []

    def handler(job: Any, context: JobContext) -> Any:
        seen.append(life.lifecycle.running)
        raise RuntimeError

    life = Life(handler)
    life.work()
    assert seen == [1]
    assert life.lifecycle.running == 0


# -- a server that is away -------------------------------------------------------------------------------------------


def test_a_commit_insists_until_the_server_is_back() -> None:
    """A server that is away at the end of a job loses no result: the commit is tried until it is in."""
    store = Store()

    def handler(job: Any, context: JobContext) -> Any:
        store.away = 3
        return "done"

    life = Life(handler, store)
    life.lifecycle.work("predict", JOB_ID, PREDICT)
    assert [type(op) for op in store.ops] == [Start, Finish, Finish, Finish, Finish]
    assert len({id(op) for op in store.finished}) == 1
    assert life.settled == [("predict", JOB_ID)]


def test_a_start_insists_as_well() -> None:
    """A job is not run before the server has said that it should be."""
    store = Store()
    store.away = 2
    assert Life(echo, store).work().state is State.SUCCEEDED
    assert [type(op) for op in store.ops] == [Start, Start, Start, Finish]


def test_a_rejected_message_fails_its_job() -> None:
    """It is buried, then acknowledged with its error."""
    life = Life(never)
    life.lifecycle.reject("predict", JOB_ID, CodecError("does not decode"))
    assert life.store.ops[0] == Bury(JOB_ID, "predict", "codec")
    (finish,) = life.store.finished
    assert finish.outcome.error == CodecError("does not decode").to_dict()
    assert (finish.queue_name, finish.broker_id) == ("predict", "worker-1")


def test_what_fails_by_a_bug_is_buried_before_its_outcome_and_what_is_refused_is_not() -> None:
    """An untranslated exception is nobody's wish, so its message is kept; a wrong input is the caller's own."""
    kept = Life(raising(ValueError()))
    kept.work()
    assert [type(op) for op in kept.store.ops] == [Start, Bury, Finish]
    refused = Life(raising(InputTooLong("too long")))
    refused.work()
    assert [type(op) for op in refused.store.ops] == [Start, Finish]


# -- suspects --------------------------------------------------------------------------------------------------------


class SuspectStore(Store):
    """Takes one job for a suspect, which has to be alone."""

    def __init__(self, suspect: str) -> None:
        super().__init__()
        self.suspect = suspect

    def run(self, op: Any) -> Any:
        super().run(op)
        if isinstance(op, Start) and op.job_id == self.suspect and not op.alone:
            return Verdict("suspect", 2, 1)
        return self.verdict if isinstance(op, Start) else False


def test_a_suspect_runs_while_nothing_else_does() -> None:
    """It waits for what runs, counts as taken up only then, and what comes after it waits for its end."""
    store, inside, most, order = SuspectStore("suspect"), set[str](), list[int](), list[str]()
    begun, go_on = threading.Event(), threading.Event()

    def handler(job: Any, context: JobContext) -> Any:
        inside.add(context.job_id)
        order.append(context.job_id)
        if context.job_id == "first":
            begun.set()
            assert go_on.wait(10)
        most.append(len(inside))
        inside.remove(context.job_id)

    life = Life(handler, store)
    threads = [
        threading.Thread(target=life.lifecycle.work, args=("predict", job_id, PREDICT))
        for job_id in ("first", "suspect")
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    while len([op for op in store.ops if isinstance(op, Start)]) < 2 or not life.lifecycle.gate._wanting:
        threading.Event().wait(0.001)
    threads.append(threading.Thread(target=life.lifecycle.work, args=("predict", "late", PREDICT)))
    threads[2].start()
    starts = [(op.job_id, op.alone) for op in store.ops if isinstance(op, Start)]
    assert starts == [("first", False), ("suspect", False)]  # neither counted, nor overtaken
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "suspect", "late"]
    assert set(most) == {1}


def test_what_ran_names_the_process_that_ran_it() -> None:
    """The commit takes the job off the list of what its process runs."""
    life = Life(echo)
    life.work()
    assert life.store.finished[0].life == "life-1"
