"""Lets jobs run beside each other, and a suspect by itself. Knows threads, no jobs.

A process that crashes does not say which of its jobs did it. One that may have done it before runs alone, so that a
second crash blames nobody else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Inside:
    """Somebody's stay in company."""

    def __init__(self) -> None:
        self.stays = False

    def stay(self) -> None:
        """Not leave with the `with` block: somebody else calls `Gate.leave` for it."""
        self.stays = True


class Gate:
    """Many in company, or one alone. While one waits to be alone nobody else enters, so that its turn comes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanting = 0  # who wants to be alone, and waits

    @contextmanager
    def company(self) -> Iterator[Inside]:
        """Inside with others; waits while somebody is alone, or waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside >= 0 and not self._wanting)
            self._inside += 1
        inside = Inside()
        try:
            yield inside
        finally:
            if not inside.stays:
                self.leave()

    def leave(self) -> None:
        """The end of a stay in company."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside without others; waits until all who are inside have left."""
        with self._changed:
            self._wanting += 1
            self._changed.wait_for(lambda: self._inside == 0)
            self._wanting -= 1
            self._inside = -1
        try:
            yield
        finally:
            with self._changed:
                self._inside = 0
                self._changed.notify_all()
