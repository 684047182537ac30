"""The flows of both clients, driven by hand: what they ask, in which order, and what they make of the replies."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from warmlane import Settings, codec
from warmlane._slots import Pause, Slot, Slots
from warmlane._wire import MODEL_INFO_TTL_S, RECHECK_S, REGISTRY_TTL_S, Flow, Wire
from warmlane.errors import (
    InternalError,
    JobCancelled,
    JobNotFound,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    SchemaError,
    ServerUnreachable,
    SourceError,
)
from warmlane.jobs import AS_EVER, Job, LoadJob, Options, PredictJob, SaveJob, new_id
from warmlane.lanes import Accepted, Submit
from warmlane.ops import Cancel, Watch
from warmlane.records import Outcome
from warmlane.registry import ReadModel, ReadModels, ReadWorkers
from warmlane.results import JobStatus, ModelInfo, Progress, State, WarmModel, WorkerInfo
from warmlane.signature import DEFAULTS

JOB_ID = new_id()
DONE = codec.encode("result", ["POSITIVE"])
TYPED = ModelInfo("m", (1,), "fill-mask", None, 1, DEFAULTS["fill-mask"])
PREDICT = PredictJob(model="m", inputs=["a"])


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wire(clock: Clock) -> Wire:
    return Wire(Settings(result_ttl_s=60), Slots(threading.Event), clock)


class Drive:
    """One flow: `wants` is what it asks for, until it has ended with `value` or has raised."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.value: Any = None
        self.wants: Any = None
        self.ended = False
        self.send(None)

    def send(self, reply: Any) -> None:
        try:
            self.wants = self.flow.send(reply)
        except StopIteration as stop:
            self.value, self.wants, self.ended = stop.value, None, True

    def throw(self, error: Exception) -> None:
        self.wants = self.flow.throw(error)


def record(state: State, error: dict[str, Any] | None = None) -> JobStatus:
    return JobStatus(JOB_ID, "predict", state, "m", 1.0, None, None, Progress(0, "queued"), (), False, error)


def own_slot(wire: Wire) -> Slot:
    """The slot of a job that this client has enqueued."""
    slot = wire.slots.open(JOB_ID)
    submitted(wire, LoadJob(model="m"), slot)
    return slot


def submitted(wire: Wire, job: Job, slot: Slot | None = None, options: Options = AS_EVER) -> Submit:
    """What is enqueued for a job where one model is known and no worker, after everything that is asked before."""
    drive = Drive(wire.submit(job, JOB_ID, slot or wire.slots.open(JOB_ID), options))
    while not isinstance(drive.wants, Submit):
        drive.send((TYPED, 1) if isinstance(drive.wants, ReadModel) else [])
    wanted = drive.wants
    drive.send(Accepted(True))
    assert drive.ended
    return wanted


# -- submit ----------------------------------------------------------------------------------------------------------


def test_a_prediction_asks_for_its_model_and_then_goes_to_the_queue(wire: Wire) -> None:
    """The model's record is read first; the job is then submitted with its id and this client's inbox."""
    drive = Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID)))
    assert drive.wants == ReadModel("m", None)
    drive.send((TYPED, 1))
    assert drive.wants == ReadWorkers()
    drive.send([])
    assert isinstance(drive.wants, Submit)
    assert (drive.wants.message.message_id, drive.wants.inbox) == (JOB_ID, wire.slots.id)
    drive.send(Accepted(True))
    assert drive.ended


def test_a_version_is_asked_for_by_its_number(wire: Wire) -> None:
    """`m/3` reads the record of version 3."""
    job = PredictJob(model="m/3", inputs=["a"])
    assert Drive(wire.submit(job, JOB_ID, wire.slots.open(JOB_ID))).wants == ReadModel("m", 3)


def test_a_predict_on_an_alias_asks_for_what_it_means(wire: Wire) -> None:
    """The inputs are checked against the version that the alias means."""
    job = PredictJob(model="m@prod", inputs=["a"])
    assert Drive(wire.submit(job, JOB_ID, wire.slots.open(JOB_ID))).wants == ReadModel("m", None, "prod")


def test_jobs_without_a_device_go_to_the_queue_at_once(wire: Wire) -> None:
    """A save asks for nothing first: any worker can do it."""
    job = SaveJob(name="m", source="org/repo")
    assert isinstance(Drive(wire.submit(job, JOB_ID, wire.slots.open(JOB_ID))).wants, Submit)


def test_the_workers_are_asked_for_once_a_second(wire: Wire, clock: Clock) -> None:
    """A second load within the time goes to the queue at once; a later one asks who is there."""
    submitted(wire, LoadJob(model="m"))
    clock.now += REGISTRY_TTL_S - 0.1
    assert isinstance(Drive(wire.submit(LoadJob(model="m"), JOB_ID, wire.slots.open(JOB_ID))).wants, Submit)
    clock.now += 0.1
    assert Drive(wire.submit(LoadJob(model="m"), JOB_ID, wire.slots.open(JOB_ID))).wants == ReadWorkers()


def test_what_is_known_of_a_model_is_believed_for_a_while(wire: Wire, clock: Clock) -> None:
    """A second prediction within 5 s does not ask again; a later one does."""
    submitted(wire, PREDICT)
    clock.now += MODEL_INFO_TTL_S - 0.1
    assert Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID))).wants == ReadWorkers()
    clock.now += 0.1
    assert isinstance(Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID))).wants, ReadModel)


def test_an_unknown_model_with_live_workers_is_refused(wire: Wire) -> None:
    """Where workers live and none has published the model, nothing is enqueued; the message says what lists models."""
    drive = Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID)))
    with pytest.raises(ModelNotFound, match=r"client\.models\(\)") as caught:
        drive.send((None, 2))
    assert caught.value.details == {"model": "m"}


def test_an_unknown_model_without_workers_is_enqueued(wire: Wire) -> None:
    """Before any worker has told what there is, the job waits for one; nothing is remembered of the model."""
    drive = Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID)))
    drive.send((None, 0))
    drive.send([])
    assert isinstance(drive.wants, Submit)
    assert isinstance(Drive(wire.submit(PREDICT, JOB_ID, wire.slots.open(JOB_ID))).wants, ReadModel)


def test_inputs_that_do_not_fit_are_refused_before_they_are_enqueued(wire: Wire) -> None:
    """A row that the published signature rules out ends the submission with a SchemaError."""
    drive = Drive(wire.submit(PredictJob(model="m", inputs=[7]), JOB_ID, wire.slots.open(JOB_ID)))
    with pytest.raises(SchemaError):
        drive.send((TYPED, 1))


# -- result: news ----------------------------------------------------------------------------------------------------


def test_an_event_before_the_wait_needs_no_question(wire: Wire) -> None:
    """When the outcome has arrived before `result` is called, the store is not asked at all."""
    slot = own_slot(wire)
    wire.slots.deliver(Outcome(State.SUCCEEDED, DONE).event(JOB_ID))
    drive = Drive(wire.result(JOB_ID, slot, 1))
    assert (drive.ended, drive.value) == (True, ["POSITIVE"])


def test_an_event_during_the_wait_ends_it(wire: Wire) -> None:
    """The waiting side pauses on its slot; the event sets it, and the result comes without another question."""
    slot = own_slot(wire)
    drive = Drive(wire.result(JOB_ID, slot, None))
    assert drive.wants == Pause(slot, RECHECK_S)
    wire.slots.deliver(Outcome(State.SUCCEEDED, DONE).event(JOB_ID))
    assert slot.wake.is_set()
    drive.send(None)
    assert drive.value == ["POSITIVE"]


def test_a_job_of_somebody_else_is_read_first(wire: Wire) -> None:
    """For a job by its id the record is read, with our inbox to be told; when it has ended, that is the answer."""
    drive = Drive(wire.result(JOB_ID, wire.slots.open(JOB_ID), 5))
    assert drive.wants == Watch(JOB_ID, wire.slots.id)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def test_a_lost_event_is_found_in_the_record(wire: Wire, clock: Clock) -> None:
    """After ten seconds without news the record is read again, and its result returned."""
    drive = Drive(wire.result(JOB_ID, own_slot(wire), None))
    clock.now += RECHECK_S
    drive.send(None)
    assert drive.wants == Watch(JOB_ID, wire.slots.id)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def test_a_job_that_goes_on_is_waited_for_again(wire: Wire, clock: Clock) -> None:
    """A recheck that finds the job running leads to the next pause, for as long as nobody set a time-out."""
    drive = Drive(wire.result(JOB_ID, own_slot(wire), None))
    for _ in range(5):
        clock.now += RECHECK_S
        drive.send(None)
        drive.send((record(State.RUNNING), None))
        assert isinstance(drive.wants, Pause)


def test_after_a_reconnection_the_record_is_read_again(wire: Wire) -> None:
    """Doubt wakes everybody who waits, and each reads the record before it believes in events again."""
    slot = own_slot(wire)
    drive = Drive(wire.result(JOB_ID, slot, None))
    wire.slots.doubt()
    assert slot.wake.is_set()
    drive.send(None)
    assert isinstance(drive.wants, Watch)
    drive.send((record(State.RUNNING), None))
    assert isinstance(drive.wants, Pause)
    assert not slot.wake.is_set()


def test_an_event_that_cannot_be_read_is_a_reason_for_doubt(wire: Wire) -> None:
    """Bytes on the inbox that are no event raise nothing there; whoever waits reads the record."""
    slot = own_slot(wire)
    bad = [b"", b"hello", codec.encode("event", []), codec.encode("event", {"id": [], "state": "x"}), DONE]
    for data in (*bad, Outcome(State.RUNNING).event(JOB_ID)):
        slot.wake.clear()
        slot.told = True
        wire.slots.deliver(data)
        assert (slot.told, slot.outcome, slot.wake.is_set()) == (False, None, True)


def test_a_large_result_is_fetched(wire: Wire) -> None:
    """An event without the result leads to one read of the record, which has it."""
    slot = own_slot(wire)
    wire.slots.deliver(Outcome(State.SUCCEEDED).event(JOB_ID))
    drive = Drive(wire.result(JOB_ID, slot, 1))
    assert isinstance(drive.wants, Watch)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def test_a_result_can_be_asked_for_again(wire: Wire) -> None:
    """The second call of `result` on a handle returns the same without a question."""
    slot = wire.slots.open(JOB_ID)
    Drive(wire.result(JOB_ID, slot, 5)).send((record(State.SUCCEEDED), DONE))
    assert Drive(wire.result(JOB_ID, slot, 5)).value == ["POSITIVE"]


# -- result: time ----------------------------------------------------------------------------------------------------


def test_no_pause_is_longer_than_what_is_left(wire: Wire, clock: Clock) -> None:
    """A time-out of 12 s is a pause of 10 s, one question, and a pause of 2 s."""
    slot = own_slot(wire)
    drive = Drive(wire.result(JOB_ID, slot, 12))
    assert drive.wants == Pause(slot, 10)
    clock.now += 10
    drive.send(None)
    drive.send((record(State.RUNNING), None))
    assert drive.wants == Pause(slot, 2)


def test_the_record_is_read_once_more_before_the_timeout(wire: Wire, clock: Clock) -> None:
    """At the deadline a last look finds a result whose event was lost."""
    drive = Drive(wire.result(JOB_ID, own_slot(wire), 1))
    clock.now += 1
    drive.send(None)
    assert isinstance(drive.wants, Watch)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def wait_out(drive: Drive, clock: Clock) -> None:
    """The job goes on whatever is asked, and every pause passes."""
    for _ in range(10):
        if isinstance(drive.wants, Pause):
            clock.now += drive.wants.seconds
            drive.send(None)
        else:
            drive.send((record(State.RUNNING), None))
    raise AssertionError("the flow goes on")


@pytest.mark.parametrize("timeout", [0, 0.5, 25])
def test_a_timeout_says_that_the_job_goes_on(wire: Wire, clock: Clock, timeout: float) -> None:
    """When time is up the call ends with a ResultTimeout that has the id; the handle can be asked again."""
    slot, began = own_slot(wire), clock.now
    with pytest.raises(ResultTimeout, match="it goes on, ask again") as caught:
        wait_out(Drive(wire.result(JOB_ID, slot, timeout)), clock)
    assert caught.value.details == {"id": JOB_ID}
    assert clock.now - began == timeout
    wire.slots.deliver(Outcome(State.SUCCEEDED, DONE).event(JOB_ID))
    assert Drive(wire.result(JOB_ID, slot, 0)).value == ["POSITIVE"]


def test_a_timeout_of_zero_looks_once(wire: Wire) -> None:
    """`result(timeout=0)` never pauses: it reads the record, and returns a result that is there."""
    drive = Drive(wire.result(JOB_ID, own_slot(wire), 0))
    assert isinstance(drive.wants, Watch)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def test_a_server_that_comes_back_in_time_is_forgiven(wire: Wire, clock: Clock) -> None:
    """With a time-out, a lost server is asked again after a pause, and the result returned."""
    drive = Drive(wire.result(JOB_ID, wire.slots.open(JOB_ID), 30))
    drive.throw(ServerUnreachable("gone"))
    assert isinstance(drive.wants, Pause)
    clock.now += drive.wants.seconds
    drive.send(None)
    assert isinstance(drive.wants, Watch)
    drive.send((record(State.SUCCEEDED), DONE))
    assert drive.value == ["POSITIVE"]


def test_a_server_that_stays_away_is_the_error(wire: Wire, clock: Clock) -> None:
    """At the deadline a lost server is a ServerUnreachable and no ResultTimeout."""
    drive = Drive(wire.result(JOB_ID, wire.slots.open(JOB_ID), 1))
    drive.throw(ServerUnreachable("gone"))
    clock.now += 1
    drive.send(None)
    with pytest.raises(ServerUnreachable):
        drive.throw(ServerUnreachable("gone"))


def test_without_a_timeout_a_lost_server_is_told_at_once(wire: Wire) -> None:
    """Who waits without a time-out hears of a lost server instead of waiting for ever."""
    drive = Drive(wire.result(JOB_ID, wire.slots.open(JOB_ID), None))
    with pytest.raises(ServerUnreachable):
        drive.throw(ServerUnreachable("gone"))


# -- result: other ends ----------------------------------------------------------------------------------------------


def ended(wire: Wire, state: State, error: Any) -> None:
    """Hear of the end, by event and by record, which have to agree."""
    slot = own_slot(wire)
    wire.slots.deliver(Outcome(state, error=error).event(JOB_ID))
    with pytest.raises(Exception) as by_event:
        Drive(wire.result(JOB_ID, slot, 1))
    other = Wire(wire.settings, Slots(threading.Event), wire.clock)
    drive = Drive(other.result(JOB_ID, other.slots.open(JOB_ID), 1))
    with pytest.raises(by_event.type) as by_record:
        drive.send((record(state, error), None))
    assert str(by_event.value) == str(by_record.value)
    raise by_record.value


def test_a_failed_job_raises_its_own_error(wire: Wire) -> None:
    """The worker's error arrives with class, message and details."""
    with pytest.raises(SourceError, match="not there") as caught:
        ended(wire, State.FAILED, SourceError("not there", field="source").to_dict())
    assert caught.value.details == {"field": "source"}


def test_a_cancelled_job_says_so(wire: Wire) -> None:
    """The result of a cancelled job is a JobCancelled."""
    with pytest.raises(JobCancelled):
        ended(wire, State.CANCELLED, JobCancelled("cancelled", id=JOB_ID).to_dict())


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.EXPIRED])
def test_an_end_without_an_error_is_a_bug(wire: Wire, state: State) -> None:
    """A job that ended badly and carries no error raises InternalError with its id and state."""
    with pytest.raises(InternalError, match=f"{JOB_ID} ended as {state.value}"):
        ended(wire, state, None)


def test_an_expired_result_is_told_apart_from_an_unknown_job(wire: Wire) -> None:
    """A record without its result is ResultExpired, no record is JobNotFound, and asking again is answered at once."""
    slot = wire.slots.open(JOB_ID)
    for reply, kind in (((record(State.SUCCEEDED), None), ResultExpired), (None, JobNotFound)) * 2:
        drive = Drive(wire.result(JOB_ID, slot, None))
        assert isinstance(drive.wants, Watch)
        with pytest.raises(kind) as caught:
            drive.send(reply)
        assert caught.value.details == {"id": JOB_ID}


# -- the other calls -------------------------------------------------------------------------------------------------


def test_a_status_is_read_without_asking_to_be_told(wire: Wire) -> None:
    """`status` reads the record and leaves no inbox there; no record is JobNotFound."""
    drive = Drive(wire.status(JOB_ID))
    assert drive.wants == Watch(JOB_ID, "")
    drive.send((record(State.RUNNING), None))
    assert drive.value == record(State.RUNNING)
    with pytest.raises(JobNotFound):
        Drive(wire.status(JOB_ID)).send(None)


def test_cancelling_returns_the_state_after(wire: Wire) -> None:
    """`cancel` hands over the error that the waiting side will get, and returns the state; no record is JobNotFound."""
    drive = Drive(wire.cancel(JOB_ID))
    assert isinstance(drive.wants, Cancel)
    assert (drive.wants.job_id, drive.wants.error.code, drive.wants.result_ttl_s) == (JOB_ID, "job_cancelled", 60)
    drive.send("RUNNING")
    assert drive.value is State.RUNNING
    with pytest.raises(JobNotFound):
        Drive(wire.cancel(JOB_ID)).send("")


def worker(name: str, *models: str) -> WorkerInfo:
    warm = tuple(WarmModel(model, "fill-mask", "float32", "cpu", 1, False, 0.0) for model in models)
    return WorkerInfo(name, "node", 1, "cpu", "ready", 1, 0, 0, ("predict",), warm)


def test_models_know_who_holds_them_warm(wire: Wire) -> None:
    """Any warm version or alias counts for its model; each worker once, in order."""
    drive = Drive(wire.models())
    assert drive.wants == ReadModels()
    drive.send([TYPED, ModelInfo("cold", (1,), "fill-mask", None, 1, None)])
    assert drive.wants == ReadWorkers()
    drive.send([worker("b", "m/1", "m/2"), worker("a", "m@best"), worker("c", "other")])
    assert [(info.name, info.warm_on) for info in drive.value] == [("m", ("a", "b")), ("cold", ())]


def test_workers_come_by_id(wire: Wire) -> None:
    """The order of the registry does not show."""
    drive = Drive(wire.workers())
    drive.send([worker("b"), worker("a")])
    assert [info.id for info in drive.value] == ["a", "b"]


# -- slots -----------------------------------------------------------------------------------------------------------


def test_handles_of_one_job_share_a_slot() -> None:
    """Two handles of one id in one client wait on the same slot; another id has another."""
    slots = Slots(threading.Event)
    first = slots.open("a")
    assert slots.open("a") is first
    assert slots.open("b") is not first


def test_a_slot_is_forgotten_with_its_last_handle() -> None:
    """When nobody holds a handle any more, the client keeps nothing of the job, and its event goes nowhere."""
    slots = Slots(threading.Event)
    slot = slots.open(JOB_ID)
    slot.told = True
    del slot
    slots.deliver(Outcome(State.SUCCEEDED, DONE).event(JOB_ID))
    assert (slots.open(JOB_ID).told, slots.open(JOB_ID).outcome) == (False, None)


def test_every_client_has_an_inbox_of_its_own() -> None:
    """Inbox ids are new for each client."""
    assert len({Slots(threading.Event).id for _ in range(10)}) == 10
