"""The store on Redis: runs operations, blocking or in an event loop, and translates Redis' errors at this one door.

Knows connections and scripts; what an operation means is in `warmlane.ops`. redis-py is imported with this module, so
`warmlane` imports it only when a client is made.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from warmlane.errors import ConfigurationError, InternalError, ServerUnreachable, WarmlaneError
from warmlane.keys import Keys
from warmlane.ops import Op

R = TypeVar("R")

#: First and longest pause between tries to reach the server.
_BACKOFF_BASE_S = 0.02
_BACKOFF_CAP_S = 1.0
#: No command of ours blocks this long; a server that is silent for it is gone.
SOCKET_TIMEOUT_S = 15.0
_MALFORMED = (
    "the Redis URL is malformed: it starts with redis://, rediss:// or unix://, "
    "a port is at most 65535, and options are those that redis-py knows"
)
_REFUSALS = (redis.AuthenticationError, redis.exceptions.AuthorizationError)
_SCRIPTS = tuple(sorted(file.name[: -len(".lua")] for file in resources.files("warmlane").joinpath("lua").iterdir()))


def describe(url: str) -> str:
    """A URL without user, password and options, for messages and logs."""
    try:
        parts = urlsplit(url)
        place = parts.path if parts.scheme == "unix" else (parts.hostname or "localhost") + f":{parts.port or 6379}"
    except ValueError:
        return "the configured URL"
    return f"{parts.scheme}://{place}"


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Every exception of redis-py inside becomes one of ours."""
    try:
        yield
    except redis.exceptions.NoPermissionError as exc:
        raise _refused(url) from exc
    except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
        if _refusal(exc) is not None:
            raise _refused(url) from exc
        raise ServerUnreachable(
            f"no Redis answers at {describe(url)}; is it running, is WARMLANE_REDIS_URL right?"
        ) from exc
    except redis.exceptions.ReadOnlyError as exc:
        raise ServerUnreachable(f"{describe(url)} is read-only just now; is it failing over to another?") from exc
    except redis.exceptions.OutOfMemoryError as exc:
        raise ServerUnreachable(f"{describe(url)} is out of memory; raise its maxmemory or lower the load") from exc
    except redis.ResponseError as exc:
        raise InternalError(f"{describe(url)} refused a command ({str(exc)[:200]})") from exc


def _refused(url: str) -> ConfigurationError:
    return ConfigurationError(f"{describe(url)} refuses the user or password, or the user may not do this")


def _refusal(error: BaseException) -> BaseException | None:
    """The server's no to user or password, if that is what this is; redis-py may wrap it in a ConnectionError."""
    return next((exc for exc in (error, error.__cause__) if isinstance(exc, _REFUSALS)), None)


class _Refused(Exception):
    """Carries a refusal through redis-py's loop of tries, to which it is a lost connection like another."""

    def __init__(self, refusal: BaseException) -> None:
        super().__init__()
        self.refusal = refusal


@contextlib.contextmanager
def _final_errors(deadline: float) -> Iterator[None]:
    """An error inside that no further try can mend becomes `_Refused`."""
    try:
        yield
    except redis.TimeoutError as exc:
        if time.monotonic() > deadline:
            raise _Refused(exc) from None
        raise
    except redis.ConnectionError as exc:
        if (refusal := _refusal(exc)) is not None:
            raise _Refused(refusal) from None
        # So comes the silence that a new connection meets, in an event loop.
        if isinstance(exc.__cause__, redis.TimeoutError) and time.monotonic() > deadline:
            raise _Refused(exc) from None
        raise


class _Retry(Retry):
    """Tries again when the connection is lost, and not when the user or password is refused, nor past a silent time.

    Attributes:
        silent_s: after this time no further try is made against a server that takes the call and does not answer.
    """

    silent_s = 0.0

    def call_with_retry(self, do: Callable[[], Any], *args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + self.silent_s

        def once() -> Any:
            with _final_errors(deadline):
                return do()

        try:
            return super().call_with_retry(once, *args, **options)
        except _Refused as exc:
            refusal = exc.refusal
        raise refusal  # out here, so that it does not become the cause of its own cause


class _AsyncRetry(AsyncRetry):
    """The same for an event loop."""

    silent_s = 0.0

    async def call_with_retry(self, do: Callable[[], Awaitable[Any]], *args: Any, **options: Any) -> Any:
        deadline = time.monotonic() + self.silent_s

        async def once() -> Any:
            with _final_errors(deadline):
                return await do()

        try:
            return await super().call_with_retry(once, *args, **options)
        except _Refused as exc:
            refusal = exc.refusal
        raise refusal  # out here, so that it does not become the cause of its own cause


def tries_within(seconds: float) -> int:
    """How many retries fit into a time, in the mean: pauses are random between 0 and a growing bound."""
    tries, spent = 0, 0.0
    while True:
        bound = _BACKOFF_BASE_S * 2 ** min(tries, 30)
        spent += bound / 2 if bound <= _BACKOFF_CAP_S else _BACKOFF_CAP_S * (1 - _BACKOFF_CAP_S / (2 * bound))
        if spent > seconds:
            return tries
        tries += 1


def _options(retry_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": min(SOCKET_TIMEOUT_S, max(retry_s, 0.5)),
        "socket_connect_timeout": min(5.0, max(retry_s, 0.5)),
        "health_check_interval": 30,
    }


def connect(url: str, *, retry_s: float, connections: int = 64) -> redis.Redis:
    """A blocking client on a pool that waits for a free connection instead of failing.

    Args:
        retry_s: how long a command tries to reach the server, about.
        connections: the most that are open at a time; give threads + 16.

    Raises:
        ConfigurationError: the URL is none that redis-py knows.
    """
    retry = _Retry(ExponentialWithJitterBackoff(_BACKOFF_CAP_S, _BACKOFF_BASE_S), tries_within(retry_s))
    retry.silent_s = retry_s
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=30, retry=retry, **_options(retry_s)
        )
        pool.connection_class(**pool.connection_kwargs)  # connects nowhere, but knows the options
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(_MALFORMED) from exc
    return redis.Redis(connection_pool=pool)


def connect_async(url: str, *, retry_s: float, connections: int = 64) -> redis.asyncio.Redis:
    """The same for an event loop."""
    retry = _AsyncRetry(ExponentialWithJitterBackoff(_BACKOFF_CAP_S, _BACKOFF_BASE_S), tries_within(retry_s))
    retry.silent_s = retry_s
    try:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=30, retry=retry, **_options(retry_s)
        )
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(_MALFORMED) from exc
    return redis.asyncio.Redis(connection_pool=pool)


def _script_text(name: str) -> str:
    return resources.files("warmlane").joinpath("lua", f"{name}.lua").read_text()


class _Store:
    """A client, and the scripts that it runs."""

    def __init__(self, client: Any, names: Keys, url: str) -> None:
        self.client = client
        self.names = names
        self.url = url
        self._scripts = {name: client.register_script(_script_text(name)) for name in _SCRIPTS}

    def _command(self, op: Op[Any]) -> tuple[Any, ...]:
        # `Script` around this costs as much as the command itself.
        keys, args = op.arguments(self.names)
        return "EVALSHA", self._scripts[op.script].sha, len(keys), *keys, *args

    def _taught(self, op: Op[Any]) -> Any:
        """The reply to an operation whose script the server does not know, or has forgotten."""
        keys, args = op.arguments(self.names)
        return self._scripts[op.script](keys=keys, args=args)


class RedisStore(_Store):
    """Runs operations on a blocking client. Threads may share it."""

    client: redis.Redis

    def run(self, op: Op[R]) -> R:
        """Run an operation in one round trip.

        Raises:
            ServerUnreachable: the server did not answer within the client's retries.
        """
        with translated(self.url):
            try:
                reply = self.client.execute_command(*self._command(op))  # type: ignore[no-untyped-call]
            except redis.exceptions.NoScriptError:
                reply = self._taught(op)
        return op.read(reply)

    def run_all(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """Run operations one after the other, in one round trip; an error stands in the place of its operation.

        Raises:
            ServerUnreachable: the server did not answer within the client's retries. Of some it may have run.
        """
        if len(ops) == 1:
            return [self.run(ops[0])]
        pipeline = self.client.pipeline(transaction=False)
        for op in ops:
            pipeline.execute_command(*self._command(op))  # type: ignore[no-untyped-call]
        with translated(self.url):
            replies = pipeline.execute(raise_on_error=False)
        return [self._read(op, reply) for op, reply in zip(ops, replies, strict=True)]

    def _read(self, op: Op[R], reply: Any) -> R | WarmlaneError:
        try:
            with translated(self.url):
                if isinstance(reply, redis.exceptions.NoScriptError):  # so it has not run
                    reply = self._taught(op)
                elif isinstance(reply, redis.RedisError):
                    raise reply
            return op.read(reply)
        except WarmlaneError as exc:
            return exc


class AsyncRedisStore(_Store):
    """Runs operations in an event loop."""

    client: redis.asyncio.Redis

    async def run(self, op: Op[R]) -> R:
        """As `RedisStore.run`."""
        with translated(self.url):
            try:
                reply = await self.client.execute_command(*self._command(op))  # type: ignore[no-untyped-call]
            except redis.exceptions.NoScriptError:
                reply = await self._taught(op)
        return op.read(reply)
