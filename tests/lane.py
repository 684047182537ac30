"""Workers of this process on a real server: our broker, life cycle and Dramatiq's threads, handlers without a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq

from warmlane import Client, Job, JobStatus, Settings
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.lanes import Take
from warmlane.store import RedisStore, connect
from warmlane_workers import actors
from warmlane_workers.bell import Bell
from warmlane_workers.broker import LaneBroker
from warmlane_workers.consumer import HEARTBEAT_TIMEOUT_MS
from warmlane_workers.context import JobContext
from warmlane_workers.lifecycle import Lifecycle
from warmlane_workers.threadless import Beginner, Threadless

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 15

Handler = Callable[[PredictJob, JobContext], Any]


def echo(job: PredictJob, context: JobContext) -> Any:
    return job.inputs


class Gate:
    """A handler that holds its jobs until it is opened."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, job: PredictJob, context: JobContext) -> Any:
        self.begun.release()
        assert self._open.wait(LIMIT_S)
        return job.inputs

    def wait_for(self, count: int) -> None:
        """Return when so many jobs have begun."""
        for _ in range(count):
            assert self.begun.acquire(timeout=LIMIT_S)

    def open(self) -> None:
        self._open.set()


class Worker:
    """A worker of this process: broker, life cycle, Dramatiq's threads, and perhaps a doorbell."""

    def __init__(
        self,
        lane: Lane,
        worker_id: str,
        threads: int,
        handler: Handler,
        bell: bool,
        poll_ms: int,
        beginner: Beginner | None,
    ) -> None:
        self._client = connect(lane.url, retry_s=LIMIT_S, connections=threads + 16)
        store = RedisStore(self._client, lane.names, lane.url)
        self.broker = LaneBroker(store, worker_id, threads)
        lifecycle = Lifecycle(store, worker_id, {"predict": handler}, 60, self.broker.settled)
        self.broker.on_reject = lifecycle.reject
        if beginner is not None:
            self.broker.begin = Threadless(lifecycle, beginner).begin
        actors.declare(self.broker, lifecycle, [PREDICT_QUEUE])
        self.bell = Bell(self._client, lane.names, self.broker, lambda command: None) if bell else None
        self._worker = dramatiq.Worker(self.broker, worker_threads=threads, worker_timeout=poll_ms)
        if self.bell is not None:
            self.bell.start()
        self._worker.start()

    def stop(self) -> None:
        if self.bell is not None:
            self.bell.stop()
        self.broker.draining = True
        self.broker.ring()
        self._worker.stop(timeout=LIMIT_S * 1000)

    def close(self) -> None:
        if self.bell is not None:
            self.bell._thread.join(LIMIT_S)
        self._client.close()
        self._client.connection_pool.disconnect()


class Lane:
    """A namespace of its own on the server: submits jobs, waits for their ends, looks at the keys."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.names = Keys(namespace)
        self.redis: Any = connect(url, retry_s=LIMIT_S)
        self.client = Client(settings=Settings(redis_url=url, namespace=namespace))
        self.jobs: dict[str, Job] = {}
        self._workers: list[Worker] = []

    def worker(
        self,
        worker_id: str = "worker-1",
        *,
        threads: int = 4,
        handler: Handler = echo,
        bell: bool = True,
        poll_ms: int = 100,
        beginner: Beginner | None = None,
    ) -> Worker:
        made = Worker(self, worker_id, threads, handler, bell, poll_ms, beginner)
        self._workers.append(made)
        return made

    def submit(self, inputs: Any = "hello") -> str:
        job = self.client.submit(PredictJob(model="m", inputs=inputs))
        self.jobs[job.id] = job
        return job.id

    def submit_bytes(self, data: bytes) -> str:
        """A job whose message is replaced by something else."""
        job_id = self.submit()
        self.redis.hset(self.names.messages(PREDICT_QUEUE), job_id, data)
        return job_id

    def result(self, job_id: str) -> Any:
        return self.jobs[job_id].result(timeout=LIMIT_S)

    def status(self, job_id: str) -> JobStatus:
        return self.jobs[job_id].status()

    def fetch_as(self, worker_id: str, count: int) -> list[bytes]:
        """What is handed to a worker of that name."""
        return RedisStore(self.redis, self.names, self.url).run(Take(PREDICT_QUEUE, worker_id, count))

    def acks(self, worker_id: str = "worker-1") -> set[str]:
        return {item.decode() for item in self.redis.smembers(self.names.acks(worker_id, PREDICT_QUEUE))}

    def waiting(self) -> int:
        return int(self.redis.llen(self.names.queue(PREDICT_QUEUE)))

    def dead_letters(self) -> dict[str, bytes]:
        """What is buried, and its bytes. Dramatiq's own place for it stays empty."""
        assert not self.redis.exists(self.names.queue("predict.XQ"))
        return {dead.id: self.redis.hget(self.names.letter(dead.id), "message") for dead in self.client.dead()}

    def heartbeat(self, worker_id: str = "worker-1") -> float:
        return float(self.redis.zscore(self.names.heartbeats(PREDICT_QUEUE), worker_id) or 0)

    def silence(self, worker_id: str) -> None:
        """Let a worker be silent for longer than the time-out, while the server was there for all."""
        self.redis.delete(self.names.doubt(PREDICT_QUEUE))
        self.redis.zincrby(self.names.heartbeats(PREDICT_QUEUE), -HEARTBEAT_TIMEOUT_MS - 1000, worker_id)

    def until(self, true: Callable[[], bool]) -> None:
        """Look until something that nobody tells of is so."""
        pause = threading.Event()
        deadline = time.monotonic() + LIMIT_S
        while not true():
            assert time.monotonic() < deadline, "it never came true"
            pause.wait(0.005)

    def nothing_is_left(self, worker_id: str = "worker-1") -> bool:
        return not self.acks(worker_id) and not self.waiting() and not self.redis.hlen(self.names.messages("predict"))

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self.client.close()
        self.redis.close()
        self.redis.connection_pool.disconnect()
