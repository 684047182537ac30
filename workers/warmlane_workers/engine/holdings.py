"""What a cache holds: entries that are given out, and those that are leaving. No locks, no waiting: the cache has both.

An entry that is taken out takes along what stands on it, since nobody could use that without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from warmlane_workers.engine.entry import Entry, K, V, oldest, total


class Holdings(Generic[K, V]):
    """Entries by key, and the outgoing: given to nobody else, and still in memory."""

    def __init__(self) -> None:
        self.given: dict[K, Entry[K, V]] = {}
        self.outgoing: list[Entry[K, V]] = []

    def all(self) -> list[Entry[K, V]]:
        return [*self.given.values(), *self.outgoing]

    @property
    def bytes(self) -> int:
        return total(self.all())

    def idle(self) -> list[Entry[K, V]]:
        """What may leave now."""
        return [entry for entry in self.all() if entry.idle]

    def kept_bytes(self) -> int:
        """What no load can have, however long it waits."""
        return total(entry for entry in self.all() if entry.kept)

    def add(self, entry: Entry[K, V]) -> None:
        self.given[entry.key] = entry
        if entry.below is not None:
            entry.below.above.append(entry)

    def remove(self, entry: Entry[K, V]) -> None:
        """An outgoing entry is out of memory."""
        self.outgoing.remove(entry)
        if entry.below is not None:
            entry.below.above.remove(entry)

    def take_out(self, entries: list[Entry[K, V]]) -> list[Entry[K, V]]:
        """They become outgoing, with all that stands on them; returns those, each after what stands on it."""
        taken: list[Entry[K, V]] = []
        for entry in entries:
            taken += [*self.take_out(list(entry.above)), entry]
            if self.given.get(entry.key) is entry:
                del self.given[entry.key]
                self.outgoing.append(entry)
        return list(dict.fromkeys(taken))

    def make_way(self, excess: int) -> list[Entry[K, V]] | None:
        """Take out what is idle for so many bytes; None, and nothing, where that is not enough."""
        idle = self.idle()
        return None if excess > total(idle) else self.take_out(oldest(idle, excess))

    def retire(self, excess: int) -> list[Entry[K, V]]:
        """Take out what is in use and not kept, the longest unused first, for bytes beyond what leaves anyway."""
        leaving = total({*self.idle(), *self.outgoing})
        in_use = [entry for entry in self.given.values() if entry.in_use and not entry.kept]
        return self.take_out(oldest(in_use, excess - leaving))

    def take_back(self, entries: list[Entry[K, V]]) -> None:
        """Those of the outgoing that are not gone, and not unloaded, are given out again, with what they stand on."""
        for entry in entries:
            if entry in self.outgoing and not (entry.gone or entry.unwanted):
                self.outgoing.remove(entry)
                self.given[entry.key] = entry
                self.take_back([entry.below] if entry.below is not None else [])

    def disown(self, matches: Callable[[K], bool]) -> list[Entry[K, V]]:
        """Take out what matches, as unloaded, and leave what stands on it: that is still wanted. Returns what was given
        out until now."""
        leaving = [entry for entry in self.given.values() if matches(entry.key)]
        for entry in leaving:
            del self.given[entry.key]
            entry.pinned = False
        self.outgoing += leaving
        for entry in self.outgoing:
            entry.unwanted = entry.unwanted or matches(entry.key)
        return leaving
