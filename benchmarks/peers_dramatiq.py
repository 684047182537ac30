"""A plain Dramatiq actor that calls the pipeline for each message, with Dramatiq's own results. Run by
`benchmarks.peers` under the command `dramatiq`, with the place of the server and of the model in the environment."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers_model import Model

URL = os.environ["PEERS_REDIS"]
broker = RedisBroker(url=URL)
backend = RedisBackend(url=URL)
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)
_models: list[Model] = []


@dramatiq.actor(store_results=True, max_retries=0)
def answer(text: str) -> Any:
    return _models[0].one(text)


class LoadModel(dramatiq.Middleware):
    """In each worker, after it has forked."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:
        _models.append(Model(os.environ["PEERS_MODEL"], os.environ["PEERS_TASK"]))


broker.add_middleware(LoadModel())
