"""The Dramatiq actors, one a kind of job. Each hands over to the job's life cycle."""

from __future__ import annotations

from collections.abc import Iterable

from dramatiq import Actor, Broker

from warmlane.jobs import Job
from warmlane.keys import QUEUE_OF_KIND
from warmlane_workers.lifecycle import Lifecycle


def declare(broker: Broker, lifecycle: Lifecycle, queues: Iterable[str]) -> None:
    """Declare the actors of the queues that this worker serves.

    There are no retries: an attempt that ends in an exception has committed it, and one that ends with its worker comes
    back by the broker.
    """
    served = set(queues)

    def work(job_id: str, job: Job) -> None:
        lifecycle.work(job_id, job)

    for kind, queue in QUEUE_OF_KIND.items():
        if queue in served:
            actor = Actor(work, broker=broker, actor_name=kind, queue_name=queue, priority=0, options={})
            broker.declare_actor(actor)
            broker.declare_queue(queue)
