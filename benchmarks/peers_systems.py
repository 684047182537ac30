"""The systems that `benchmarks.peers` runs, each with its server processes and a way to ask it one text."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import dramatiq
import httpx
import psutil
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results.backends import RedisBackend

from benchmarks.measure import tree
from benchmarks.peers_cases import Case
from benchmarks.peers_env import ROOT
from tests.fleet import Fleet, free_port
from warmlane import AsyncClient
from warmlane.embedded import EmbeddedServer

#: How long a peer may take to start, in seconds.
START_S = 180.0
#: How often a caller sends a text to a peer that closes its connection without an answer.
TRIES = 3
CORES = os.cpu_count() or 1

Ask = Callable[[str], Awaitable[Any]]


class System(ABC):
    """A server of one model.

    Attributes:
        name: as the report has it.
        root: the process from which all of its processes descend.
        redis: the process of the server of its queue, which counts by itself; None where it has none.
    """

    name: str
    root: int
    redis: int | None = None

    @abstractmethod
    def asking(self) -> AbstractAsyncContextManager[Ask]:
        """A client for many callers."""

    @abstractmethod
    def stop(self) -> None:
        """End all of its processes."""


class Warmlane(System):
    """Its worker and the embedded server; asked with `AsyncClient`."""

    name = "warmlane"

    def __init__(self, case: Case, directory: Path, home: Path) -> None:
        self.case = case
        self.fleet = Fleet(home, roots=[directory])
        self.root = self.fleet.start_worker().pid
        with self.fleet.client() as client:
            client.save(case.name, directory, task=case.task).result(timeout=START_S)
            client.load(case.name, pin=True).result(timeout=START_S)
        self.redis = redis_pid(self.fleet.server.url)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Ask]:
        async with AsyncClient(settings=self.fleet.settings) as client:

            async def ask(text: str) -> Any:
                return await client.predict(self.case.name, text, params=self.case.params).result(timeout=START_S)

            yield ask

    def stop(self) -> None:
        self.fleet.close()


class Started(System):
    """A peer that is a command.

    Args:
        command: its words; it runs in the root of the project.
        env: beside this process's variables.
    """

    def __init__(self, name: str, command: list[str], home: Path, env: dict[str, str]) -> None:
        self.name = name
        self.log = home / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1", **env},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.root = self.process.pid

    def wait_for_answer(self) -> None:
        """Raises RuntimeError with the end of its log where it does not come up."""
        until = time.monotonic() + START_S
        while not asyncio.run(self._answers()):
            if time.monotonic() > until or self.process.poll() is not None:
                self.stop()
                lines = self.log.read_text(errors="replace").strip().splitlines()
                raise RuntimeError(f"{self.name} does not answer: {lines[-1][:300] if lines else 'no word'}")
            time.sleep(0.5)

    async def _answers(self) -> bool:
        try:
            async with self.asking() as ask:
                await ask("is anybody there")
        except (httpx.HTTPError, redis.RedisError):
            return False
        return True

    def stop(self) -> None:
        found = tree(self.root) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(found, timeout=20)
        for process in alive:
            process.kill()
        self.process.wait()


class OverHttp(Started):
    """A peer that is asked with JSON.

    Args:
        path: where; `body` makes the request of a text.
    """

    def __init__(
        self,
        name: str,
        module: str,
        python: Path,
        case: Case,
        directory: Path,
        home: Path,
        path: str = "/",
        body: Callable[[str], Any] = lambda text: {"text": text},
    ) -> None:
        port = free_port()
        command = [str(python), "-m", module, str(directory), case.task, str(port), str(CORES)]
        if name == "LitServe":
            path = "/predict"
        super().__init__(name, command, home, {"PEERS_HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"})
        self.url, self.body = f"http://127.0.0.1:{port}{path}", body
        self.wait_for_answer()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Ask]:
        async with httpx.AsyncClient(timeout=START_S, limits=httpx.Limits(max_connections=64)) as client:

            async def once(text: str) -> Any:
                reply = await client.post(self.url, json=self.body(text))
                return reply.raise_for_status().json()

            async def ask(text: str) -> Any:
                for _ in range(TRIES - 1):
                    # A server may restart a worker that is too busy to say that it lives.
                    with contextlib.suppress(httpx.NetworkError):
                        return await once(text)
                return await once(text)

            yield ask


class PlainDramatiq(Started):
    """Dramatiq's command and its results, on a server of its own; as many processes as cores, of 8 threads each."""

    def __init__(self, python: Path, case: Case, directory: Path, home: Path) -> None:
        self.server = EmbeddedServer(home / "dramatiq")
        self.server.attach()
        env = {"PEERS_REDIS": self.server.url, "PEERS_MODEL": str(directory), "PEERS_TASK": case.task}
        words = ["-m", "dramatiq", "benchmarks.peers_dramatiq", "--processes", str(CORES), "--threads", "8"]
        super().__init__("Dramatiq", [str(python), *words], home, env)
        self.redis = redis_pid(self.server.url)
        self.wait_for_answer()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Ask]:
        broker = RedisBroker(url=self.server.url)
        backend = RedisBackend(url=self.server.url)

        def wait(text: str) -> Any:
            message = dramatiq.Message(queue_name="default", actor_name="answer", args=(text,), kwargs={}, options={})
            broker.enqueue(message)
            return message.get_result(backend=backend, block=True, timeout=int(START_S * 1000))

        with ThreadPoolExecutor(64) as pool:
            loop = asyncio.get_running_loop()

            async def ask(text: str) -> Any:
                return await loop.run_in_executor(pool, wait, text)

            yield ask

    def stop(self) -> None:
        super().stop()
        self.server.detach()


def redis_pid(url: str) -> int:
    """The process of a server."""
    client = redis.Redis.from_url(url)
    try:
        said: Any = client.info("server")
        return int(said["process_id"])
    finally:
        client.close()


def start(name: str, case: Case, directory: Path, home: Path, python: Path, mlflow: Path | None) -> System:
    """A system, ready to be asked.

    Raises:
        RuntimeError: it does not come up.
    """
    if name == "warmlane":
        return Warmlane(case, directory, home)
    if name == "Dramatiq":
        return PlainDramatiq(python, case, directory, home)
    if name == "LitServe":
        return OverHttp(name, "benchmarks.peers_litserve", python, case, directory, home)
    if name == "Ray Serve":
        return OverHttp(name, "benchmarks.peers_ray", python, case, directory, home)
    return OverHttp(
        name,
        "benchmarks.peers_mlflow",
        mlflow or Path(sys.executable),
        case,
        directory,
        home,
        "/invocations",
        lambda text: {"inputs": [text]},
    )
