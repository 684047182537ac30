"""The worker's settings: one frozen object, read from the environment; each has a flag on `warmlane worker`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmlane.errors import ConfigurationError
from warmlane.keys import DEFAULT_POOL, QUEUES
from warmlane.model import NAME
from warmlane.settings import LONGEST_S, Settings, number, whole

#: How long a conversation waits for its next turn, in seconds.
CONVERSATION_TTL_S = 24 * 3600
#: The variable that says where a supervisor's first worker serves its metrics.
METRICS_PORT = "WARMLANE_METRICS_PORT"
_HIGHEST_PORT = 65_535

#: A number, and a unit: bytes, or powers of 1000 (KB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB).
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *(?:([KMGT])(I?)B?|B)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Size:
    """An amount of memory, as it was set: in bytes, or as a share of all there is."""

    bytes: int = 0
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Size:
        """`12000000000`, `12GB`, `11.5 GiB`, or a share from above 0 to 1, such as `0.6`.

        Raises:
            ValueError: none of these.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError("a size is a number of bytes, one with a unit such as 12GB or 11.5GiB, or a share up to 1")
        amount, unit = float(match[1]), match[2]
        if unit is None and 0 < amount <= 1:
            return cls(share=amount)
        if unit is None and not amount.is_integer():
            raise ValueError("a number of bytes is whole, and a share at most 1")
        power = "KMGT".index(unit.upper()) + 1 if unit else 0
        return cls(int(amount * (1024 if match[3] else 1000) ** power))

    def __bool__(self) -> bool:
        return bool(self.bytes or self.share)

    def of(self, total: int) -> int:
        """In bytes, where all there is are so many."""
        return self.bytes or int(total * self.share)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What an operator can set for one worker process.

    Attributes:
        client: the server, the namespace, the home directory, the result TTL.
        device: "cpu", or the number of a GPU; the process sees no other one.
        store: root of the model store, a directory or a URL that fsspec reads (`WARMLANE_STORE`).
        store_cache: where copies of what a URL's store holds lie (`WARMLANE_STORE_CACHE`).
        source_roots: directories from which saves and rows may read local files (`WARMLANE_SOURCE_ROOTS`).
        threads: jobs taken at a time; they wait, so they are what a batch is made of (`WARMLANE_THREADS`).
        queues: which queues to serve (`WARMLANE_QUEUES`).
        pool: the name of the workers that it is one of; jobs may name it (`WARMLANE_POOL`).
        cache_bytes: budget of the warm cache, in bytes or as a share of the device's memory; none means the device's
            default (`WARMLANE_CACHE_BYTES`).
        host_cache_bytes: budget of the second tier, for models that left a GPU, in bytes or as a share of the RAM; none
            means the device's default (`WARMLANE_HOST_CACHE_BYTES`).
        cache_ttl_s: how long a model stays that nobody uses and that is not pinned; 0 means until there is no room for
            it (`WARMLANE_CACHE_TTL`).
        batch_tokens: padded tokens in a batch; 0 means the device's default (`WARMLANE_BATCH_TOKENS`).
        continuous_batching: whether texts that are generated may share batches that run, where the model is seen to
            answer alike there (`WARMLANE_CONTINUOUS_BATCHING`: auto or off).
        trust_remote_code: whether custom code of models may run here at all (`WARMLANE_TRUST_REMOTE_CODE`); a job has
            to ask for it as well.
        url_inputs: whether rows may be URLs, which the worker then reads from its own network (`WARMLANE_URL_INPUTS`).
        conversation_ttl_s: how long a conversation waits for its next turn (`WARMLANE_CONVERSATION_TTL`).
        drain_timeout_s: how long a drain waits for jobs that run (`WARMLANE_DRAIN_TIMEOUT`).
        metrics_port: where this process serves its metrics; 0 nowhere. The supervisor gives each of its workers the
            next one from `WARMLANE_METRICS_PORT` on.
        metrics_host: the address there (`WARMLANE_METRICS_HOST`).
    """

    client: Settings
    store: str
    store_cache: Path
    source_roots: tuple[Path, ...]
    device: str = "cpu"
    threads: int = 64
    queues: tuple[str, ...] = field(default=QUEUES)
    pool: str = DEFAULT_POOL
    cache_bytes: Size | None = None
    host_cache_bytes: Size | None = None
    cache_ttl_s: float = 0.0
    batch_tokens: int = 0
    continuous_batching: bool = True
    trust_remote_code: bool = False
    url_inputs: bool = False
    conversation_ttl_s: int = CONVERSATION_TTL_S
    drain_timeout_s: float = 600.0
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **overrides: Any) -> WorkerSettings:
        """Settings from `WARMLANE_*`; keyword arguments that are not None win.

        Raises:
            ConfigurationError: a value that is not of its type, or an unknown queue.
        """
        env = os.environ if env is None else env
        client = Settings.from_env(env)
        roots = env.get("WARMLANE_SOURCE_ROOTS") or os.getcwd()
        values: dict[str, Any] = {
            "client": client,
            "store": os.path.expanduser(env.get("WARMLANE_STORE") or client.home / "models"),
            "store_cache": Path(env.get("WARMLANE_STORE_CACHE") or client.home / "store-cache").expanduser(),
            "source_roots": tuple(Path(root).expanduser().resolve() for root in roots.split(":") if root),
            "threads": whole(env, "WARMLANE_THREADS", 64, minimum=1),
            "queues": tuple(env["WARMLANE_QUEUES"].split(",")) if env.get("WARMLANE_QUEUES") else QUEUES,
            "pool": env.get("WARMLANE_POOL") or DEFAULT_POOL,
            "cache_bytes": _size(env, "WARMLANE_CACHE_BYTES"),
            "host_cache_bytes": _size(env, "WARMLANE_HOST_CACHE_BYTES"),
            "cache_ttl_s": number(env, "WARMLANE_CACHE_TTL", 0),
            "batch_tokens": whole(env, "WARMLANE_BATCH_TOKENS", 0),
            "continuous_batching": _continuous_batching(env),
            "trust_remote_code": _flag(env, "WARMLANE_TRUST_REMOTE_CODE"),
            "url_inputs": _flag(env, "WARMLANE_URL_INPUTS"),
            "conversation_ttl_s": whole(
                env, "WARMLANE_CONVERSATION_TTL", CONVERSATION_TTL_S, minimum=1, maximum=LONGEST_S
            ),
            "drain_timeout_s": number(env, "WARMLANE_DRAIN_TIMEOUT", 600),
            "metrics_port": _port(env, METRICS_PORT),
            "metrics_host": env.get("WARMLANE_METRICS_HOST") or "127.0.0.1",
        }
        values |= {name: value for name, value in overrides.items() if value is not None}
        unknown = set(values["queues"]) - set(QUEUES)
        if unknown:
            raise ConfigurationError(f"queues: {', '.join(sorted(unknown))}: choose from {', '.join(QUEUES)}")
        if not NAME.fullmatch(values["pool"]):
            raise ConfigurationError("WARMLANE_POOL: use a-z, 0-9, '.', '_' and '-', the first a letter or digit")
        return cls(**values)


def _flag(env: Mapping[str, str], name: str) -> bool:
    """Off, unless it says in so many words that it is on."""
    return env.get(name) in ("1", "true", "yes")


def _continuous_batching(env: Mapping[str, str]) -> bool:
    said = env.get("WARMLANE_CONTINUOUS_BATCHING") or "auto"
    if said not in ("auto", "off"):
        raise ConfigurationError("WARMLANE_CONTINUOUS_BATCHING: auto, where it answers as the model alone does, or off")
    return said == "auto"


def _size(env: Mapping[str, str], name: str) -> Size | None:
    text = env.get(name)
    if not text:
        return None
    try:
        return Size.parse(text)
    except ValueError as exc:
        raise ConfigurationError(f"{name}: {exc}") from None


def _port(env: Mapping[str, str], name: str) -> int:
    """A port; 0 where none is set. One that the system chooses would be found by nobody."""
    port = whole(env, name, 1, minimum=1)
    if port > _HIGHEST_PORT:
        raise ConfigurationError(f"{name}: a port is at most {_HIGHEST_PORT}")
    return port if env.get(name) else 0
