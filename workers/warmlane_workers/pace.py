"""How fast this process answers and loads: what it takes to guess how long a job will wait here. Knows no jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Share of what was known before that a new job leaves standing.
_MEMORY = 0.98
#: The same for a new load: there are fewer of them.
_LOAD_MEMORY = 0.7


class Pace:
    """The time in which something ran, divided by how much ended in it: lately, not ever. Thread-safe.

    A load is no part of it: what waits for a model would wait for it elsewhere as well.

    Attributes:
        running: how many run now.
        load_ms: how long a load takes lately, in milliseconds; 0 before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = 0.0  # from when on the time of what runs is not yet counted
        self._ms = 1.0
        self._loads = 0
        self._loading_since = 0.0
        self.running = 0
        self.load_ms = 0.0

    @property
    def ms(self) -> float:
        """Milliseconds a job; no less than the time since the last end, while something runs."""
        with self._lock:
            stuck = 1000 * (self._clock() - self._since) if self.running and not self._loads else 0.0
            return max(self._ms, stuck)

    def begin(self) -> None:
        with self._lock:
            if not self.running:
                self._since = self._clock()
            self.running += 1

    def end(self) -> None:
        with self._lock:
            now = self._clock()
            self.running -= 1
            self._ms = _MEMORY * self._ms + (1 - _MEMORY) * 1000 * (now - self._since)
            self._since = now

    def load(self, *, begins: bool) -> None:
        """A model's load begins, or has ended."""
        with self._lock:
            self._since = now = self._clock()
            if begins and not self._loads:
                self._loading_since = now
            self._loads += 1 if begins else -1
            if not self._loads:
                took = 1000 * (now - self._loading_since)
                self.load_ms = _LOAD_MEMORY * self.load_ms + (1 - _LOAD_MEMORY) * took if self.load_ms else took
