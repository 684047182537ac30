"""The blocking client: drives the flows of `warmlane._wire` with a Redis connection and one listening thread."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, Unpack

from warmlane import _graveyard, _news, jobs, tracing
from warmlane._requests import Requests
from warmlane._slots import Pause, Slot, Slots, Work
from warmlane._wire import Flow, Wire
from warmlane.blobs import Blobs
from warmlane.fleet import FleetInfo
from warmlane.jobs import Job as JobRequest
from warmlane.jobs import JobOptions, Options
from warmlane.keys import Keys
from warmlane.lanes import Submit
from warmlane.ops import Op, Watch
from warmlane.results import DeadLetter, JobEvent, JobStatus, ModelInfo, Progress, State, WorkerInfo
from warmlane.settings import Settings
from warmlane.stream import Given, ReadText

if TYPE_CHECKING:
    import redis

T = TypeVar("T")
R = TypeVar("R")

#: Pause before the inbox tries again to reach a lost server, in seconds.
_RECONNECT_S = 1.0
#: How often the inbox looks whether it was closed, in seconds: a close waits no longer for its thread.
_POLL_S = 0.2


class Transport(Protocol):
    """The seam between the core and the world. `warmlane.testing` ships one that needs no server."""

    slots: Slots
    blobs: Blobs | None

    def run(self, op: Op[R]) -> R:
        """Run an operation on the store."""
        ...

    def pause(self, slot: Slot, seconds: float) -> None:
        """Wait until the slot's event is set, at most so long."""
        ...

    def close(self) -> None: ...


class Client(Requests["Job"]):
    """Enqueues jobs and waits for them. Threads may share one client; make one for a process.

    Args:
        url: where Redis is; default `WARMLANE_REDIS_URL`, else the embedded server is started or joined.
        settings: everything else; default: from the environment.
        transport: for tests, see `warmlane.testing`.

    Raises:
        ConfigurationError: a malformed URL or setting. An unreachable server shows at the first call.
    """

    def __init__(
        self, url: str | None = None, *, settings: Settings | None = None, transport: Transport | None = None
    ) -> None:
        self.settings = settings or Settings.from_env(redis_url=url)
        self._transport = transport or RedisTransport(self.settings)
        self._wire = Wire(self.settings, self._transport.slots, blobs=self._transport.blobs)

    def submit(self, job: JobRequest, **options: Unpack[JobOptions]) -> Job:
        """Enqueue a job; returns when it is accepted, with its handle."""
        asked = Options(**options)
        job_id = asked.job_id() or jobs.new_id()
        slot = self._transport.slots.open(job_id)
        with tracing.span("warmlane.enqueue", kind=job.kind, model=job.subject, job_id=job_id) as span:
            self._drive(self._wire.submit(job, job_id, slot, asked, span.traceparent))
        return Job(self, job_id, slot)

    def job(self, job_id: str) -> Job:
        """The handle of a job that any process enqueued; asks nothing yet."""
        return Job(self, jobs.check_id(job_id), self._transport.slots.open(job_id))

    def models(self) -> list[ModelInfo]:
        """All published models, with the workers that hold them warm."""
        return self._drive(self._wire.models())

    def workers(self) -> list[WorkerInfo]:
        """The live workers: device, state, warm models."""
        return self._drive(self._wire.workers())

    def fleet(self) -> FleetInfo:
        """What waits in each queue and how long, the live workers, the number of dead letters."""
        return self._drive(_news.fleet())

    def dead(self) -> list[DeadLetter]:
        """The jobs that failed as poison or by an internal error, oldest first; their messages are kept for a week."""
        return self._drive(_graveyard.dead())

    def replay(self, dead_id: str) -> Job:
        """Enqueue a dead job again, as a new one; both records say so.

        Raises:
            JobNotFound, CodecError: there is no such dead letter, or it cannot be read.
        """
        job_id = jobs.new_id()
        slot = self._transport.slots.open(job_id)
        self._drive(_graveyard.replay(self._wire, dead_id, job_id, slot))
        return Job(self, job_id, slot)

    def drop(self, dead_id: str) -> None:
        """Forget a dead job's message.

        Raises:
            JobNotFound: there is no such dead letter.
        """
        self._drive(_graveyard.drop(self._wire, dead_id))

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, flow: Flow[T]) -> T:
        reply: Any = None
        error: Exception | None = None
        while True:
            try:
                wanted = flow.send(reply) if error is None else flow.throw(error)
            except StopIteration as stop:
                value: T = stop.value
                return value
            reply, error = None, None
            try:
                if isinstance(wanted, Pause):
                    self._transport.pause(wanted.slot, wanted.seconds)
                elif isinstance(wanted, Work):
                    reply = wanted.do()
                else:
                    reply = self._transport.run(wanted)
            except Exception as exc:  # noqa: BLE001 - the flow decides what an error means
                error = exc


class Job:
    """A job's handle. Any process can make one by `client.job(id)`."""

    def __init__(self, client: Client, job_id: str, slot: Slot) -> None:
        self.id = job_id
        self._client = client
        self._slot = slot

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    def status(self) -> JobStatus:
        """The job's record: state, times, attempts, error.

        Raises:
            JobNotFound: no record has that id.
        """
        return self._client._drive(self._client._wire.status(self.id))

    def progress(self) -> Progress:
        """How far it has come, and the phase."""
        return self.status().progress

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job's end and return its result.

        Args:
            timeout: seconds; None waits as long as the server is there.

        Raises:
            ResultTimeout: not done in time; the job goes on.
            JobCancelled, JobNotFound, ResultExpired, ServerUnreachable, or the error that the job failed with.
        """
        return self._client._drive(self._client._wire.result(self.id, self._slot, timeout))

    def stream(self, timeout: float | None = None) -> Iterator[str]:
        """The text of the answer as it is generated, in pieces, from its beginning: of a job with `stream=True`.

        Put together they are the text of the result. Any number of readers may follow a job, also when it is done.

        Args:
            timeout: seconds for all of it; None waits as long as the server is there.

        Raises:
            InvalidInput: the job was not asked to stream.
            StreamInterrupted: the job was done again and says something else now; its result is whole.
            ResultTimeout: not done in time; the job goes on.
            JobCancelled, JobNotFound, ResultExpired, ServerUnreachable, or the error that the job failed with.
        """
        slot = self._client._transport.slots.follow(self._slot)
        text = self._client._wire.follow(self.id, slot, timeout)
        while piece := self._client._drive(self._client._wire.piece(text)):
            yield piece

    def __iter__(self) -> Iterator[str]:
        return self.stream()

    def events(self, after: int = 0) -> Iterator[JobEvent]:
        """The job's news as it comes: each change of its record, each piece of its text, its end.

        Args:
            after: so many characters of the text are known already, and not told again.

        Raises:
            JobNotFound, ServerUnreachable.
        """
        slot = self._client._transport.slots.follow(self._slot)
        watching = _news.Watching(Given(self.id), slot, after)
        while events := self._client._drive(_news.news(watching, self._client._transport.slots.id)):
            yield from events

    def cancel(self) -> State:
        """Ask for an end: at once while it waits, at the next safe point while it runs. Returns the state after."""
        return self._client._drive(self._client._wire.cancel(self.id))


class RedisTransport:
    """The blocking transport: a pooled connection for operations, one subscribed connection as the inbox."""

    def __init__(self, settings: Settings) -> None:
        from warmlane.embedded import server_url
        from warmlane.store import RedisStore, connect

        self.slots = Slots(threading.Event)
        self.blobs = Blobs.of(settings)
        self._url = server_url(settings)
        self._names = Keys(settings.namespace)
        self._store = RedisStore(connect(self._url, retry_s=settings.connect_timeout_s), self._names, self._url)
        self._lock = threading.Lock()
        self._inbox: _Inbox | None = None

    def run(self, op: Op[R]) -> R:
        if isinstance(op, Submit | Watch | ReadText) and op.inbox:
            self._listen()  # before anybody is asked to tell us of an end, so that it cannot be missed
        return self._store.run(op)

    def pause(self, slot: Slot, seconds: float) -> None:
        self._listen()
        slot.wake.wait(seconds)

    def close(self) -> None:
        with self._lock:
            if self._inbox is not None:
                self._inbox.stop()
                self._inbox = None
        self._store.client.close()
        self._store.client.connection_pool.disconnect()

    def _listen(self) -> None:
        inbox = self._inbox
        if inbox is not None and inbox.pid == os.getpid():
            return
        with self._lock:
            if self._inbox is None or self._inbox.pid != os.getpid():  # a thread does not survive a fork
                from warmlane.store import translated

                with translated(self._url):
                    self._inbox = _Inbox(self._store.client, self._names.inbox(self.slots.id), self.slots)


class _Inbox:
    """The listening thread. Reconnects for ever; after each reconnection everybody who waits reads the record again."""

    def __init__(self, client: redis.Redis, channel: str, slots: Slots) -> None:
        self.pid = os.getpid()
        self._client = client
        self._channel = channel
        self._slots = weakref.ref(slots)
        self._stopped = threading.Event()
        self._pubsub = self._subscribe()
        self._thread = threading.Thread(target=self._run, name="warmlane-inbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. After a fork the thread and its connection are the parent's, who goes on with them."""
        if self.pid != os.getpid():
            return
        self._stopped.set()
        self._thread.join(timeout=5)
        self._pubsub.close()

    def _subscribe(self) -> redis.client.PubSub:
        pubsub: redis.client.PubSub = self._client.pubsub()  # type: ignore[no-untyped-call]
        pubsub.subscribe(self._channel)
        pubsub.get_message(timeout=5.0)  # the confirmation: from here on nothing is missed
        return pubsub

    def _run(self) -> None:
        import redis

        while not self._stopped.is_set():
            try:
                message = self._pubsub.get_message(timeout=_POLL_S)
            except (redis.RedisError, OSError):
                self._reconnect()
                continue
            slots = self._slots()
            if slots is None or self._stopped.is_set():
                return
            if message is not None and message["type"] == "message":
                slots.deliver(message["data"])
            elif message is not None and message["type"] == "subscribe":
                slots.doubt()  # redis-py reconnected by itself and subscribed again
            del slots  # a client that nobody holds any more ends its inbox

    def _reconnect(self) -> None:
        import redis

        self._pubsub.close()
        while not self._stopped.wait(_RECONNECT_S):
            try:
                self._pubsub = self._subscribe()
            except (redis.RedisError, OSError):
                continue
            slots = self._slots()
            if slots is not None:
                slots.doubt()
            return
