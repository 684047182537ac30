"""The doorbell: one subscribed connection a worker, whose messages wake consumers and carry control words.

A bell that is not heard costs a second, no job: consumers also look by themselves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from warmlane import codec
from warmlane.errors import WarmlaneError
from warmlane.keys import Keys
from warmlane_workers.broker import LaneBroker

logger = logging.getLogger(__name__)

#: Pause before the next try to reach a lost server, in seconds.
_RECONNECT_S = 1.0


class Bell:
    """Listens until it is stopped.

    Args:
        on_control: is given each control message, decoded.
    """

    def __init__(
        self, client: redis.Redis, names: Keys, broker: LaneBroker, on_control: Callable[[dict[str, object]], None]
    ) -> None:
        self._client = client
        self._names = names
        self._broker = broker
        self._on_control = on_control
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmlane-bell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hear nothing more. Its thread ends within a second, or with the process."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError):
                if self._stopped.is_set():
                    return
                logger.warning(
                    "the doorbell is lost; jobs are found by polling meanwhile", extra={"action": "bell_lost"}
                )
                self._stopped.wait(_RECONNECT_S)

    def _listen(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
            channels = {name: queue for queue in self._broker.queues for name in self._bells(queue)}
            pubsub.subscribe(self._names.control, *channels)
            self._broker.ring()  # what was enqueued while we were deaf
            while not self._stopped.is_set():
                message = pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                queue = channels.get(message["channel"].decode())
                if queue is not None:
                    self._broker.ring(queue)
                else:
                    self._control(message["data"])

    def _bells(self, queue: str) -> tuple[str, str]:
        return self._names.bell(queue), self._names.bell(queue, self._broker.broker_id)

    def _control(self, data: bytes) -> None:
        try:
            command = codec.decode("control", data)
            if isinstance(command, dict):
                self._on_control(command)
        except WarmlaneError as exc:
            logger.warning("a control message is not obeyed: %s", exc, extra={"action": "control_ignored"})
