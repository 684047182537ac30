"""The gateway's routes: each turns a request into a call of `AsyncClient` and its reply into an answer.

Forms and headers are in `negotiation`, `bodies` and `encoding`, errors in `problems`. A job that failed is no failure
of the request that asks for it: its record is a 200 with the job's error inside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from warmlane import jobs
from warmlane.aio import AsyncClient, AsyncJob
from warmlane.errors import (
    CodecError,
    InternalError,
    InvalidInput,
    JobNotFound,
    ResultExpired,
    ServerUnreachable,
    WarmlaneError,
)
from warmlane.gateway.bodies import read_job, read_limited, write
from warmlane.gateway.events import END, MEDIA, resumed_at, told
from warmlane.gateway.metrics import exposed
from warmlane.gateway.negotiation import answer_type, body_type, wait_seconds
from warmlane.gateway.problems import HANDLERS
from warmlane.gateway.waiting import NOTHING, result_within
from warmlane.results import State
from warmlane.settings import Settings

#: When a caller should ask again for a job that goes on, in seconds.
POLL_AFTER_S = 1
#: How long the store may take to answer before this process calls itself not ready, in seconds.
READY_TIMEOUT_S = 2.0
#: A record can say SUCCEEDED just before the event with the result arrives; read it ourselves after so long.
_EVENT_LAG_S = 1.0


def create_app(client: AsyncClient | None = None, settings: Settings | None = None) -> Starlette:
    """The gateway as an ASGI application.

    Args:
        client: stays the caller's to close. Without one the application makes its own from `settings` (default: the
            environment) and closes it at the end of its lifespan.

    Raises:
        ConfigurationError, ServerUnreachable: the application's own client cannot be made.
    """
    gateway = Gateway(client or AsyncClient(settings=settings), asyncio.Event())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if client is None:
                await gateway.client.close()

    app = Starlette(
        routes=[
            Route("/v1/jobs", gateway.submit, methods=["POST"]),
            Route("/v1/jobs/{id}", gateway.job, methods=["GET", "DELETE"]),
            Route("/v1/jobs/{id}/events", gateway.events),
            Route("/v1/models", gateway.models),
            Route("/v1/workers", gateway.workers),
            Route("/metrics", gateway.metrics),
            Route("/healthz", gateway.health),
            Route("/readyz", gateway.ready),
        ],
        exception_handlers=dict(HANDLERS),
        lifespan=lifespan,
    )
    app.state.stopping = gateway.stopping
    return app


@dataclass(frozen=True, slots=True)
class Gateway:
    """The handlers and what they share.

    Attributes:
        stopping: set when the server is about to stop; it ends every long poll and every stream.
    """

    client: AsyncClient
    stopping: asyncio.Event

    async def submit(self, request: Request) -> Response:
        media = _answer_type(request)  # before anything is enqueued
        wanted, options = await _read_job(request)
        job = await self.client.submit(wanted, **options)
        url = f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"
        accepted = {"Location": url, "Retry-After": str(POLL_AFTER_S)}
        if _wait_seconds(request) is None:
            return _answer(media, (await job.status()).to_dict(), 202, accepted)
        known, headers = await self._wait(request, job)
        state, answer, status = await _look(job, known)
        if state.final:
            return _answer(media, answer, status, headers | {"Content-Location": url})
        return _answer(media, answer, 202, headers | accepted)

    async def job(self, request: Request) -> Response:
        # One route for both methods: Starlette's 405 lists the methods of one route only.
        return await (self._cancel if request.method == "DELETE" else self._read)(request)

    async def _read(self, request: Request) -> Response:
        media = _answer_type(request)
        job = self._handle(request)
        known, headers = await self._wait(request, job)
        state, answer, status = await _look(job, known)
        if not state.final:
            headers["Retry-After"] = str(POLL_AFTER_S)
        return _answer(media, answer, status, headers)

    async def _cancel(self, request: Request) -> Response:
        media = _answer_type(request)
        job = self._handle(request)
        await job.cancel()
        return _answer(media, (await job.status()).to_dict(), 200, {})

    async def events(self, request: Request) -> Response:
        job = self._handle(request)
        last = request.headers.get("last-event-id")
        if last == END:
            return Response(status_code=204)  # by the standard: do not come back
        after = resumed_at(last)
        await job.status()  # what does not exist is a 404, and no stream

        async def read_end() -> dict[str, Any]:
            return (await _look(job, NOTHING))[1]

        events = told(job, after, read_end, request, self.stopping)
        return StreamingResponse(events, headers={"Cache-Control": "no-store"}, media_type=MEDIA)

    async def models(self, request: Request) -> Response:
        media = _answer_type(request)
        models = [asdict(model) for model in await self.client.models()]
        return _answer(media, {"models": models}, 200, {})

    async def workers(self, request: Request) -> Response:
        media = _answer_type(request)
        workers = [asdict(worker) for worker in await self.client.workers()]
        return _answer(media, {"workers": workers}, 200, {})

    async def metrics(self, request: Request) -> Response:
        body, media = exposed(await self.client.fleet(), request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": media})

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self.client.job(jobs.new_id()).status()
        except JobNotFound:  # the answer to expect: the cheapest question that only a store can answer
            return JSONResponse({"status": "ready"})
        except (WarmlaneError, TimeoutError) as exc:
            raise ServerUnreachable(f"not ready: {exc or 'no answer in time'}") from exc
        raise InternalError("a job has an id that was never given out")

    def _handle(self, request: Request) -> AsyncJob:
        try:
            return self.client.job(request.path_params["id"])
        except InvalidInput as exc:
            raise JobNotFound(f"no such job: {exc.message}") from exc

    async def _wait(self, request: Request, job: AsyncJob) -> tuple[Any, dict[str, str]]:
        """Wait as long as the caller prefers: the result, if there is one by then, and the headers that say so."""
        seconds = _wait_seconds(request)
        if seconds is None:
            return NOTHING, {}
        known = await result_within(job, seconds, request, self.stopping) if seconds else NOTHING
        return known, {"Preference-Applied": f"wait={seconds}"}


def _answer_type(request: Request) -> str:
    return answer_type(", ".join(request.headers.getlist("accept")))


def _wait_seconds(request: Request) -> int | None:
    return wait_seconds(request.headers.getlist("prefer"))


async def _read_job(request: Request) -> tuple[jobs.Job, jobs.JobOptions]:
    media = body_type(request.headers)
    async with aclosing(request.stream()) as chunks:
        body = await read_limited(chunks, request.headers.get("content-length"))
    job, options = read_job(media, body)
    if (key := request.headers.get("idempotency-key")) is not None:
        options["idempotency_key"] = key
    return job, options


async def _look(job: AsyncJob, known: Any) -> tuple[State, dict[str, Any], int]:
    """A job's state, its record with the result if it has one, and the HTTP status of that record."""
    status = await job.status()
    answer = status.to_dict()
    if status.state is not State.SUCCEEDED:
        return status.state, answer, 200
    try:
        answer["result"] = known if known is not NOTHING else await job.result(_EVENT_LAG_S)
    except ResultExpired as exc:
        return status.state, answer | {"result": None, "error": exc.to_dict()}, 410
    except CodecError as exc:
        raise InternalError(f"the result of job {job.id} cannot be read: {exc.message}", id=job.id) from exc
    return status.state, answer, 200


def _answer(media: str, answer: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    # A job's record changes, and its result is its caller's only.
    return Response(write(media, dict(answer)), status, {"Cache-Control": "no-store", **headers}, media)
