"""The Dramatiq actors, one a kind of job. Each hands over to the job's life cycle."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from dramatiq import Actor, Broker

from warmlane.keys import DEFAULT_POOL, QUEUE_OF_KIND, pool_queue
from warmlane_workers.lifecycle import Lifecycle


def declare(broker: Broker, lifecycle: Lifecycle, queues: Iterable[str], pool: str = DEFAULT_POOL) -> None:
    """Declare the actors of the queues that this worker serves, for its pool.

    There are no retries: an attempt that ends in an exception has committed it, and one that ends with its worker comes
    back by the broker.
    """
    served = set(queues)
    for kind, name in QUEUE_OF_KIND.items():
        if name in served:
            queue = pool_queue(name, pool)
            work = partial(lifecycle.work, queue)
            actor = Actor(work, broker=broker, actor_name=kind, queue_name=queue, priority=0, options={})
            broker.declare_actor(actor)
            broker.declare_queue(queue)
