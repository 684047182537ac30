"""The client's settings: one frozen object, read from the environment once. Knows no other module."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmlane.errors import ConfigurationError

#: How long a result waits for its caller, in seconds.
RESULT_TTL_S = 24 * 3600
#: The longest time that Redis is asked to keep or to count, ten years in seconds: it refuses some that are longer, and
#: miscounts others.
LONGEST_S = 10 * 365 * 24 * 3600
#: How many jobs may wait and run in one queue, and of how many bytes together, wherever their payloads are.
QUEUE_JOBS = 100_000
QUEUE_BYTES = 2**30
#: A payload or result up to this size travels through Redis where there is a blob store, in bytes.
INLINE_BYTES = 64 * 1024
#: The largest payload or result of a blob store, in bytes.
BLOB_BYTES = 2**30
#: How long a job may wait in its queue before its record is dropped, in seconds.
QUEUED_TTL_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Settings:
    """What a caller can set.

    Attributes:
        redis_url: `redis://`, `rediss://` or `unix://`, with user, password, database and TLS options as redis-py reads
            them; None means the embedded server (`WARMLANE_REDIS_URL`).
        namespace: prefix of every key, so that several fleets can share a server (`WARMLANE_NAMESPACE`).
        home: where the embedded server and the default model store live (`WARMLANE_HOME`).
        result_ttl_s: how long a result can be fetched after its job ended (`WARMLANE_RESULT_TTL`).
        connect_timeout_s: how long a call tries to reach the server before `ServerUnreachable`
            (`WARMLANE_CONNECT_TIMEOUT`).
        queue_jobs: a job is refused with `QueueFull` where so many wait and run in its queue (`WARMLANE_QUEUE_JOBS`).
        queue_bytes: the same for the bytes of their messages and of their payloads in the blob store
            (`WARMLANE_QUEUE_BYTES`).
        blobs: where large payloads and results lie: a directory, or a URL that fsspec reads; clients and workers have
            the same (`WARMLANE_BLOBS`; with the embedded server `blobs` below home, else none).
        inline_bytes: what is larger goes there (`WARMLANE_INLINE_BYTES`).
        blob_bytes: what is larger is refused (`WARMLANE_BLOB_BYTES`).
    """

    redis_url: str | None = None
    namespace: str = "warmlane"
    home: Path = Path.home() / ".local" / "share" / "warmlane"
    result_ttl_s: int = RESULT_TTL_S
    connect_timeout_s: float = 5.0
    queue_jobs: int = QUEUE_JOBS
    queue_bytes: int = QUEUE_BYTES
    blobs: str | None = None
    inline_bytes: int = INLINE_BYTES
    blob_bytes: int = BLOB_BYTES

    @property
    def blob_store(self) -> str | None:
        """Where blobs lie: as set, else below the home that all users of the embedded server share, else nowhere."""
        return self.blobs or (None if self.redis_url else str(self.home / "blobs"))

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Settings from `WARMLANE_*`; keyword arguments that are not None win over the environment.

        Raises:
            ConfigurationError: a value that is not of its type, or a namespace with other characters than these:
                ASCII letters, digits, '-', '_' and '.'.
        """
        env = os.environ if env is None else env
        values: dict[str, Any] = {}
        if url := env.get("WARMLANE_REDIS_URL"):
            values["redis_url"] = url
        if namespace := env.get("WARMLANE_NAMESPACE"):
            values["namespace"] = namespace
        values["home"] = Path(env.get("WARMLANE_HOME") or _default_home(env)).expanduser()
        values["result_ttl_s"] = whole(env, "WARMLANE_RESULT_TTL", RESULT_TTL_S, minimum=1, maximum=LONGEST_S)
        values["connect_timeout_s"] = number(env, "WARMLANE_CONNECT_TIMEOUT", 5.0, minimum=0.1)
        values["queue_jobs"] = whole(env, "WARMLANE_QUEUE_JOBS", QUEUE_JOBS, minimum=1)
        values["queue_bytes"] = whole(env, "WARMLANE_QUEUE_BYTES", QUEUE_BYTES, minimum=1)
        values["blobs"] = env.get("WARMLANE_BLOBS") or None
        values["inline_bytes"] = whole(env, "WARMLANE_INLINE_BYTES", INLINE_BYTES, minimum=1)
        values["blob_bytes"] = whole(env, "WARMLANE_BLOB_BYTES", BLOB_BYTES, minimum=1)
        values |= {name: value for name, value in overrides.items() if value is not None}
        settings = cls(**values)
        if not re.fullmatch(r"[\w.-]+", settings.namespace, re.ASCII):
            raise ConfigurationError("WARMLANE_NAMESPACE: use letters, digits, '-', '_' and '.' only")
        return settings


def _default_home(env: Mapping[str, str]) -> str:
    return os.path.join(env.get("XDG_DATA_HOME") or os.path.join("~", ".local", "share"), "warmlane")


def number(env: Mapping[str, str], name: str, default: float, minimum: float = 0, maximum: float = math.inf) -> float:
    """A number from the environment.

    Raises:
        ConfigurationError: not a finite number, or not from the minimum to the maximum.
    """
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ConfigurationError(f"{name}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ConfigurationError(f"{name}: {text!r} is not a finite number")
    if value < minimum:
        raise ConfigurationError(f"{name}: must be at least {minimum:g}")
    if value > maximum:
        raise ConfigurationError(f"{name}: must be at most {maximum:g}")
    return value


def whole(env: Mapping[str, str], name: str, default: int, minimum: int = 0, maximum: float = math.inf) -> int:
    """A whole number from the environment.

    Raises:
        ConfigurationError: as `number`, or a fraction.
    """
    value = float(number(env, name, default, minimum, maximum))
    if not value.is_integer():
        raise ConfigurationError(f"{name}: must be a whole number")
    return int(value)
