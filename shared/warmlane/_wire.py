"""The core of both clients, without any I/O: what to ask of the store, in which order, and what the replies mean.

A flow is a generator. It yields what it needs done (an `Op` for the store, or a `Pause` until news or a time) and is
sent the reply; its return value is the call's. `warmlane.client` drives flows with threads, `warmlane.aio` in an event
loop, `warmlane.testing` in memory.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from warmlane import codec, errors, jobs
from warmlane.errors import (
    CodecError,
    JobCancelled,
    JobNotFound,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    ServerUnreachable,
)
from warmlane.jobs import Job, JobMessage, LoadJob, PersistJob, PredictJob, SaveJob, UnloadJob
from warmlane.model import ModelRef
from warmlane.ops import Cancel, Op, ReadModel, ReadModels, ReadWorkers, Submit, Watch
from warmlane.records import Outcome
from warmlane.results import JobStatus, ModelInfo, State, WorkerInfo
from warmlane.settings import Settings
from warmlane.signature import check_inputs

T = TypeVar("T")
J = TypeVar("J", covariant=True)

#: How long a client believes what it read of a model before it asks again, in seconds.
MODEL_INFO_TTL_S = 5.0
#: A waiting caller reads the record again after this long without news, in case an event was lost.
RECHECK_S = 10.0


class Event(Protocol):
    """The part of `threading.Event` and `asyncio.Event` that the core touches."""

    def set(self) -> None: ...
    def clear(self) -> None: ...


@dataclass(eq=False)
class Slot:
    """One job that this process waits for, or may.

    Attributes:
        told: the outcome will come to our inbox, or has come; False when the record has to be read first.
    """

    wake: Any
    told: bool = False
    outcome: Outcome | None = None


class Slots:
    """The inbox of one client: job id -> slot, for as long as somebody holds the slot. Thread-safe."""

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self.id = jobs.new_id()
        self._new_event = new_event
        self._open: weakref.WeakValueDictionary[str, Slot] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def open(self, job_id: str) -> Slot:
        with self._lock:
            slot = self._open.get(job_id)
            if slot is None:
                slot = self._open[job_id] = Slot(self._new_event())
            return slot

    def deliver(self, event: bytes) -> None:
        """An event arrived at the inbox. One that cannot be read may have been for anybody."""
        try:
            job_id, outcome = Outcome.from_event(event)
        except CodecError:  # of a newer release, or of another program; it must not end the one who listens
            self.doubt()
            return
        with self._lock:
            slot = self._open.get(job_id)
        if slot is not None:
            slot.outcome = outcome
            slot.wake.set()

    def doubt(self) -> None:
        """The inbox was deaf for a while: everybody who waits has to read the record again."""
        with self._lock:
            slots = list(self._open.values())
        for slot in slots:
            slot.told = False
            slot.wake.set()


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until the slot's event is set, for at most so many seconds."""

    slot: Slot
    seconds: float


Flow = Generator[Op[Any] | Pause, Any, T]


@dataclass
class Wire:
    """The flows of one client."""

    settings: Settings
    slots: Slots
    clock: Callable[[], float] = time.monotonic
    _models: dict[str, tuple[float, ModelInfo]] = field(default_factory=dict)

    def submit(self, job: Job, job_id: str, slot: Slot) -> Flow[None]:
        """Check a job as far as this side can, then enqueue it."""
        if isinstance(job, PredictJob):
            yield from self._check_predict(job)
        message = JobMessage.of(job, job_id)
        slot.told = True
        yield Submit(message, self.slots.id)

    def _check_predict(self, job: PredictJob) -> Flow[None]:
        info = yield from self._model_info(job.model)
        if info is not None:
            check_inputs(info.signature, info.task, job.inputs)

    def _model_info(self, text: str) -> Flow[ModelInfo | None]:
        """What is known of a model; None when no worker has ever told, so that only a worker can say.

        Raises:
            ModelNotFound: workers are there and none has such a model.
        """
        cached = self._models.get(text)
        if cached is not None and self.clock() < cached[0]:
            return cached[1]
        ref = ModelRef.parse(text)
        info, live = yield ReadModel(ref.name, ref.version)
        if info is None and live:
            raise ModelNotFound(
                f"no model {text!r} in the store; `warmlane models` or `client.models()` lists what is there",
                model=text,
            )
        if info is not None:
            self._models[text] = (self.clock() + MODEL_INFO_TTL_S, info)
        found: ModelInfo | None = info
        return found

    def result(self, job_id: str, slot: Slot, timeout: float | None) -> Flow[Any]:
        """A job's result, decoded. Wakes on the event; reads the record first where no event is promised.

        Raises:
            ResultTimeout, JobNotFound, ResultExpired, JobCancelled, ServerUnreachable, or the job's own error.
        """
        outcome = yield from self._outcome(job_id, slot, timeout)
        if outcome.state is State.SUCCEEDED:
            assert outcome.result is not None
            return codec.decode("result", outcome.result)
        if outcome.error is not None:
            raise errors.from_dict(outcome.error)
        raise errors.InternalError(f"job {job_id} ended as {outcome.state.value} without an error")

    def _outcome(self, job_id: str, slot: Slot, timeout: float | None) -> Flow[Outcome]:
        deadline = None if timeout is None else self.clock() + timeout
        lost: ServerUnreachable | None = None
        last_look = False
        while True:
            if slot.outcome is not None and not _to_fetch(slot.outcome):
                return slot.outcome
            if not slot.told or slot.outcome is not None:
                slot.wake.clear()
                try:
                    found = yield Watch(job_id, self.slots.id)
                except ServerUnreachable as exc:
                    if deadline is None:
                        raise
                    lost = exc
                else:
                    outcome = _read_outcome(job_id, found)
                    lost, slot.told = None, True
                    if outcome is not None:
                        slot.outcome = outcome
                        return outcome
            left = RECHECK_S if deadline is None else deadline - self.clock()
            if left <= 0:
                if slot.told and not last_look and lost is None:
                    slot.told, last_look = False, True  # the event may still be on its way
                    continue
                if lost is not None:
                    raise lost
                raise ResultTimeout(f"job {job_id} has no result after {timeout:g} s; it goes on, ask again", id=job_id)
            yield Pause(slot, min(left, RECHECK_S))
            if slot.outcome is None:
                slot.told = False

    def status(self, job_id: str) -> Flow[JobStatus]:
        """A job's record.

        Raises:
            JobNotFound: there is none.
        """
        found = yield Watch(job_id)
        if found is None:
            raise _not_found(job_id)
        status: JobStatus = found[0]
        return status

    def cancel(self, job_id: str) -> Flow[State]:
        """Ask for an end; the state after the call.

        Raises:
            JobNotFound: there is no such job.
        """
        error = JobCancelled(f"job {job_id} was cancelled", id=job_id)
        state = yield Cancel(job_id, error, self.settings.result_ttl_s)
        if not state:
            raise _not_found(job_id)
        return State(state)

    def models(self) -> Flow[list[ModelInfo]]:
        """All published models, with the workers that hold them warm."""
        infos = yield ReadModels()
        workers = yield ReadWorkers()
        holders: dict[str, list[str]] = {}
        for worker in workers:
            for name in {ModelRef.parse(warm.model).name for warm in worker.models}:
                holders.setdefault(name, []).append(worker.id)
        return [replace(info, warm_on=tuple(sorted(holders.get(info.name, ())))) for info in infos]

    def workers(self) -> Flow[list[WorkerInfo]]:
        """The live workers by id."""
        found: list[WorkerInfo] = yield ReadWorkers()
        return sorted(found, key=lambda worker: worker.id)


def _to_fetch(outcome: Outcome) -> bool:
    return outcome.state is State.SUCCEEDED and outcome.result is None


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"no job {job_id}: it never was, or its record has expired", id=job_id)


def _read_outcome(job_id: str, found: tuple[JobStatus, bytes | None] | None) -> Outcome | None:
    """The outcome in a job's record; None while it goes on."""
    if found is None:
        raise _not_found(job_id)
    status, result = found
    if not status.state.final:
        return None
    if status.state is State.SUCCEEDED and result is None:
        raise ResultExpired(f"the result of job {job_id} has expired; enqueue the job again", id=job_id)
    return Outcome(status.state, result, status.error)


class Requests(Generic[J]):
    """The requests that both clients take, each ending in `submit`, which returns the client's kind of handle."""

    def submit(self, job: Job) -> J:
        """Enqueue a job and return its handle."""
        raise NotImplementedError

    def predict(self, model: str, inputs: Any, *, params: dict[str, Any] | None = None, dtype: str | None = None) -> J:
        """Answer `inputs` (one row, or a list of rows) with a model.

        Args:
            model: `name`, `name/3` or `name@alias`.
            params: keyword arguments of the pipeline, e.g. `{"top_k": 2}` or `{"max_new_tokens": 32}`.
            dtype: `float32 float16 bfloat16 float64`; default: as the model is warm, else as it was saved.

        The result has one output a row, in order: a `Table` (label, score) for classification, a list of str for
        generation, an ndarray for the features of one text and a list of ndarrays for a list of texts.

        Raises:
            ModelNotFound, SchemaError: before anything is enqueued, where this side can know.
        """
        return self.submit(PredictJob(model=model, inputs=inputs, params=params or {}, dtype=dtype))

    def load(
        self,
        model: str,
        *,
        dtype: str | None = None,
        return_type: str = "pipeline",
        pin: bool = False,
        trust_remote_code: bool = False,
    ) -> J:
        """Warm a model. The result tells what was loaded: class names, recorded and effective dtype, device, bytes."""
        return self.submit(
            LoadJob(model=model, dtype=dtype, return_type=return_type, pin=pin, trust_remote_code=trust_remote_code)
        )

    def unload(self, model: str) -> J:
        """Free a model on every worker that holds it, pinned or not. The result tells the bytes freed by each."""
        return self.submit(UnloadJob(model=model))

    def save(
        self,
        name: str,
        source: str | os.PathLike[str] | dict[str, str],
        *,
        task: str | None = None,
        dtype: str | None = None,
        save_pretrained: bool = True,
        revision: str | None = None,
        metadata: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> J:
        """Publish a new version of a model in the model store.

        Args:
            source: a checkpoint directory, an MLflow model directory, a hub id, or a dict of components. A directory
                that exists here is sent as an absolute path; the worker must see it and allow it.
            save_pretrained: False stores the hub's name and commit instead of the weights.

        The result has `model` (`name/version`), `task`, `dtype`, `bytes`.
        """
        return self.submit(
            SaveJob(
                name=name,
                source=_absolute(source),
                task=task,
                dtype=dtype,
                save_pretrained=save_pretrained,
                revision=revision,
                metadata=metadata or {},
                trust_remote_code=trust_remote_code,
            )
        )

    def persist(self, model: str) -> J:
        """Fetch the weights of a model that was saved by reference into the model store."""
        return self.submit(PersistJob(model=model))


def _absolute(source: str | os.PathLike[str] | dict[str, str]) -> str | dict[str, str]:
    """Local directories as absolute paths: the worker has another working directory. Hub ids stay as they are."""
    if isinstance(source, dict):
        return {name: str(_absolute(part)) for name, part in source.items()}
    if not isinstance(source, str | os.PathLike):
        return source
    text = os.path.expanduser(os.fspath(source))
    return os.path.abspath(text) if os.path.isdir(text) else text
