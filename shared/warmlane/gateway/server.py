"""The gateway as a process: uvicorn, and an end that keeps nobody waiting. Knows no routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn

from warmlane.errors import ConfigurationError
from warmlane.gateway.app import create_app
from warmlane.settings import Settings

logger = logging.getLogger("uvicorn.error")

#: How long requests in flight may take to end after a signal, in seconds. Long polls end at once, by `stopping`.
GRACE_S = 10
_HIGHEST_PORT = 65_535


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
        ConfigurationError: there is no such address here, or another process has it.
    """
    with _bound(host, port) as listening:
        app = create_app(settings=settings)
        config = uvicorn.Config(app, server_header=False, timeout_graceful_shutdown=GRACE_S)
        server = Server(config, app.state.stopping)
        place = f"[{host}]" if ":" in host else host
        logger.info("the gateway listens on http://%s:%d", place, listening.getsockname()[1])  # port 0 means any
        with _signals_end_quietly():
            server.run([listening])


def _bound(host: str, port: int) -> socket.socket:
    """Listens, before anything else is begun."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise _not_here(host, port, f"a port is at most {_HIGHEST_PORT}")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        raise _not_here(host, port, (exc.strerror or "").partition(" (")[0]) from exc


def _not_here(host: str, port: int, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the gateway cannot listen on {host}:{port} ({reason}); choose another --host or --port")


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
