"""Every name that warmlane uses in Redis, in one place. Knows names, not values.

| name                | Redis type   | written by              | read by                 | lives for |
|---------------------|--------------|-------------------------|-------------------------|-----------|
| `<ns>:job:<id>`     | hash         | submit, start, finish   | watch, status           | result TTL twice over |
| `<ns>:result:<id>`  | string       | finish                  | watch                   | result TTL |
| `<ns>:stream:<id>`  | stream       | predict jobs, finish    | those who follow a job  | result TTL |
| `<ns>:models`       | hash         | manage jobs, a worker's start | client              | for ever (from the store) |
| `<ns>:workers`      | sorted set   | heartbeat               | client, unload          | pruned by readers' clock |
| `<ns>:worker:<id>`  | string       | heartbeat               | client, unload          | `WORKER_TTL_S` |
| `<ns>:running:<life>` | set        | start, finish           | a worker that comes after a crash | record TTL |
| `<ns>:replies:<id>` | list         | workers, after unload   | the unload job          | a minute |
| `<ns>:conversation:<model>:<id>` | hash | predict jobs   | predict jobs            | conversation TTL |
| `<ns>:mq:*`         | Dramatiq's   | submit, Dramatiq        | Dramatiq                | until acknowledged |
| `<ns>:inbox:<id>`   | channel      | finish, predict jobs    | one client process      | - |
| `<ns>:bell`         | channel      | submit                  | every worker            | - |
| `<ns>:control`      | channel      | the unload job          | every worker            | - |
"""

from __future__ import annotations

from dataclasses import dataclass

#: Predict, load and unload jobs: a device is needed.
PREDICT_QUEUE = "predict"
#: Jobs on the model store: no device is needed.
MANAGE_QUEUE = "manage"
QUEUES = (PREDICT_QUEUE, MANAGE_QUEUE)

#: Job kind -> the queue that carries it. The actor has the kind's name.
QUEUE_OF_KIND = {
    "predict": PREDICT_QUEUE,
    "load": PREDICT_QUEUE,
    "unload": PREDICT_QUEUE,
    "save": MANAGE_QUEUE,
    "persist": MANAGE_QUEUE,
    "alias": MANAGE_QUEUE,
    "delete": MANAGE_QUEUE,
}

#: How often a worker says that it lives, and how long its word counts.
HEARTBEAT_S = 3.0
WORKER_TTL_S = 15.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The names under one namespace; two fleets may share a Redis under different namespaces."""

    namespace: str = "warmlane"

    def job(self, job_id: str) -> str:
        return f"{self.namespace}:job:{job_id}"

    def result(self, job_id: str) -> str:
        return f"{self.namespace}:result:{job_id}"

    def stream(self, job_id: str) -> str:
        return f"{self.namespace}:stream:{job_id}"

    def worker(self, worker_id: str) -> str:
        return f"{self.namespace}:worker:{worker_id}"

    def running(self, life: str) -> str:
        """What one process of a worker runs; `warmlane.blame` says what a life is."""
        return f"{self.namespace}:running:{life}"

    def replies(self, job_id: str) -> str:
        return f"{self.namespace}:replies:{job_id}"

    def conversation(self, model: str, conversation_id: str) -> str:
        return f"{self.namespace}:conversation:{model}:{conversation_id}"

    def inbox(self, client_id: str) -> str:
        return f"{self.namespace}:inbox:{client_id}"

    @property
    def models(self) -> str:
        return f"{self.namespace}:models"

    @property
    def workers(self) -> str:
        return f"{self.namespace}:workers"

    @property
    def bell(self) -> str:
        return f"{self.namespace}:bell"

    @property
    def control(self) -> str:
        return f"{self.namespace}:control"

    @property
    def broker(self) -> str:
        """Dramatiq's namespace: it puts `:<queue>` and `:<queue>.msgs` behind it."""
        return f"{self.namespace}:mq"

    def queue(self, queue_name: str) -> str:
        return f"{self.broker}:{queue_name}"

    def messages(self, queue_name: str) -> str:
        return f"{self.broker}:{queue_name}.msgs"

    def acks(self, broker_id: str, queue_name: str) -> str:
        return f"{self.broker}:__acks__.{broker_id}.{queue_name}"
