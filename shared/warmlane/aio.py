"""The client for event loops: the same flows as `warmlane.client`, driven by one task."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator
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
    import redis.asyncio.client

T = TypeVar("T")
R = TypeVar("R")

#: Pause before the inbox tries again to reach a lost server, in seconds.
_RECONNECT_S = 1.0


class AsyncTransport(Protocol):
    """The seam, as in `warmlane.client.Transport`."""

    slots: Slots
    blobs: Blobs | None

    async def run(self, op: Op[R]) -> R: ...

    async def pause(self, slot: Slot, seconds: float) -> None: ...

    async def close(self) -> None: ...


class AsyncClient(Requests["AsyncJob"]):
    """Enqueues jobs and waits for them in an event loop. Arguments and errors as for `warmlane.Client`.

    A request returns its handle at once and is sent by a task; `await handle` waits until it is accepted (and raises
    what speaks against it), `await handle.result()` until it is done.
    """

    def __init__(
        self, url: str | None = None, *, settings: Settings | None = None, transport: AsyncTransport | None = None
    ) -> None:
        self.settings = settings or Settings.from_env(redis_url=url)
        self._transport = transport or AsyncRedisTransport(self.settings)
        self._wire = Wire(self.settings, self._transport.slots, blobs=self._transport.blobs)

    def submit(self, job: JobRequest, **options: Unpack[JobOptions]) -> AsyncJob:
        """Enqueue a job from inside a running event loop."""
        asked = Options(**options)
        job_id = asked.job_id() or jobs.new_id()
        slot = self._transport.slots.open(job_id)
        task = asyncio.get_running_loop().create_task(self._submit(job, job_id, slot, asked))
        return AsyncJob(self, job_id, slot, task)

    async def _submit(self, job: JobRequest, job_id: str, slot: Slot, asked: Options) -> None:
        with tracing.span("warmlane.enqueue", kind=job.kind, model=job.subject, job_id=job_id) as span:
            await self._drive(self._wire.submit(job, job_id, slot, asked, span.traceparent))

    def job(self, job_id: str) -> AsyncJob:
        """The handle of a job that any process enqueued; asks nothing yet."""
        return AsyncJob(self, jobs.check_id(job_id), self._transport.slots.open(job_id), None)

    async def models(self) -> list[ModelInfo]:
        """All published models, with the workers that hold them warm."""
        return await self._drive(self._wire.models())

    async def workers(self) -> list[WorkerInfo]:
        """The live workers: device, state, warm models."""
        return await self._drive(self._wire.workers())

    async def fleet(self) -> FleetInfo:
        """As `Client.fleet`."""
        return await self._drive(_news.fleet())

    async def dead(self) -> list[DeadLetter]:
        """As `Client.dead`."""
        return await self._drive(_graveyard.dead())

    async def replay(self, dead_id: str) -> AsyncJob:
        """As `Client.replay`; the new job is accepted on return."""
        job_id = jobs.new_id()
        slot = self._transport.slots.open(job_id)
        await self._drive(_graveyard.replay(self._wire, dead_id, job_id, slot))
        return AsyncJob(self, job_id, slot, None)

    async def drop(self, dead_id: str) -> None:
        """As `Client.drop`."""
        await self._drive(_graveyard.drop(self._wire, dead_id))

    async def close(self) -> None:
        """Close the connections. Jobs go on."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _drive(self, flow: Flow[T]) -> T:
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
                    await self._transport.pause(wanted.slot, wanted.seconds)
                elif isinstance(wanted, Work):
                    reply = await asyncio.to_thread(wanted.do)
                else:
                    reply = await self._transport.run(wanted)
            except Exception as exc:  # noqa: BLE001 - the flow decides what an error means
                error = exc


class AsyncJob:
    """A job's handle in an event loop; see `warmlane.Job`."""

    def __init__(self, client: AsyncClient, job_id: str, slot: Slot, submission: asyncio.Task[None] | None) -> None:
        self.id = job_id
        self._client = client
        self._slot = slot
        self._submission = submission

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}>"

    def __await__(self) -> Generator[Any, None, AsyncJob]:
        return self._accepted().__await__()

    async def _accepted(self) -> AsyncJob:
        if self._submission is not None:
            await asyncio.shield(self._submission)
        return self

    async def status(self) -> JobStatus:
        """As `Job.status`."""
        await self._accepted()
        return await self._client._drive(self._client._wire.status(self.id))

    async def progress(self) -> Progress:
        """As `Job.progress`."""
        return (await self.status()).progress

    async def result(self, timeout: float | None = None) -> Any:
        """As `Job.result`."""
        await self._accepted()
        return await self._client._drive(self._client._wire.result(self.id, self._slot, timeout))

    async def stream(self, timeout: float | None = None) -> AsyncIterator[str]:
        """As `Job.stream`."""
        await self._accepted()
        slot = self._client._transport.slots.follow(self._slot)
        text = self._client._wire.follow(self.id, slot, timeout)
        while piece := await self._client._drive(self._client._wire.piece(text)):
            yield piece

    async def events(self, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """As `Job.events`."""
        await self._accepted()
        slot = self._client._transport.slots.follow(self._slot)
        watching = _news.Watching(Given(self.id), slot, after)
        while events := await self._client._drive(_news.news(watching, self._client._transport.slots.id)):
            for event in events:
                yield event

    def __aiter__(self) -> AsyncIterator[str]:
        return self.stream()

    async def cancel(self) -> State:
        """As `Job.cancel`."""
        await self._accepted()
        return await self._client._drive(self._client._wire.cancel(self.id))


class AsyncRedisTransport:
    """A pooled connection for operations, one subscribed connection as the inbox, read by one task."""

    def __init__(self, settings: Settings) -> None:
        from warmlane.embedded import server_url
        from warmlane.store import AsyncRedisStore, connect_async

        self.slots = Slots(asyncio.Event)
        self.blobs = Blobs.of(settings)
        self._url = server_url(settings)
        self._names = Keys(settings.namespace)
        self._store = AsyncRedisStore(
            connect_async(self._url, retry_s=settings.connect_timeout_s), self._names, self._url
        )
        self._lock = asyncio.Lock()
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stopped = False

    async def run(self, op: Op[R]) -> R:
        if isinstance(op, Submit | Watch | ReadText) and op.inbox:
            await self._listen()  # before anybody is asked to tell us of an end, so that it cannot be missed
        return await self._store.run(op)

    async def pause(self, slot: Slot, seconds: float) -> None:
        await self._listen()
        try:
            async with asyncio.timeout(seconds):
                await slot.wake.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        self._stopped = True
        if self._reader is not None:
            self._reader.cancel()  # redis-py loses a cancellation that comes while it reconnects
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        if self._pubsub is not None:
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            self._pubsub = None
        await self._store.client.aclose()
        await self._store.client.connection_pool.disconnect()

    async def _listen(self) -> None:
        if self._reader is not None:
            return
        from warmlane.store import translated

        async with self._lock:
            if self._reader is None:
                with translated(self._url):
                    self._pubsub = await self._subscribe()
                self._stopped = False
                self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _subscribe(self) -> redis.asyncio.client.PubSub:
        pubsub = self._store.client.pubsub()
        await pubsub.subscribe(self._names.inbox(self.slots.id))
        await pubsub.get_message(timeout=5.0)  # the confirmation: from here on nothing is missed
        return pubsub

    async def _read(self) -> None:
        import redis

        while not self._stopped:
            assert self._pubsub is not None
            try:
                message = await self._pubsub.get_message(timeout=1.0)
            except (redis.RedisError, OSError):
                await self._reconnect()
                continue
            if message is not None and message["type"] == "message":
                self.slots.deliver(message["data"])
            elif message is not None and message["type"] == "subscribe":
                self.slots.doubt()  # redis-py reconnected by itself and subscribed again

    async def _reconnect(self) -> None:
        import redis

        assert self._pubsub is not None
        with contextlib.suppress(redis.RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        while not self._stopped:
            await asyncio.sleep(_RECONNECT_S)
            try:
                self._pubsub = await self._subscribe()
            except (redis.RedisError, OSError):
                continue
            self.slots.doubt()
            return
