"""The HTTP API: jobs for callers in any language. Speaks to the fleet through `warmlane.aio.AsyncClient` only.

Knows no Redis, no queue and no model. It authenticates nobody: bind it to a private address, or put a proxy in front.

    POST   /v1/jobs        enqueue; 202 and `Location`; with `Prefer: wait=N` 200 and the finished job, if it makes it
    GET    /v1/jobs/{id}   state, and the result once there is one; with `Prefer: wait=N` it waits for the end
    DELETE /v1/jobs/{id}   cancel
    GET    /v1/jobs/{id}/events   its news as they come: state, progress, pieces of its text, its end
    GET    /v1/models      the published models, and who holds them warm
    GET    /v1/workers     the live workers
    GET    /metrics        queues, workers and dead letters, for Prometheus
    GET    /healthz        this process serves
    GET    /readyz         this process serves and the store answers

Importing this package loads neither starlette nor uvicorn (extra "gateway"); `serve` does.
"""

from __future__ import annotations

from warmlane.errors import MissingExtra
from warmlane.settings import Settings

__all__ = ["serve"]


def serve(host: str, port: int, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return. Call it from the main thread.

    Raises:
        MissingExtra: starlette or uvicorn is not installed.
        ConfigurationError, ServerUnreachable: an address that cannot be had, a malformed URL, or the embedded server
            did not start.
    """
    try:
        from warmlane.gateway.server import run
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("warmlane"):
            raise
        raise MissingExtra(
            f"the gateway needs {exc.name}, which is not installed: run `pip install 'warmlane[gateway]'`"
        ) from None
    run(host, port, settings)
