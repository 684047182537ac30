"""The second tier: models that left the device and stay in the host's memory. Knows sizes and ages; what moves a model
is passed in.

A copy stays while its model is back on the device, so that it can leave again at no cost. Such a copy is the first to
go where there is no room, since nothing is lost with it; then the models that were parked the longest ago.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol

from warmlane.errors import OutOfMemory
from warmlane_workers.engine.entry import K, V

logger = logging.getLogger(__name__)


class Copy(Protocol):
    """A model's weights in host memory."""

    @property
    def bytes(self) -> int: ...

    def park(self) -> None:
        """Off the device. Raises `OutOfMemory`, and then nothing has changed."""

    def restore(self) -> None:
        """Back to the device. Raises `OutOfMemory`, and then nothing has changed."""

    def close(self) -> None:
        """Give the host's memory back."""


@dataclass(eq=False)
class _Kept(Generic[V]):
    value: V
    copy: Copy
    parked: bool = True


class HostTier(Generic[K, V]):
    """The models that were parked the last, within a budget of bytes. Thread-safe; one moves at a time.

    Args:
        budget: bytes that the copies together may take; 0 keeps none.
        copy: makes what moves a value; None where it cannot be moved.
        free: called with each parked value that has to go.
    """

    def __init__(self, budget: int, copy: Callable[[V], Copy | None], free: Callable[[V], None]) -> None:
        self.budget = budget
        self._copy = copy
        self._free = free
        self._lock = threading.RLock()
        self._kept: dict[K, _Kept[V]] = {}  # the least recently parked first

    @property
    def bytes(self) -> int:
        """What the copies take now."""
        with self._lock:
            return sum(kept.copy.bytes for kept in self._kept.values())

    def park(self, key: K, value: V) -> bool:
        """Move a value off the device, if there is room for it; else it stays where it is, and False."""
        if not self.budget:
            return False
        with self._lock:
            kept = self._kept.pop(key, None)
            if kept is not None and kept.value is not value:  # of an earlier load
                self._let_go(kept)
                kept = None
            if kept is None:
                copy = self._copy(value)
                if copy is None or copy.bytes > self.budget:
                    return False
                kept = _Kept(value, copy)
                self._make_room(copy.bytes)
            try:
                kept.copy.park()
            except OutOfMemory as exc:
                logger.warning("a model is not kept in host memory: %s", exc, extra={"action": "not_parked"})
                kept.copy.close()
                return False
            kept.parked = True
            self._kept[key] = kept
            return True

    def size(self, key: K) -> int | None:
        """Bytes of a parked value; None where there is none."""
        with self._lock:
            kept = self._kept.get(key)
            return kept.copy.bytes if kept is not None and kept.parked else None

    def restore(self, key: K) -> V | None:
        """A parked value, back on the device; None where there is none.

        Raises:
            OutOfMemory: the device has no room for it; it stays parked.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or not kept.parked:
                return None
            kept.copy.restore()
            kept.parked = False
            return kept.value

    def drop(self, matches: Callable[[K], bool]) -> int:
        """Let go of the parked values whose keys match; returns their bytes."""
        with self._lock:
            leaving = [key for key, kept in self._kept.items() if kept.parked and matches(key)]
            size = sum(self._kept[key].copy.bytes for key in leaving)
            for key in leaving:
                self._let_go(self._kept.pop(key))
        return size

    def discard(self, value: V) -> None:
        """Forget a value that nobody will park any more; it is the caller's to free."""
        with self._lock:
            for key in [key for key, kept in self._kept.items() if kept.value is value]:
                self._kept.pop(key).copy.close()

    def _make_room(self, size: int) -> None:
        excess = sum(kept.copy.bytes for kept in self._kept.values()) + size - self.budget
        # Stable: in each half the least recently parked comes first.
        for key, kept in sorted(self._kept.items(), key=lambda item: item[1].parked):
            if excess <= 0:
                return
            excess -= kept.copy.bytes
            self._let_go(self._kept.pop(key))

    def _let_go(self, kept: _Kept[V]) -> None:
        kept.copy.close()
        if kept.parked:
            self._free(kept.value)
