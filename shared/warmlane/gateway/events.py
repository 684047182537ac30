"""A job's news as server-sent events (the HTML standard, section 9.2). Knows the form, and when to end; no routes.

Only pieces of text carry an id, the number of characters until their end, so that `Last-Event-ID` resumes the text. The
last event's id is `END`: whoever comes back with that is told to stay away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from warmlane.aio import AsyncJob
from warmlane.errors import WarmlaneError
from warmlane.gateway.bodies import write
from warmlane.gateway.negotiation import JSON
from warmlane.gateway.problems import on_warmlane_error
from warmlane.results import JobEvent

MEDIA = "text/event-stream"
END = "end"
#: A line is sent after so long without news, or proxies take the connection for dead; in seconds.
PING_S = 15.0
#: How long a caller waits before it comes back, in milliseconds.
RETRY_MS = 1000
_MOST_DIGITS = 12

#: Reads a job's record as it is told at its end, with the result.
ReadEnd = Callable[[], Awaitable[dict[str, Any]]]


def resumed_at(last_id: str | None) -> int:
    """How many characters of the text a caller has.

    Raises:
        HTTPException: 400, an id that no event of ours has.
    """
    if not last_id:
        return 0
    if not last_id.isascii() or not last_id.isdecimal() or len(last_id) > _MOST_DIGITS:
        raise HTTPException(400, detail="Last-Event-ID: give the id of an event of this job, as it was sent")
    return int(last_id)


async def told(
    job: AsyncJob, after: int, read_end: ReadEnd, request: Request, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """The events of a job as bytes, until its end or that of the server."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    news = job.events(after)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(news))
            while not coming.done() and not stop.done():
                await asyncio.wait((coming, stop), timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    yield b":\n\n"
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
                return
            event = coming.result()
            yield await _event(event, read_end)
            if event.kind == "end":
                return
    except WarmlaneError as exc:  # too late for a status of HTTP
        yield _block("error", bytes((await on_warmlane_error(request, exc)).body))
    finally:
        stop.cancel()
        await news.aclose()


async def _event(event: JobEvent, read_end: ReadEnd) -> bytes:
    if event.kind == "end":
        return _block("end", write(JSON, await read_end()), END)
    if event.kind == "text":
        piece = {"at": event.at, "text": event.text}
        return _block("text", write(JSON, piece), str(event.at + len(event.text)))
    return _block(event.kind, write(JSON, event.status.to_dict()))


def _block(name: str, data: bytes, number: str | None = None) -> bytes:
    # JSON has no line break outside of strings, and escapes those inside: one line of data is enough.
    head = f"event: {name}\n" + (f"id: {number}\n" if number is not None else "")
    return head.encode() + b"data: " + data + b"\n\n"
