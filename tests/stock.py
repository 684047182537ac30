"""Dramatiq as it comes, for tests that show what it loses: its Redis broker with default settings, and three actors.

    STOCK_URL=unix:///tmp/redis.sock STOCK_NAMESPACE=stock dramatiq tests.stock

The command imports this module; tests make a `Stock` in their own process. What ran is written to a list on the server,
since a result may be what is lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dramatiq
from dramatiq import Message, Middleware
from dramatiq.brokers.redis import DEFAULT_HEARTBEAT_TIMEOUT, RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.lane import LIMIT_S
from warmlane.store import connect

QUEUE = "default"
DELAYED = "default.DQ"


class Ended(Middleware):
    """Says when an attempt has ended. Its hook is the last: it is the first of the middleware, and they end in turn."""

    def __init__(self) -> None:
        self.count = threading.Semaphore(0)

    def after_process_message(self, *args: Any, **kwargs: Any) -> None:
        self.count.release()


class Stock:
    """A broker over a namespace of its own.

    Args:
        options: what is not as Dramatiq has it.

    Attributes:
        note: an actor that writes that it ran, and takes so many seconds.
        work: one that begins, waits until `go` is set, and gives back what it was given.
        fail: the same, but it raises instead.
    """

    def __init__(self, url: str, namespace: str = "stock", **options: Any) -> None:
        self.redis_url = url
        self.redis: Any = connect(url, retry_s=15)
        self.broker = RedisBroker(url=url, namespace=namespace, **options)  # type: ignore[no-untyped-call]
        self.results = RedisBackend(url=url, namespace=f"{namespace}-results")  # type: ignore[no-untyped-call]
        self.ended = Ended()
        self.broker.add_middleware(self.ended, before=type(self.broker.middleware[0]))
        self.broker.add_middleware(Results(backend=self.results))
        self.namespace = namespace
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.note = dramatiq.actor(self._note, actor_name="note", broker=self.broker)
        self.work = dramatiq.actor(self._work, actor_name="work", broker=self.broker, store_results=True)
        self.fail = dramatiq.actor(self._fail, actor_name="fail", broker=self.broker)

    def _note(self, word: str, wait_s: float = 0.0) -> None:
        self.redis.rpush(f"{self.namespace}-ran", f"{word} {os.getpid()}")
        threading.Event().wait(wait_s)

    def _work(self, word: str) -> str:
        self.begun.release()
        self.go.wait()
        return word

    def _fail(self) -> None:
        self._work("")
        raise ValueError("as it was told")

    def ran(self) -> list[tuple[str, int]]:
        """The words of `note` and the processes that it ran in, in the order in which they came."""
        lines = (line.decode().split() for line in self.redis.lrange(f"{self.namespace}-ran", 0, -1))
        return [(word, int(pid)) for word, pid in lines]

    def waiting(self, queue: str = QUEUE) -> int:
        return int(self.redis.llen(f"{self.namespace}:{queue}"))

    def taken(self, queue: str = QUEUE) -> int:
        """How many messages this process is counted to have."""
        return int(self.redis.scard(f"{self.namespace}:__acks__.{self.broker.broker_id}.{queue}"))

    def keeps(self, message: Message[Any]) -> bool:
        """Whether the server has a message or a retry of it at all: waiting, taken, delayed or dead."""
        places = (f"{self.namespace}:{QUEUE}{part}.msgs" for part in ("", ".DQ", ".XQ"))
        return any(message.message_id.encode() in data for place in places for data in self.redis.hvals(place))

    def age(self, broker_id: str, seconds: float) -> None:
        """As if a worker had last been heard of so much earlier."""
        self.redis.zincrby(f"{self.namespace}:__heartbeats__", -seconds * 1000, broker_id)

    def close(self) -> None:
        self.broker.close()
        for client in (self.redis, self.broker.client, self.results.client):
            client.close()
            client.connection_pool.disconnect()


def until(true: Callable[[], bool]) -> None:
    """Look until something that nobody tells of is so."""
    pause = threading.Event()
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        pause.wait(0.02)


def watch(seconds: float) -> None:
    """Let time pass in which nothing happens."""
    threading.Event().wait(seconds)


@contextmanager
def working(stock: Stock, threads: int = 2) -> Iterator[None]:
    """A worker in this process."""
    worker = dramatiq.Worker(stock.broker, worker_threads=threads)
    worker.start()
    try:
        yield
    finally:
        worker.stop(timeout=LIMIT_S * 1000)


def _of_the_command(env: Mapping[str, str]) -> Stock:
    heartbeat_ms = int(env.get("STOCK_HEARTBEAT_MS", DEFAULT_HEARTBEAT_TIMEOUT))
    return Stock(env["STOCK_URL"], env["STOCK_NAMESPACE"], heartbeat_timeout=heartbeat_ms)


if "STOCK_URL" in os.environ:
    dramatiq.set_broker(_of_the_command(os.environ).broker)
