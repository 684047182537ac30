"""Workers that are none: they say that they live, and take jobs off a real server as they are told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from warmlane import Client, Settings
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys, queue_of
from warmlane.lanes import Take
from warmlane.message import JobMessage
from warmlane.ops import Finish
from warmlane.records import Outcome
from warmlane.registry import Beat
from warmlane.rescue import Gone, Rollcall
from warmlane.results import State, WarmModel, WorkerInfo
from warmlane.routing import Registry
from warmlane.store import RedisStore, connect
from warmlane_workers.consumer import HEARTBEAT_TIMEOUT_MS, SILENCE_S


class Fleet:
    """Workers that say that they live and take what comes, and a client that does not remember them."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(redis_url=url, namespace=f"lanes-{uuid.uuid4().hex[:8]}")
        self.names = Keys(self.settings.namespace)
        self.redis: Any = connect(url, retry_s=5)
        self.store = RedisStore(self.redis, self.names, url)
        self.client = Client(settings=self.settings)
        # The store knows no model, so that the client lets every name pass, with workers or without.
        self.client._wire._model_info = unknown  # type: ignore[method-assign, assignment]

    def beat(self, name: str, *models: str, state: str = "ready", pool: str = "default", pace_ms: float = 1.0) -> None:
        warm = tuple(WarmModel(f"{model}/1", "fill-mask", "float32", "cpu", 1, False, 0.0) for model in models)
        queues = (queue_of("predict", pool), "manage")
        self.store.run(Beat(WorkerInfo(name, "node", 1, "cpu", state, 64, 0, 100, queues, warm, pool, pace_ms)))
        self.forget()

    def forget(self) -> None:
        """The client reads the registry again."""
        self.client._wire._registry = (-1.0, Registry(()))

    def predict(self, model: str = "m", rows: Any = "row", **options: Any) -> str:
        return self.client.submit(PredictJob(model=model, inputs=rows), **options).id

    def take(self, worker: str, most: int = 100, pool: str = "default", *, upwards: bool = False) -> list[str]:
        found = self.store.run(Take(queue_of("predict", pool), worker, most, upwards))
        return [JobMessage.decode(data).message_id for data in found]

    def finish(self, job_id: str, worker: str) -> None:
        self.store.run(Finish(job_id, Outcome(State.SUCCEEDED, b""), 60, "predict", worker))

    def gone(self, asks: str, *, doubt: bool = False) -> Gone:
        """Who serves no more, as a worker hears it; without a doubt, the server was there all the time."""
        if not doubt:
            self.redis.set(self.names.watch(PREDICT_QUEUE), "")
            self.redis.delete(self.names.doubt(PREDICT_QUEUE))
        return self.store.run(Rollcall(PREDICT_QUEUE, asks, HEARTBEAT_TIMEOUT_MS, int(SILENCE_S * 1000)))

    def silence(self, worker: str) -> None:
        """Let a worker be silent for longer than the time-out."""
        self.redis.zincrby(self.names.heartbeats(PREDICT_QUEUE), -HEARTBEAT_TIMEOUT_MS - 1000, worker)


@contextmanager
def pretended(url: str) -> Iterator[Fleet]:
    """A fleet in a namespace of its own."""
    made = Fleet(url)
    with made.client:
        yield made
    made.redis.close()
    made.redis.connection_pool.disconnect()


def unknown(text: str) -> Iterator[None]:
    """What a client knows of a model that no worker has told of."""
    return None
    yield
