"""Every name that warmlane uses in Redis, in one place. Knows names, not values.

| name                | Redis type   | written by              | read by                 | lives for |
|---------------------|--------------|-------------------------|-------------------------|-----------|
| `<ns>:job:<id>`     | hash         | submit, start, finish   | watch, status           | result TTL twice over |
| `<ns>:result:<id>`  | string       | finish                  | watch                   | result TTL |
| `<ns>:stream:<id>`  | stream       | predict jobs, finish    | those who follow a job  | result TTL |
| `<ns>:models`       | hash         | manage jobs, a worker's start | client              | for ever (from the store) |
| `<ns>:workers`      | sorted set   | heartbeat               | client, unload          | pruned by readers' clock |
| `<ns>:queues`       | set          | submit                  | operators               | pruned by readers |
| `<ns>:lanes:<queue>` | sorted set  | heartbeat, rehome       | submit, rollcall        | pruned by rehome |
| `<ns>:waiting:<queue>` | sorted set | submit, steal          | steal                   | pruned by steal |
| `<ns>:heard:<queue>` | sorted set  | take, rollcall          | rollcall                | pruned by requeue |
| `<ns>:watch:<queue>` | string      | rollcall                | rollcall                | a silence of the server |
| `<ns>:doubt:<queue>` | string      | rollcall                | rollcall                | `WORKER_TTL_S` |
| `<ns>:paces`        | hash         | heartbeat, rehome       | submit                  | as lanes |
| `<ns>:budgets`      | hash         | load jobs               | load jobs               | for ever |
| `<ns>:home:<queue>:<model>` | string | submit               | submit                  | `HOME_TTL_S` |
| `<ns>:homes:<queue>:<worker>` | sorted set | submit         | submit                  | `HOME_TTL_S` |
| `<ns>:worker:<id>`  | string       | heartbeat               | client, unload          | `WORKER_TTL_S` |
| `<ns>:running:<life>` | set        | start, finish           | a worker that comes after a crash | record TTL |
| `<ns>:dead`         | sorted set   | workers, operators      | operators               | `DEAD_TTL_S` |
| `<ns>:dead:<id>`    | hash         | workers, operators      | operators               | `DEAD_TTL_S` |
| `<ns>:replies:<id>` | list         | workers, after unload   | the unload job          | a minute |
| `<ns>:conversation:<model>:<id>` | hash | predict jobs   | predict jobs            | conversation TTL |
| `<ns>:mq:*`         | Dramatiq's   | submit, requeue         | take                    | until acknowledged |
| `<ns>:mq:<queue>@<worker>` | list  | submit                  | take, rehome            | until taken |
| `<ns>:mq:<queue>.bytes` | string    | submit, finish, acknowledge | submit                  | for ever |
| `<ns>:inbox:<id>`   | channel      | finish, predict jobs    | one client process      | - |
| `<ns>:bell:<queue>` | channel      | submit, rehome, requeue | every worker            | - |
| `<ns>:bell:<queue>@<worker>` | channel | submit              | one worker              | - |
| `<ns>:control`      | channel      | the unload job          | every worker            | - |
"""

from __future__ import annotations

from dataclasses import dataclass

#: Predict, load and unload jobs: a device is needed.
PREDICT_QUEUE = "predict"
#: Jobs on the model store: no device is needed.
MANAGE_QUEUE = "manage"
QUEUES = (PREDICT_QUEUE, MANAGE_QUEUE)
#: The pool of workers that name none, and of jobs that name none.
DEFAULT_POOL = "default"

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
#: How long a model that nobody has warm belongs to the worker that it was given to.
HOME_TTL_S = 600

#: The lists of a queue, and of a worker's lane in it, by priority: what stands behind their name.
LIST_OF_PRIORITY = {"high": ":high", "normal": "", "low": ":low"}


def queue_of(kind: str, pool: str = DEFAULT_POOL) -> str:
    """The queue that carries the jobs of a kind for a pool; jobs that need no device know no pools."""
    return pool_queue(QUEUE_OF_KIND[kind], pool)


def pool_queue(queue_name: str, pool: str) -> str:
    """The queue of a pool that stands for a queue."""
    if pool == DEFAULT_POOL or queue_name == MANAGE_QUEUE:
        return queue_name
    return f"{queue_name}.{pool}"


def pool_of(queue_name: str) -> str:
    """The pool whose workers serve a queue."""
    return queue_name.partition(".")[2] or DEFAULT_POOL


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

    def letter(self, job_id: str) -> str:
        return f"{self.namespace}:dead:{job_id}"

    @property
    def dead(self) -> str:
        return f"{self.namespace}:dead"

    @property
    def models(self) -> str:
        return f"{self.namespace}:models"

    @property
    def queues(self) -> str:
        """The queues in which jobs are, or have been."""
        return f"{self.namespace}:queues"

    @property
    def workers(self) -> str:
        return f"{self.namespace}:workers"

    def lanes(self, queue_name: str) -> str:
        return f"{self.namespace}:lanes:{queue_name}"

    @property
    def budgets(self) -> str:
        return f"{self.namespace}:budgets"

    @property
    def paces(self) -> str:
        return f"{self.namespace}:paces"

    def home(self, queue_name: str, model: str) -> str:
        return f"{self.namespace}:home:{queue_name}:{model}"

    def homes(self, queue_name: str, worker_id: str) -> str:
        return f"{self.namespace}:homes:{queue_name}:{worker_id}"

    def waiting(self, queue_name: str) -> str:
        """The workers in whose lanes there something may wait, and since when at the earliest."""
        return f"{self.namespace}:waiting:{queue_name}"

    def bell(self, queue_name: str, worker_id: str = "") -> str:
        """The channel of what comes to a queue; with a worker, to its lane there."""
        return f"{self.namespace}:bell:{queue_name}" + (f"@{worker_id}" if worker_id else "")

    @property
    def control(self) -> str:
        return f"{self.namespace}:control"

    @property
    def broker(self) -> str:
        """Dramatiq's namespace: it puts `:<queue>` and `:<queue>.msgs` behind it."""
        return f"{self.namespace}:mq"

    def queue(self, queue_name: str) -> str:
        return f"{self.broker}:{queue_name}"

    def lists(self, queue_name: str, worker_id: str, *, upwards: bool = False) -> list[str]:
        """The lists that a worker takes from, the highest priority first, or upwards the lowest: of each, what is for
        all comes before its own lane."""
        queue, ends = self.queue(queue_name), list(LIST_OF_PRIORITY.values())
        return [name + end for end in ends[:: -1 if upwards else 1] for name in (queue, f"{queue}@{worker_id}")]

    def bytes(self, queue_name: str) -> str:
        return f"{self.broker}:{queue_name}.bytes"

    def heartbeats(self, queue_name: str) -> str:
        """When each worker was last heard to serve a queue. Not where Dramatiq has them: nobody would clear those."""
        return f"{self.namespace}:heard:{queue_name}"

    def watch(self, queue_name: str) -> str:
        """Is there while somebody asks now and then who is not heard any more."""
        return f"{self.namespace}:watch:{queue_name}"

    def doubt(self, queue_name: str) -> str:
        """Is there while heartbeats say nothing, since the server may have been away."""
        return f"{self.namespace}:doubt:{queue_name}"

    def messages(self, queue_name: str) -> str:
        return f"{self.broker}:{queue_name}.msgs"

    def acks(self, broker_id: str, queue_name: str) -> str:
        return f"{self.broker}:__acks__.{broker_id}.{queue_name}"
