"""How a worker process is told to stop: by SIGTERM or SIGINT, or by the end of its supervisor.

Signal handlers only count; what follows is done by who waits.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger(__name__)


class StopRequests:
    """Counts what it is told.

    Args:
        at_once: called in a thread of its own at the second signal: whoever asks twice does not want to wait.
    """

    def __init__(self, at_once: Callable[[], None]) -> None:
        self._at_once = at_once
        self._signals = 0
        self._asked = threading.Event()

    def listen(self) -> None:
        """From now on; called in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        threading.Thread(target=self._watch_parent, name="warmlane-parent", daemon=True).start()

    def wait(self) -> None:
        """Until it is told for the first time."""
        while not self._asked.wait(timeout=3600):
            pass

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self._asked.set()
        if self._signals == 2:
            threading.Thread(target=self._at_once, name="warmlane-stop", daemon=True).start()

    def _watch_parent(self) -> None:
        """Our standard input is a pipe that ends with the supervisor."""
        while os.read(0, 4096):
            pass
        logger.warning("the supervisor is gone, draining", extra={"action": "orphaned"})
        self._signals += 1
        self._asked.set()
