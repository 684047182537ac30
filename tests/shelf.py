"""A warm cache of strings, for tests of what stays and what leaves."""

from __future__ import annotations

from collections.abc import Callable

from warmlane_workers.engine.cache import WarmCache


class Clock:
    """A time that passes only when somebody looks, so that ages never tie."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Shelf:
    """A cache of strings, with a record of what it freed and how often it said that it changed."""

    def __init__(self, budget: int, patience_s: float = 0.05, grace_s: float = 0.01) -> None:
        self.freed: list[str] = []
        self.changes = 0
        self.cache: WarmCache[str, str] = WarmCache(
            budget, self.freed.append, self._changed, Clock(), patience_s, grace_s
        )

    def _changed(self) -> None:
        self.changes += 1

    def use(self, key: str, size: int = 1, *, pin: bool = False) -> None:
        """Load a key if need be, and let it go again."""
        with self.cache.lease(key, lambda room: (key.upper(), size), pin=pin):
            pass

    @property
    def keys(self) -> set[str]:
        return {entry.key for entry in self.cache.entries()}


def exactly(key: str) -> Callable[[str], bool]:
    return lambda other: other == key
