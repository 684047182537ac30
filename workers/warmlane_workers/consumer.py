"""What takes messages off the queues for a worker, and brings back what others have left. Knows queues, no jobs.

Messages lie where Dramatiq has them; `warmlane.lanes` and `warmlane.rescue` take them and put them back, for a consumer
that
- survives a message that does not decode, and moves it to the dead letters;
- sweeps orphans: ids that the server counts as ours but that we do not hold, because a reply was lost or because our
  last life was killed;
- takes over from workers that are not heard any more, and from none because the server was away;
- takes from this worker's own lane and by priority, and puts back to the front;
- takes what waits too long in the lanes of others while it has nothing to do;
- begins what need not wait for a thread, all that came together;
- sleeps on a doorbell instead of polling;
- stops fetching when the worker drains, while heartbeats go on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed, DecodeError

from warmlane.errors import CodecError
from warmlane.keys import MANAGE_QUEUE
from warmlane.lanes import Steal, Take
from warmlane.message import JobMessage
from warmlane.rescue import Rehome, Requeue, Rollcall

if TYPE_CHECKING:
    from warmlane_workers.broker import LaneBroker

logger = logging.getLogger(__name__)

#: A worker that was silent for so long counts as dead; the others take its messages back.
HEARTBEAT_TIMEOUT_MS = 15_000
#: A server that no worker of a queue has asked for so long, in seconds, may have heard no heartbeat of anybody.
SILENCE_S = 5.0
#: How often a consumer looks for orphans, and for what dead workers have left, in seconds.
SWEEP_S = 5.0
RESCUE_S = 3.0
#: How often a consumer without work looks into the lanes of others, in seconds.
STEAL_S = 1.0
#: Every so many fetches begin with the lowest priority, so that nothing waits for ever.
_UPWARDS_EVERY = 8
#: A busy worker rests so long before it fetches, in seconds: what comes meanwhile costs one round trip.
_REST_S = 0.002
#: How long a consumer of a draining worker rests, in seconds: it waits to be told that the last job is done.
_DRAIN_POLL_S = 0.1


class NoConsumer(Consumer):
    """Takes nothing, as Dramatiq wants somebody to for each delay queue; says that the worker lives while the consumer
    of the queue itself is busy.

    Args:
        queue_name: the queue whose delay queue it is.
    """

    def __init__(self, broker: LaneBroker, queue_name: str, bell: threading.Event) -> None:
        self._broker = broker
        self._queue_name = queue_name
        self._bell = bell

    def __next__(self) -> None:
        self._bell.wait(_DRAIN_POLL_S if self._broker.draining else RESCUE_S)
        self._bell.clear()
        if self._queue_name in self._broker.beginning:
            with self._broker.talking():
                self._broker.store.run(Take(self._queue_name, self._broker.broker_id, 0))


class LaneConsumer(Consumer):
    """Takes messages off one queue. Used by one consumer thread; worker threads acknowledge through it."""

    def __init__(self, broker: LaneBroker, queue_name: str, timeout: int) -> None:
        self.broker = broker
        self.queue_name = queue_name
        self.timeout_s = timeout / 1000
        # A quarter more than there are threads, fetched by quarters: enough to keep them busy, little to hoard.
        self.chunk = max(1, broker.threads // 4)
        self.most = broker.threads + self.chunk
        self._held = broker.held(queue_name)
        self._bell = broker.bell(queue_name)
        self._fetched: deque[JobMessage] = deque()
        self._sweep_at = self._rescue_at = self._steal_at = 0.0
        self._fetches = 0

    def __next__(self) -> MessageProxy | None:
        if not self._fetched:
            # Cleared before looking, so that a ring between the look and the wait is not missed.
            self._bell.clear()
            for due, look in ((self._sweep_at, self._sweep), (self._rescue_at, self._rescue), (0.0, self._fetch)):
                if time.monotonic() >= due:
                    with self.broker.talking():
                        look()
        if self._fetched:
            return MessageProxy(self._fetched.popleft())
        self._bell.wait(_DRAIN_POLL_S if self.broker.draining else self.timeout_s)
        return None

    def ack(self, message: MessageProxy) -> None:
        self._settle(self.broker.acknowledge, message)

    def nack(self, message: MessageProxy) -> None:
        self._settle(self.broker.do_nack, message)

    def _settle(self, command: Callable[[str, str], None], message: MessageProxy) -> None:
        message_id = message.options["redis_message_id"]
        if message_id in self._held:  # else it went with its job's outcome
            with self.broker.talking():
                command(self.queue_name, message_id)
            # Only now: until the server has let go of it, the sweep must not take it for an orphan.
            self.broker.settled(self.queue_name, message_id)

    def close(self) -> None:
        with contextlib.suppress(ConnectionClosed):  # then the next sweep, or the heartbeat, brings them back
            self.requeue(self._fetched)
        self._fetched.clear()

    def requeue(self, messages: Iterable[MessageProxy | JobMessage]) -> None:
        ids = [message.options["redis_message_id"] for message in messages]
        if ids:
            self._held.difference_update(ids)
            with self.broker.talking():
                self.broker.requeue(self.queue_name, tuple(ids))

    def _fetch(self) -> None:
        store, worker_id = self.broker.store, self.broker.broker_id
        if len(self._held) >= self.chunk:
            time.sleep(_REST_S)
        if self.broker.draining:
            store.run(Take(self.queue_name, worker_id, 0))  # a heartbeat
            return
        self.broker.full(self.queue_name, is_full=True)  # before looking for room, so that none is missed
        free = self.most - len(self._held)
        if free < self.chunk:
            return  # the rescues go on, and so keep a full worker alive
        self._fetches += 1
        upwards = not self._fetches % _UPWARDS_EVERY
        found = store.run(Take(self.queue_name, worker_id, free, upwards))
        self.broker.full(self.queue_name, is_full=len(found) == free)
        self._receive(found)
        if not self._fetched and not self._held:
            self._steal()

    def _steal(self) -> None:
        """Take from the lane of a worker that cannot keep up; more at once where there was something."""
        describe, now = self.broker.describe, time.monotonic()
        if describe is None or self.queue_name == MANAGE_QUEUE or now < self._steal_at:
            return
        found = self.broker.store.run(Steal.by(describe(), self.queue_name, self.chunk))
        if found:
            logger.info("took %d messages of another's lane", len(found), extra={"action": "steal"})
        self._steal_at = now + (0.0 if found else STEAL_S)
        self._receive(found)

    def _receive(self, found: list[bytes]) -> None:
        messages: list[JobMessage] = []
        for data in found:
            message = self._decode(data)
            if message is not None:
                messages.append(message)
            else:  # its id is not known here; the sweep finds it among ours and moves it to the dead letters
                self._sweep_at = 0.0
                self._bell.set()
        ids = {message.options["redis_message_id"] for message in messages}
        self._held.update(ids)
        try:
            begun = self._begun(messages)
        except Exception:
            self._held.difference_update(ids)  # so that the sweep brings them back
            raise
        self._fetched += [message for message in messages if message.message_id not in begun]

    def _begun(self, messages: list[JobMessage]) -> Collection[str]:
        if not messages or self.queue_name == MANAGE_QUEUE:
            return ()
        self.broker.beginning.add(self.queue_name)
        try:
            jobs = [(message.message_id, message.kwargs["job"]) for message in messages]
            return self.broker.begin(self.queue_name, jobs)
        finally:
            self.broker.beginning.discard(self.queue_name)

    def _decode(self, data: bytes) -> JobMessage | None:
        try:
            message = JobMessage.decode(data)
        except DecodeError:
            return None
        return message if message.queue_name == self.queue_name else None

    def _rescue(self) -> None:
        """Bring back what waits for dead workers, and before it what they had taken."""
        store, queue_name = self.broker.store, self.queue_name
        gone = store.run(Rollcall(queue_name, self.broker.broker_id, HEARTBEAT_TIMEOUT_MS, int(SILENCE_S * 1000)))
        for worker_id in gone.lanes:
            store.run(Rehome(queue_name, worker_id))
        for worker_id in gone.takers:
            store.run(Requeue(queue_name, worker_id))
        self._rescue_at = time.monotonic() + RESCUE_S

    def _sweep(self) -> None:
        """Bring back what the server counts as ours but we do not hold."""
        names, client = self.broker.names, self.broker.client
        ours: Any = client.smembers(names.acks(self.broker.broker_id, self.queue_name))
        acks = {item.decode() for item in ours}
        back: list[str] = []
        for message_id in sorted(acks - self._held):
            data: Any = client.hget(names.messages(self.queue_name), message_id)
            if data is None:
                self.broker.acknowledge(self.queue_name, message_id)
            elif self._decode(data) is not None:
                back.append(message_id)
            else:
                self._reject(message_id, data)
        if back:
            logger.warning(
                "%d messages of %s come back", len(back), self.queue_name, extra={"action": "requeue_orphans"}
            )
            self.broker.requeue(self.queue_name, tuple(back))
        self._sweep_at = time.monotonic() + SWEEP_S

    def _reject(self, message_id: str, data: bytes) -> None:
        logger.error(
            "message %s of %s does not decode (%d bytes), moved to the dead letters",
            message_id,
            self.queue_name,
            len(data),
            extra={"action": "reject_message", "job_id": message_id},
        )
        error = CodecError("the worker cannot decode this job; do both sides run one version?")
        self.broker.on_reject(self.queue_name, message_id, error)
