"""The worker's entry in the registry: beats while it lives, gone when it leaves in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dramatiq import Broker, Middleware, Worker

from warmlane.errors import WarmlaneError
from warmlane.keys import HEARTBEAT_S
from warmlane.registry import Beat, Leave
from warmlane.results import WorkerInfo
from warmlane.store import RedisStore

logger = logging.getLogger(__name__)


class Presence(Middleware):
    """Sends the worker's description every `HEARTBEAT_S`, and whenever `beat` is called.

    Args:
        describe: the worker as it is now.
    """

    def __init__(self, store: RedisStore, describe: Callable[[], WorkerInfo]) -> None:
        self._store = store
        self._describe = describe
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmlane-presence", daemon=True)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._thread.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)
        try:
            self._store.run(Leave(self._describe().id))
        except WarmlaneError as exc:  # then its word expires
            logger.warning("no farewell: %s", exc, extra={"action": "leave_lost"})

    def beat(self) -> None:
        """Tell the registry now; a server that is away hears it later."""
        try:
            self._store.run(Beat(self._describe()))
        except WarmlaneError as exc:
            logger.warning("no heartbeat: %s", exc, extra={"action": "beat_lost"})

    def _run(self) -> None:
        while True:
            self.beat()
            if self._stopped.wait(HEARTBEAT_S):
                return
