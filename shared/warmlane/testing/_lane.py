"""What a test holds: sets replies, looks at jobs, holds them back, breaks the connection."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from warmlane.aio import AsyncClient
from warmlane.client import Client
from warmlane.dead import Discard, ReadDead, ReadLetter
from warmlane.errors import InvalidInput, ServerUnreachable
from warmlane.fleet import ReadQueues
from warmlane.jobs import KINDS, Job
from warmlane.lanes import Accepted, Submit
from warmlane.model import ModelRef
from warmlane.ops import Cancel, Op, Watch
from warmlane.registry import ReadModel, ReadModels, ReadWorkers
from warmlane.results import Progress, State
from warmlane.settings import Settings
from warmlane.signature import Signature
from warmlane.stream import ReadText
from warmlane.testing._records import Record, Records
from warmlane.testing._transport import AsyncFakeTransport, FakeTransport, Transport
from warmlane.testing._worker import Worker

R = TypeVar("R")


class FakeLane:
    """The server, the model store and one worker, in memory. Threads and event loops may share one.

    A reply, wherever one is set, is a callable, an exception to raise, or the value itself. A callable runs inside the
    call that enqueues (or that releases), so its value goes through the codec as on a worker, and what it raises fails
    the job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records = Records(self._tell)
        self._worker = Worker()
        self._waiting: list[Record] = []
        self._held = self._away = False
        self._transports: weakref.WeakValueDictionary[str, Transport] = weakref.WeakValueDictionary()
        self._run: dict[type[Op[Any]], Callable[[Any], Any]] = {
            Submit: self._submit,
            Watch: self._records.watch,
            ReadText: self._records.follow,
            Cancel: self._records.cancel,
            ReadQueues: self._records.queues,
            ReadDead: self._records.dead,
            ReadLetter: self._records.letter,
            Discard: self._records.discard,
            ReadModel: self._worker.model,
            ReadModels: lambda op: self._worker.models.infos(),
            ReadWorkers: lambda op: [self._worker.info(self._records.running())],
        }

    def client(self, settings: Settings | None = None) -> Client:
        """A real blocking client of this lane."""
        return Client(settings=settings or Settings(), transport=FakeTransport(self))

    def async_client(self, settings: Settings | None = None) -> AsyncClient:
        """A real client for an event loop."""
        return AsyncClient(settings=settings or Settings(), transport=AsyncFakeTransport(self))

    def answer(
        self,
        model: str,
        reply: Any,
        *,
        task: str = "",
        dtype: str | None = None,
        signature: Signature | None = None,
    ) -> None:
        """Publish a model and say what it answers; again for the same model replaces both.

        Args:
            model: `name` (its newest version), `name/3`, or `name@alias` (set to the newest version, unless it is set).
            reply: a callable gets `(inputs, params)` as a worker reads them from the wire. An iterator of str that it
                returns is told piece by piece to a job with `stream=True`; the result is a list of the whole text.
            task: brings the task's default signature, by which clients refuse wrong inputs. Without it, and without a
                `signature`, any inputs go.
        """
        ref, models = ModelRef.parse(model), self._worker.models
        known = models.look(ref)
        version = known[0] if known else ref.version or models.newest(ref.name) or None
        info = models.publish(ref.name, task, dtype, version, signature)
        if ref.alias is not None:
            models.set_alias(ref.name, ref.alias, info.versions[0])
        self._worker.answers[model] = reply

    def on(self, kind: str, reply: Any) -> None:
        """Set the result of all jobs of a kind other than predict; a callable gets the job.

        What the job does to the lane (a version published, a model warm) still happens, unless the reply raises.
        """
        kinds = [known for known in KINDS if known != "predict"]
        if kind not in kinds:
            raise InvalidInput(f"kind must be one of {', '.join(kinds)}; for predict use `answer`", field="kind")
        self._worker.replies[kind] = reply

    @property
    def jobs(self) -> list[Job]:
        """What was enqueued, as a worker reads it from the wire, in order."""
        return self._records.jobs()

    def hold(self) -> None:
        """From here on jobs stay QUEUED."""
        with self._lock:
            self._held = True

    def release(self, count: int | None = None) -> None:
        """Work off what waits, oldest first, in this thread, and hold no longer. With a count: so many, and hold on."""
        with self._lock:
            if count is None:
                self._held, count = False, len(self._waiting)
            due, self._waiting = self._waiting[:count], self._waiting[count:]
        for record in due:
            self._work(record)

    def report(self, job_id: str, fraction: float, phase: str, *, state: State = State.RUNNING) -> None:
        """Let a held job look as if the worker had come so far with it; `state` is RUNNING or LOADING."""
        record = self._records.find(job_id)
        self._records.start(record)
        self._records.report(record, state, Progress(fraction, phase))

    def expire(self, job_id: str, *, record: bool = False) -> None:
        """Let a job's result expire, also in handles that have it; with `record`, the job is not found any more."""
        self._records.expire(job_id, record=record)
        for transport in list(self._transports.values()):
            slot = transport.slots.open(job_id)
            slot.outcome, slot.told = None, False

    def disconnect(self) -> None:
        """From here on every call ends in `ServerUnreachable`, and no news arrives."""
        self._away = True

    def reconnect(self) -> None:
        """The server is back: those who wait read the record again."""
        self._away = False
        for transport in list(self._transports.values()):
            transport.call(transport.slots.doubt)

    def run(self, op: Op[R]) -> R:
        """Run an operation; for the transports."""
        if self._away:
            raise ServerUnreachable("the fake lane is disconnected; `lane.reconnect()` brings it back")
        reply: R = self._run[type(op)](op)
        return reply

    def join(self, transport: Transport) -> None:
        """Deliver to this transport from here on, for as long as it is in use; for the transports."""
        self._transports[transport.slots.id] = transport

    def _submit(self, op: Submit) -> Accepted:
        with self._lock:
            record = self._records.submit(op)
            if record is None:
                return Accepted(False)
            if self._held:
                self._waiting.append(record)
                return Accepted(True)
        self._work(record)
        return Accepted(True)

    def _work(self, record: Record) -> None:
        # Not under the lock: a reply may itself use the lane, and may take its time.
        if self._records.start(record):
            self._records.finish(record, self._worker.work(record, partial(self._records.append, record)))

    def _tell(self, inbox: str, event: bytes) -> None:
        transport = self._transports.get(inbox)
        if transport is not None and not self._away:
            transport.call(partial(transport.slots.deliver, event))
