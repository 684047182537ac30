"""A model behind Ray Serve, in batches of at most 32. Run by `benchmarks.peers` in the peers' environment:
`python -m benchmarks.peers_ray DIRECTORY TASK PORT WORKERS`."""

from __future__ import annotations

import sys
from typing import Any

import ray
from ray import serve

from benchmarks.peers_model import Model


@serve.deployment(max_ongoing_requests=64)
class Api:
    def __init__(self, directory: str, task: str) -> None:
        self.model = Model(directory, task)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.01)
    async def answer(self, rows: list[str]) -> list[Any]:
        return self.model.many(rows)

    async def __call__(self, request: Any) -> dict[str, Any]:
        return {"answer": await self.answer((await request.json())["text"])}


if __name__ == "__main__":
    directory, task, port, workers = sys.argv[1:5]
    ray.init(num_cpus=int(workers) + 2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(Api.options(num_replicas=int(workers)).bind(directory, task), blocking=True)
