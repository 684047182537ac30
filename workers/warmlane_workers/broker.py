"""Dramatiq's Redis broker, hardened: what stock settings lose or strand comes back. Knows queues, no jobs.

Messages lie where Dramatiq has them. What takes them off is in `warmlane_workers.consumer`; here is what all of a
worker's consumers share: which messages they hold, their bells, and how messages go back and are acknowledged. The
broker's id is stable, so that a restarted worker finds what its last life had taken.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence

import redis
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed

from warmlane.blobs import StoredJob
from warmlane.errors import ServerUnreachable, WarmlaneError
from warmlane.jobs import Job
from warmlane.keys import MANAGE_QUEUE
from warmlane.rescue import Acknowledge, Rehome, Requeue
from warmlane.results import WorkerInfo
from warmlane.store import RedisStore
from warmlane_workers.consumer import LaneConsumer, NoConsumer

#: Buries a message that does not decode, and acknowledges it: its queue, its id, and why.
OnReject = Callable[[str, str, WarmlaneError], None]
#: Begins those of some jobs, by queue, id and job, that need no thread; returns the ids of these.
Begin = Callable[[str, Sequence[tuple[str, Job | StoredJob]]], Collection[str]]


class LaneBroker(RedisBroker):
    """A Redis broker for one worker process.

    Args:
        store: on a client with a blocking pool and long retries (`warmlane.store.connect`).
        broker_id: stable over restarts, and used by one process at a time.
        threads: jobs that run at a time.

    Attributes:
        begin: begins jobs that need no thread, in the consumer's. Their messages are acknowledged with their outcomes.
        on_reject: moves a message that does not decode to the dead letters.
        beginning: the queues whose consumers are just beginning jobs, which may take them a while.
        draining: fetch nothing more.
        describe: what this worker holds, and how long it loads; without it, it leaves the lanes of others alone.
    """

    def __init__(self, store: RedisStore, broker_id: str, threads: int) -> None:
        names = store.names
        super().__init__(  # type: ignore[no-untyped-call]
            client=store.client,
            namespace=names.broker,
            middleware=[],
            maintenance_chance=0,
        )
        self.broker_id = broker_id
        self.store = store
        self.names = names
        self.threads = threads
        self.begin: Begin = lambda queue_name, came: ()
        self.on_reject: OnReject = lambda queue_name, message_id, error: None
        self.beginning: set[str] = set()
        self.draining = False
        self.describe: Callable[[], WorkerInfo] | None = None
        self._held: dict[str, set[str]] = {}
        self._full: set[str] = set()
        self._bells: dict[str, threading.Event] = {}

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """What takes messages off a queue; nobody delays messages here, so nobody looks for delayed ones."""
        if queue_name in self.delay_queues:
            return NoConsumer(self, q_name(queue_name), self.bell(queue_name))
        return LaneConsumer(self, queue_name, timeout)

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """Around a consumer's commands: a lost connection becomes Dramatiq's own error, on which it begins anew."""
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, ServerUnreachable) as exc:
            raise ConnectionClosed(exc) from exc  # type: ignore[no-untyped-call]

    def held(self, queue_name: str) -> set[str]:
        """Ids that consumers of a queue have handed out; survives the consumer when its connection is lost."""
        return self._held.setdefault(queue_name, set())

    def bell(self, queue_name: str) -> threading.Event:
        return self._bells.setdefault(queue_name, threading.Event())

    def ring(self, queue_name: str | None = None) -> None:
        """Wake the consumer of a queue, or of all."""
        for name in [queue_name] if queue_name is not None else list(self._bells):
            self.bell(name).set()

    def full(self, queue_name: str, *, is_full: bool) -> None:
        """Whether a consumer wants to be woken when there is room: a fetch left something, or found no room."""
        (self._full.add if is_full else self._full.discard)(queue_name)

    def settled(self, queue_name: str, message_id: str) -> None:
        """The server has let go of a message."""
        held = self.held(queue_name)
        held.discard(message_id)
        if queue_name in self._full and len(held) <= self.threads:
            self.bell(queue_name).set()

    def leave_lanes(self) -> None:
        """Let the others have what waits for this worker alone."""
        for queue_name in self.queues - {MANAGE_QUEUE}:
            self.store.run(Rehome(queue_name, self.broker_id))

    def give_back(self) -> int:
        """Put everything that this process holds back into its queues at once; returns how many messages."""
        return sum(self.requeue(queue_name, tuple(held)) for queue_name, held in self._held.items())

    def requeue(self, queue_name: str, ids: tuple[str, ...]) -> int:
        """Put messages back into their queue, and say how many this worker had."""
        return self.store.run(Requeue(queue_name, self.broker_id, ids)) if ids else 0

    def acknowledge(self, queue_name: str, message_id: str) -> None:
        """Let go of a message that is not to be run."""
        self.store.run(Acknowledge(queue_name, self.broker_id, message_id))
