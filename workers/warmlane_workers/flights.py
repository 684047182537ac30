"""Jobs whose rows are on the device while no thread waits for them. Knows when they are ready, not what they do.

A thread for each costs more than a small job itself: the device's thread wakes them all, and all of them want the
interpreter at once. So a job that can be begun without waiting is left here, and one thread lands all that are ready.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from warmlane_workers.context import JobContext
from warmlane_workers.lifecycle import Taken

logger = logging.getLogger(__name__)

#: How often it is looked after a flight that takes long, in seconds.
LOOK_S = 1.0


class Begun(Protocol):
    """A job whose rows are on the device. It holds its model until it is closed."""

    def when_ready(self, call: Callable[[], None]) -> None:
        """Have `call` called when all rows are answered or have failed, in whatever thread; or now."""

    def answer(self) -> Any:
        """The job's result, once it is ready.

        Raises:
            Exception: it has none, or not without waiting.
        """

    def progress(self) -> tuple[float, str]:
        """How far it is: a share, and in words."""

    def close(self) -> None:
        """Nobody wants what is not there yet."""


@dataclass(eq=False, slots=True)
class Flight:
    """A job on its way, and what is needed to end it.

    Attributes:
        look_at: when to look after it, by `time.monotonic`.
    """

    taken: Taken
    context: JobContext
    begun: Begun
    look_at: float = 0.0


class Flights:
    """The jobs on their way.

    Args:
        land: ends flights that are ready. Each has been taken, see `take`.
        look: looks after flights that take long; may `take` them.
    """

    def __init__(self, land: Callable[[Sequence[Flight]], None], look: Callable[[Sequence[Flight]], None]) -> None:
        self._land = land
        self._look = look
        self._ready: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()  # None: there is somebody to look after
        self._changed = threading.Condition()
        self._up: dict[Flight, None] = {}
        self._open = 0  # those that are up, and those that are just being landed
        self._thread: threading.Thread | None = None

    def add(self, flight: Flight) -> None:
        """A flight that has begun."""
        left_s = flight.context.left_s()
        flight.look_at = time.monotonic() + min(LOOK_S, left_s)
        with self._changed:
            self._up[flight] = None
            self._open += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="warmlane-landing", daemon=True)
                self._thread.start()
        flight.begun.when_ready(lambda: self._ready.put(flight))
        if left_s < LOOK_S:
            self._ready.put(None)

    def expect(self) -> None:
        """One more is to be waited for, which its caller lands and tells `landed` of."""
        with self._changed:
            self._open += 1

    def take(self, flight: Flight) -> bool:
        """Whether the caller is the one who lands a flight, and has to tell `landed`."""
        with self._changed:
            return self._up.pop(flight, self) is None

    def landed(self) -> None:
        """A flight that was taken has ended."""
        with self._changed:
            self._open -= 1
            if not self._open:
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until none is left; whether that was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout_s)

    def _run(self) -> None:
        while True:
            ready = [flight for flight in self._next() if self.take(flight)]
            try:
                if ready:
                    self._land(ready)
                now = time.monotonic()
                with self._changed:
                    due = [flight for flight in self._up if flight.look_at <= now]
                if due:
                    for flight in due:
                        flight.look_at = now + LOOK_S
                    self._look(due)
            except Exception as exc:  # noqa: BLE001 - this thread ends every job: it has to live on
                logger.error("flights were not landed: %s", type(exc).__name__, extra={"action": "landing_failed"})

    def _next(self) -> list[Flight]:
        """The flights that are ready, or become so before it is time to look after one."""
        with self._changed:
            look_at = min((flight.look_at for flight in self._up), default=math.inf)
        ready: list[Flight] = []
        with contextlib.suppress(queue.Empty):
            flight = self._ready.get(timeout=min(LOOK_S, max(0.0, look_at - time.monotonic())))
            while flight is not None:
                ready.append(flight)
                flight = self._ready.get_nowait()
        return ready
