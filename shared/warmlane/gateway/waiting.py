"""The long poll: until the job ends, the time is over, the caller leaves or the server stops. Knows no HTTP answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request

from warmlane.aio import AsyncJob


class Nothing:
    """The type of `NOTHING`, which no job returns."""


NOTHING: Final = Nothing()


async def result_within(job: AsyncJob, seconds: float, request: Request, stopping: asyncio.Event) -> Any:
    """The job's result if it succeeds in time, else `NOTHING`: its record tells why.

    Errors of the wait are dropped for the same reason: what still holds shows when the record is read.
    """
    result = asyncio.ensure_future(job.result(seconds))
    tasks = [result, asyncio.ensure_future(_left(request)), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    succeeded = not result.cancelled() and result.exception() is None
    return result.result() if succeeded else NOTHING


async def _left(request: Request) -> None:
    """Returns when the caller has hung up. The body has been read, so that nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
