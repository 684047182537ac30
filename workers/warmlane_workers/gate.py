"""Lets jobs run beside each other, and a suspect by itself. Knows threads, no jobs.

A process that crashes does not say which of its jobs did it. One that may have done it before runs alone, so that a
second crash blames nobody else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many in company, or one alone. While one waits to be alone nobody else enters, so that its turn comes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanting = 0  # who wants to be alone, and waits

    @contextmanager
    def company(self) -> Iterator[None]:
        """Inside with others; waits while somebody is alone, or waits for it."""
        with self._changed:
            self._changed.wait_for(self._is_open)
            self._inside += 1
        try:
            yield
        finally:
            self.leave()

    def enter(self, count: int) -> bool:
        """Be inside with others, so many at once, each until its `leave`; or False at once instead of waiting."""
        with self._changed:
            if not self._is_open():
                return False
            self._inside += count
            return True

    def leave(self, count: int = 1) -> None:
        """The end of a stay in company, or of so many."""
        with self._changed:
            self._inside -= count
            if not self._inside:
                self._changed.notify_all()

    def _is_open(self) -> bool:
        return self._inside >= 0 and not self._wanting

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
