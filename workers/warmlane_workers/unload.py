"""Unload, on every worker that holds the model: a word on the control channel, and the answers collected.

Each worker answers by pushing onto one list, on which the job blocks; a worker that dies meanwhile is named as missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import redis

from warmlane import codec
from warmlane.jobs import UnloadJob
from warmlane.keys import Keys
from warmlane.registry import ReadWorkers
from warmlane.store import RedisStore, translated
from warmlane_workers.context import JobContext

#: How long the workers have to answer, in seconds.
ANSWER_S = 10
#: How long an answer that nobody reads stays, in seconds.
_REPLY_TTL_S = 60


class Unload:
    """Handler of unload jobs, and the part of every worker that obeys them.

    Args:
        client: for blocking reads.
        free: lets go of a model in this process; returns bytes.
    """

    def __init__(
        self, store: RedisStore, client: redis.Redis, names: Keys, worker_id: str, free: Callable[[str], int]
    ) -> None:
        self._store = store
        self._client = client
        self._names = names
        self._worker_id = worker_id
        self._free = free

    def handle(self, job: UnloadJob, context: JobContext) -> dict[str, Any]:
        """Ask all live workers; the result tells who freed how many bytes, and who did not answer."""
        asked = {worker.id for worker in self._store.run(ReadWorkers())} | {self._worker_id}
        command = {"op": "unload", "model": job.model, "job": context.job_id}
        freed: dict[str, int] = {}
        deadline = time.monotonic() + ANSWER_S
        with translated(self._store.url):
            self._client.publish(self._names.control, codec.encode("control", command))
            while asked - set(freed) and time.monotonic() < deadline:
                reply: Any = self._client.blpop([self._names.replies(context.job_id)], timeout=1)
                if reply is not None:
                    answer = codec.decode("reply", reply[1])
                    freed[answer["worker"]] = answer["bytes"]
        return {
            "model": job.model,
            "freed": {worker: size for worker, size in freed.items() if size},
            "bytes": sum(freed.values()),
            "missing": sorted(asked - set(freed)),
        }

    def obey(self, command: dict[str, Any]) -> None:
        """A control message arrived."""
        model, job_id = command.get("model"), command.get("job")
        if command.get("op") != "unload" or not isinstance(model, str) or not isinstance(job_id, str):
            return
        answer = codec.encode("reply", {"worker": self._worker_id, "bytes": self._free(model)})
        key = self._names.replies(job_id)
        with translated(self._store.url):
            pipe = self._client.pipeline()
            pipe.rpush(key, answer)
            pipe.expire(key, _REPLY_TTL_S)
            pipe.execute()
