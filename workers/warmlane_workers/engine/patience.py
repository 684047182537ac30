"""How one waits for a model and hears meanwhile that it is not wanted any more. Knows locks and futures, no jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

#: How often who waits is asked whether it still wants to, in seconds.
HEED_S = 0.5

#: Called now and then by who waits: what it raises ends the wait.
Heed = Callable[[], None]


def deaf() -> None:
    """Wait whatever happens."""


def await_end(future: Future[Any], heed: Heed) -> None:
    """Return when a future is done, however it ended."""
    while True:
        try:
            future.exception(HEED_S)
        except TimeoutError:
            heed()
        else:
            return


@contextmanager
def turn(lock: threading.Lock, heed: Heed) -> Iterator[None]:
    """Hold a lock inside the `with` block."""
    while not lock.acquire(timeout=HEED_S):
        heed()
    try:
        yield
    finally:
        lock.release()
