"""Operations on queues: a job comes in, a worker takes it. How it comes back is in `warmlane.rescue`.

The lists are Dramatiq's, with a list beside each for every worker (its lane) and every priority; messages and
acknowledgements are where Dramatiq keeps them, so that its own commands count, take and settle them as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

from warmlane import codec
from warmlane.blobs import StoredJob
from warmlane.errors import IdempotencyConflict, QueueFull
from warmlane.jobs import AS_EVER, Job, Options
from warmlane.keys import HOME_TTL_S, LIST_OF_PRIORITY, WORKER_TTL_S, Keys
from warmlane.message import JobMessage
from warmlane.model import ModelRef
from warmlane.ops import Op
from warmlane.results import WorkerInfo
from warmlane.routing import ANYWHERE, Route
from warmlane.settings import QUEUED_TTL_S

#: So long may the wait for the model's worker be before another one takes it on as well, in seconds.
PATIENCE_S = 2.0
#: How many lanes a worker without work looks into, and at how many messages of each.
_LANES = 4
_DEPTH = 32

_LANE_TTL_MS = int(WORKER_TTL_S * 1000)


class Accepted(NamedTuple):
    """That a queue has a job.

    Attributes:
        new: False where it had it before, by a call whose reply was lost or by a request of the same idempotency key.
        blob: the name of the blob in which that one's payload is; "" where it is in none.
    """

    new: bool
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Submit(Op[Accepted]):
    """Accept a job.

    Attributes:
        route: the workers that may get it into their lanes; without any it goes to all of its queue.
        most_jobs: refuse it where so many jobs wait and run.
        most_bytes: refuse it where their messages, and their payloads in the blob store, have so many bytes.
        traceparent: the span that it is enqueued in, see `warmlane.tracing`.

    Raises:
        QueueFull, IdempotencyConflict: nothing was enqueued.
    """

    script = "submit"
    message: JobMessage
    inbox: str = ""
    options: Options = AS_EVER
    route: Route = ANYWHERE
    most_jobs: int = 2**53
    most_bytes: int = 2**53
    traceparent: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        message, queue, options, route = self.message, self.message.queue_name, self.options, self.route
        job: Job | StoredJob = message.kwargs["job"]
        return (
            [
                names.job(message.message_id),
                names.queue(queue),
                names.messages(queue),
                names.lanes(queue),
                names.home(queue, route.model),
                names.bytes(queue),
                names.paces,
                names.queues,
                names.waiting(queue),
            ],
            [
                message.options["redis_message_id"],
                message.encode(),
                QUEUED_TTL_S,
                "" if options.deadline is None else int(options.deadline * 1000),
                self.most_jobs,
                self.most_bytes,
                message.message_id if options.idempotency_key is None else _digest(job),
                LIST_OF_PRIORITY[options.priority],
                _LANE_TTL_MS,
                HOME_TTL_S * 1000,
                int(PATIENCE_S * 1000),
                names.acks("", queue).removesuffix(f".{queue}"),
                f".{queue}",
                names.homes(queue, ""),
                names.bell(queue),
                job.ref.size if isinstance(job, StoredJob) else 0,
                queue,
                len(route.warm),
                *route.warm,
                len(route.cold),
                *(part for candidate in route.cold for part in candidate),
                *self._record(job),
            ],
        )

    def _record(self, job: Job | StoredJob) -> list[Any]:
        """What the job's record says from the beginning: fields and values."""
        options = self.options
        said: list[Any] = ["kind", job.kind, "model", job.subject, "inboxes", self.inbox, "priority", options.priority]
        if isinstance(job, StoredJob):
            said += ["payload", job.ref.size, "blob", job.ref.name]
        if getattr(job, "stream", False):
            said += ["stream", "1"]
        if self.traceparent:
            said += ["traceparent", self.traceparent]
        if options.pool != AS_EVER.pool:
            said += ["pool", options.pool]
        if options.result_ttl is not None:
            said += ["ttl", options.result_ttl]
        return said

    def read(self, reply: Any) -> Accepted:
        verdict = int(reply[0])
        if verdict == -1:
            raise IdempotencyConflict(
                "idempotency_key: another request had this key; use a new key for a new request",
                field="idempotency_key",
            )
        if verdict == -2:
            jobs, size = int(reply[1]), int(reply[2])
            raise QueueFull(
                f"{jobs} jobs of {size} bytes wait, as many as may; send it again later, add workers, or raise "
                "WARMLANE_QUEUE_JOBS and WARMLANE_QUEUE_BYTES",
                jobs=jobs,
                bytes=size,
            )
        return Accepted(True) if verdict else Accepted(False, reply[1].decode())


@dataclass(frozen=True, slots=True)
class Take(Op[list[bytes]]):
    """Take messages for a worker: by priority, and of each what is for all before its own lane: it waits longer, or has
    lost its worker. The reply has their bytes.

    Attributes:
        upwards: begin with the lowest priority.
    """

    script = "take"
    queue_name: str
    worker_id: str
    most: int
    upwards: bool = False

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue, worker = self.queue_name, self.worker_id
        own = [names.acks(worker, queue), names.messages(queue), names.heartbeats(queue)]
        return [*own, *names.lists(queue, worker, upwards=self.upwards)], [self.most, worker]

    def read(self, reply: Any) -> list[bytes]:
        return list(reply)


@dataclass(frozen=True, slots=True)
class Steal(Op[list[bytes]]):
    """Take messages that wait too long in another worker's lane, all of one model. The reply has their bytes.

    They are of a model that it holds; of any, where the other worker has a job that takes longer than a load.

    Attributes:
        models: names of those that the worker holds.
        load_ms: how long it takes to load one.
        patience_ms: what has waited for less is left.
    """

    script = "steal"
    queue_name: str
    worker_id: str
    most: int
    models: frozenset[str] = frozenset()
    load_ms: float = 0.0
    patience_ms: float = 1000 * PATIENCE_S

    @classmethod
    def by(cls, worker: WorkerInfo, queue_name: str, most: int) -> Steal:
        """What a worker may take."""
        models = frozenset(ModelRef.parse(model.model).name for model in worker.models)
        return cls(queue_name, worker.id, most, models, worker.load_ms)

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        queue, worker = self.queue_name, self.worker_id
        keys = [names.acks(worker, queue), names.messages(queue), names.queue(queue), names.waiting(queue), names.paces]
        waits = [int(self.patience_ms), int(max(1000 * PATIENCE_S, self.load_ms))]
        places = [names.job(""), names.home(queue, ""), names.homes(queue, ""), HOME_TTL_S * 1000]
        return keys, [worker, self.most, *waits, _LANES, _DEPTH, *places, *sorted(self.models)]

    def read(self, reply: Any) -> list[bytes]:
        return list(reply)


def _digest(job: Job | StoredJob) -> bytes:
    """What makes two requests of one idempotency key the same."""
    fields = {"sha256": job.ref.sha256} if isinstance(job, StoredJob) else job.fields()
    return hashlib.blake2b(codec.encode("request", {"kind": job.kind, **fields}), digest_size=16).digest()
