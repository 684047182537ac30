"""The gateway as a process: uvicorn, and an end that keeps nobody waiting. Knows no routes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn

from warmlane.gateway.app import create_app
from warmlane.settings import Settings

#: How long requests in flight may take to end after a signal, in seconds. Long polls end at once, by `stopping`.
GRACE_S = 10


class Server(uvicorn.Server):
    """uvicorn's server, which also tells the application that it stops."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()  # first, or uvicorn would wait for callers who wait for jobs
        await super().shutdown(sockets)


def run(host: str, port: int, settings: Settings) -> None:
    """Serve until a signal; returns after a clean end.

    Raises:
        SystemExit: the address cannot be bound; uvicorn has logged why.
    """
    app = create_app(settings=settings)
    config = uvicorn.Config(app, host=host, port=port, server_header=False, timeout_graceful_shutdown=GRACE_S)
    server = Server(config, app.state.stopping)
    with _signals_end_quietly():
        server.run()


@contextlib.contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more when it is done: let that end the call, not the process.

    Otherwise SIGTERM would kill the process before its exit handlers have left the embedded server.
    """
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    except KeyboardInterrupt:
        return
    except SystemExit as exc:
        if exc.code:
            raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
