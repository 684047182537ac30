"""The core of both clients, without any I/O: what to ask of the store, in which order, and what the replies mean.

A flow is a generator. It yields what it needs done (an `Op` for the store, or a `Pause` until news or a time) and is
sent the reply; its return value is the call's. `warmlane.client` drives flows with threads, `warmlane.aio` in an event
loop, `warmlane.testing` in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from warmlane import codec, errors
from warmlane._slots import Pause, Slot, Slots, Work
from warmlane._stow import discard, stow
from warmlane.blobs import Blobs, is_reference, required
from warmlane.errors import (
    IdempotencyConflict,
    InvalidInput,
    JobCancelled,
    JobNotFound,
    ModelNotFound,
    PoolNotFound,
    QueueFull,
    ResultExpired,
    ResultTimeout,
    ServerUnreachable,
)
from warmlane.jobs import AS_EVER, Job, LoadJob, Options, PredictJob
from warmlane.keys import DEFAULT_POOL, MANAGE_QUEUE, queue_of
from warmlane.lanes import Submit
from warmlane.message import JobMessage
from warmlane.model import ModelRef
from warmlane.ops import Cancel, Op, Watch
from warmlane.records import Outcome
from warmlane.registry import ReadModel, ReadModels, ReadWorkers
from warmlane.results import JobStatus, ModelInfo, State, WorkerInfo
from warmlane.routing import ANYWHERE, Registry
from warmlane.settings import Settings
from warmlane.signature import check_inputs, check_params
from warmlane.stream import Followed, Given, ReadText, interrupted

T = TypeVar("T")

#: How long a client believes what it read of a model before it asks again, in seconds.
MODEL_INFO_TTL_S = 5.0
#: A waiting caller reads the record again after this long without news, in case an event was lost.
RECHECK_S = 10.0
#: How long after a deadline the record is read: the server's clock is another one.
DEADLINE_SLACK_S = 0.02
#: How long a client believes what it read of the workers, in seconds.
REGISTRY_TTL_S = 1.0

Flow = Generator[Op[Any] | Pause | Work, Any, T]


@dataclass(frozen=True)
class Following:
    """One reader of a job's text.

    Attributes:
        slot: woken when there is more.
        deadline: by the wire's clock.
    """

    given: Given
    slot: Slot
    deadline: float | None


@dataclass
class Wire:
    """The flows of one client."""

    settings: Settings
    slots: Slots
    clock: Callable[[], float] = time.monotonic
    blobs: Blobs | None = None
    _models: dict[str, tuple[float, ModelInfo]] = field(default_factory=dict)
    _registry: tuple[float, Registry] = (-math.inf, Registry(()))

    def submit(
        self, job: Job, job_id: str, slot: Slot, options: Options = AS_EVER, traceparent: str = ""
    ) -> Flow[None]:
        """Check a job as far as this side can, then enqueue it where its model is warm.

        Args:
            traceparent: the span that it is enqueued in, see `warmlane.tracing`.

        Raises:
            ModelNotFound, SchemaError, InvalidParams, PoolNotFound, QueueFull,
            IdempotencyConflict: nothing was enqueued.
        """
        info = None
        if isinstance(job, PredictJob):
            info = yield from self._model_info(job.model)
            _check_predict(job, info)
        queue = queue_of(job.kind, options.pool)
        place = ANYWHERE
        if queue != MANAGE_QUEUE:
            registry = yield from self._live_workers()
            _check_pool(options.pool, queue, registry.workers)
            if isinstance(job, LoadJob):
                info, _ = yield from self._look(job.model)
            size, kin = (0, "") if info is None else (info.bytes, info.kin)
            place = registry.route(queue, job.subject, size, kin)
        sent = yield from stow(self.blobs, job, job_id)
        message = JobMessage.of(sent, job_id, options.pool)
        settings = self.settings
        slot.told = True
        if options.deadline is not None:
            slot.late_at = self.clock() + options.deadline
        try:
            accepted = yield Submit(
                message, self.slots.id, options, place, settings.queue_jobs, settings.queue_bytes, traceparent
            )
        except (QueueFull, IdempotencyConflict):
            yield from discard(self.blobs, sent)
            raise
        if not accepted.new:  # it was there, and whoever enqueued it is told of its end
            slot.told = False
            yield from discard(self.blobs, sent, unless=accepted.blob)

    def _live_workers(self) -> Flow[Registry]:
        until, registry = self._registry
        if self.clock() >= until:
            registry = Registry((yield ReadWorkers()))
            self._registry = (self.clock() + REGISTRY_TTL_S, registry)
        return registry

    def _model_info(self, text: str) -> Flow[ModelInfo | None]:
        """What is known of a model; None when no worker has ever told, so that only a worker can say.

        Raises:
            ModelNotFound: workers are there and none has such a model.
        """
        info, live = yield from self._look(text)
        if info is None and live:
            raise ModelNotFound(
                f"no model {text!r} in the store; `warmlane models` or `client.models()` lists what is there",
                model=text,
            )
        return info

    def _look(self, text: str) -> Flow[tuple[ModelInfo | None, int]]:
        """What is known of a model, if anything, and the number of live workers, or 1 where it was known before."""
        cached = self._models.get(text)
        if cached is not None and self.clock() < cached[0]:
            return cached[1], 1
        ref = ModelRef.parse(text)
        info, live = yield ReadModel(ref.name, ref.version, ref.alias)
        if info is not None:
            self._models[text] = (self.clock() + MODEL_INFO_TTL_S, info)
        return info, live

    def result(self, job_id: str, slot: Slot, timeout: float | None) -> Flow[Any]:
        """A job's result, decoded. Wakes on the event; reads the record first where no event is promised.

        Raises:
            ResultTimeout, JobNotFound, ResultExpired, JobCancelled, ServerUnreachable, or the job's own error.
        """
        outcome = yield from self._outcome(job_id, slot, timeout)
        if outcome.state is State.SUCCEEDED:
            assert outcome.result is not None
            if is_reference(outcome.result):
                return (yield Work(partial(required(self.blobs).open_result, outcome.result)))
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
                    self._note_deadline(slot, found[0])
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
            yield Pause(slot, min(left, RECHECK_S, self._until_late(slot)))
            if slot.outcome is None:
                slot.told = False

    def _note_deadline(self, slot: Slot, status: JobStatus) -> None:
        """The record is read again when a deadline passes: what waits then has expired, though nobody says so."""
        left = -1.0 if status.deadline is None else status.deadline - time.time()
        slot.late_at = self.clock() + left if left > 0 else None

    def _until_late(self, slot: Slot) -> float:
        return math.inf if slot.late_at is None else max(0.0, slot.late_at - self.clock()) + DEADLINE_SLACK_S

    def follow(self, job_id: str, slot: Slot, timeout: float | None) -> Following:
        """The beginning of a job's text, for `piece`."""
        return Following(Given(job_id), slot, None if timeout is None else self.clock() + timeout)

    def piece(self, text: Following) -> Flow[str]:
        """What comes next of a job's text; "" at its end.

        Raises:
            InvalidInput, StreamInterrupted, ResultTimeout, JobNotFound, ResultExpired, JobCancelled, ServerUnreachable,
            or the job's own error.
        """
        given = text.given
        while True:
            text.slot.wake.clear()
            found = yield ReadText(given.job_id, given.cursor, self.slots.id)
            if found is None:
                raise not_found(given.job_id)
            new = given.take(found)
            if new:
                return new
            if not found.streams:
                raise InvalidInput(
                    f"job {given.job_id} tells no text; ask for it with predict(..., stream=True), or for `result()`",
                    field="stream",
                )
            if found.status.state.final:
                _check_whole(given, found)
                return ""
            left = RECHECK_S if text.deadline is None else text.deadline - self.clock()
            if left <= 0:
                raise ResultTimeout(f"the text of job {given.job_id} has no end yet; it goes on", id=given.job_id)
            yield Pause(text.slot, min(left, RECHECK_S, until_late(found.status)))

    def status(self, job_id: str) -> Flow[JobStatus]:
        """A job's record.

        Raises:
            JobNotFound: there is none.
        """
        found = yield Watch(job_id)
        if found is None:
            raise not_found(job_id)
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
            raise not_found(job_id)
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


def _check_predict(job: PredictJob, info: ModelInfo | None) -> None:
    if info is not None and job.output != "raw":  # a signature is of the pipeline, and not of its model
        if job.on_error == "job":
            check_inputs(info.signature, info.task, job.inputs)
        check_params(info.signature, job.params)


def _check_pool(pool: str, queue: str, workers: Sequence[WorkerInfo]) -> None:
    """Refuse a pool that nobody is in; without any worker it may be that they come later."""
    if pool != DEFAULT_POOL and workers and not any(queue in worker.queues for worker in workers):
        pools = sorted({worker.pool for worker in workers})
        raise PoolNotFound(
            f"pool: no live worker is in {pool!r}; there are {', '.join(pools)}", field="pool", allowed=pools
        )


def _to_fetch(outcome: Outcome) -> bool:
    return outcome.state is State.SUCCEEDED and outcome.result is None


def until_late(status: JobStatus) -> float:
    """Seconds after which a job's record is worth another look, though nobody says so: what waits then has expired."""
    left = -1.0 if status.deadline is None else status.deadline - time.time()
    return left + DEADLINE_SLACK_S if left > 0 else math.inf


def not_found(job_id: str) -> JobNotFound:
    """How a question after a job ends that has no record."""
    return JobNotFound(f"no job {job_id}: it never was, or its record has expired", id=job_id)


def _check_whole(given: Given, found: Followed) -> None:
    """Whether a job that has ended was told to its end.

    Raises:
        ResultExpired, StreamInterrupted, or what the job failed with.
    """
    if found.status.error is not None:
        raise errors.from_dict(found.status.error)
    if not found.kept:
        raise _expired(given.job_id)
    if not given.whole:
        raise interrupted(given.job_id)


def _expired(job_id: str) -> ResultExpired:
    return ResultExpired(f"the result of job {job_id} has expired; enqueue the job again", id=job_id)


def _read_outcome(job_id: str, found: tuple[JobStatus, bytes | None] | None) -> Outcome | None:
    """The outcome in a job's record; None while it goes on."""
    if found is None:
        raise not_found(job_id)
    status, result = found
    if not status.state.final:
        return None
    if status.state is State.SUCCEEDED and result is None:
        raise _expired(job_id)
    return Outcome(status.state, result, status.error)
