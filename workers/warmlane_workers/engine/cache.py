"""The set of models that are loaded right now. Knows sizes and ages, not tensors: loading is passed in.

Entries are leased: what is in use is never evicted. Loads are single-flight: whoever asks for a model that is being
loaded waits for that load. Different models are loaded one after the other: transformers changes its own globals while
it builds one, and at most one model is in memory beyond the budget. Sizes count once they are measured, after the load.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from warmlane.errors import CacheFull

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: How long a loaded model waits until models in use leave room for it, in seconds.
PATIENCE_S = 60.0


@dataclass(eq=False)
class Entry(Generic[K, V]):
    """A loaded model and its book-keeping."""

    key: K
    value: V
    bytes: int
    serial: int  #: grows with every load; the highest is the newest
    pinned: bool
    last_used: float
    leases: int = 0


class WarmCache(Generic[K, V]):
    """Least-recently-used within a budget of bytes. Thread-safe.

    Args:
        budget: bytes that the entries together may take.
        free: called with each value that leaves, outside the lock.
        on_change: called after entries came or went, outside the lock.
        patience_s: how long a load waits for room that models in use take.
    """

    def __init__(
        self,
        budget: int,
        free: Callable[[V], None],
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.budget = budget
        self._free = free
        self._on_change = on_change
        self._clock = clock
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._load_turn = threading.Lock()
        self._entries: dict[K, Entry[K, V]] = {}
        self._doomed: list[Entry[K, V]] = []
        self._loading: dict[K, Future[Entry[K, V]]] = {}
        self._serial = itertools.count()

    @contextlib.contextmanager
    def lease(self, key: K, load: Callable[[], tuple[V, int]], *, pin: bool = False) -> Iterator[Entry[K, V]]:
        """The entry of a key, loaded if need be, and safe from eviction inside the `with` block.

        Args:
            load: makes the value and measures its bytes. Runs in the first caller's thread; the others wait for it.
            pin: keep it until it is unloaded.

        Raises:
            CacheFull: it does not fit beside what is pinned, or what stays in use.
        """
        entry = self._acquire(key, load, pin)
        try:
            yield entry
        finally:
            self._release(entry)

    def _acquire(self, key: K, load: Callable[[], tuple[V, int]], pin: bool) -> Entry[K, V]:
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None:
                    # Leased under the same lock that found it: an eviction cannot fall in between.
                    entry.leases += 1
                    entry.pinned = entry.pinned or pin
                    entry.last_used = self._clock()
                    return entry
                loading = self._loading.get(key)
                if loading is None:
                    loading = self._loading[key] = Future()
                    break
            loading.result()  # raises what the load raised
        return self._load(key, load, pin, loading)

    def _load(self, key: K, load: Callable[[], tuple[V, int]], pin: bool, loading: Future[Entry[K, V]]) -> Entry[K, V]:
        try:
            with self._load_turn:
                value, size = load()
                entry = Entry(key, value, size, next(self._serial), pin, self._clock(), leases=1)
                evicted = self._admit(entry)
        except BaseException as exc:
            with self._lock:
                del self._loading[key]
            loading.set_exception(exc)
            loading.exception()  # mark it as seen: there may be nobody else who waits
            raise
        loading.set_result(entry)
        for old in evicted:
            self._free(old.value)
        self._on_change()
        return entry

    def _admit(self, entry: Entry[K, V]) -> list[Entry[K, V]]:
        """Make room for an entry and add it; what had to leave is returned. Waits for what is in use, not for pins."""
        deadline = time.monotonic() + self._patience_s
        with self._changed:
            while True:
                evicted = self._to_evict(entry.bytes)
                if evicted is not None:
                    for old in evicted:
                        del self._entries[old.key]
                    self._entries[entry.key] = entry
                    del self._loading[entry.key]
                    return evicted
                pinned = sum(old.bytes for old in self._entries.values() if old.pinned)
                left = deadline - time.monotonic()
                if pinned + entry.bytes > self.budget or left <= 0:
                    break
                self._changed.wait(left)
        self._free(entry.value)
        raise CacheFull(
            f"the model takes {entry.bytes} bytes and does not fit beside those pinned or in use "
            f"(budget {self.budget}); unload one, raise WARMLANE_CACHE_BYTES, or try again later",
            bytes=entry.bytes,
            budget=self.budget,
        )

    def _to_evict(self, size: int) -> list[Entry[K, V]] | None:
        """What has to leave for so many bytes, the longest unused first; None if that is not enough."""
        spare = sorted(
            (old for old in self._entries.values() if not old.leases and not old.pinned), key=lambda old: old.last_used
        )
        excess = sum(old.bytes for old in self._entries.values()) + size - self.budget
        leaving: list[Entry[K, V]] = []
        while excess > 0:
            if not spare:
                return None
            leaving.append(spare.pop(0))
            excess -= leaving[-1].bytes
        return leaving

    def _release(self, entry: Entry[K, V]) -> None:
        with self._lock:
            entry.leases -= 1
            entry.last_used = self._clock()
            leave = not entry.leases and entry in self._doomed
            if leave:
                self._doomed.remove(entry)
            if not entry.leases:
                self._changed.notify_all()  # it may be what a load waits for
        if leave:
            self._free(entry.value)

    def newest(self, matches: Callable[[K], bool]) -> Entry[K, V] | None:
        """The most recently loaded entry whose key matches. Not leased: it may leave before it is used."""
        with self._lock:
            found = [entry for entry in self._entries.values() if matches(entry.key)]
        return max(found, key=lambda entry: entry.serial, default=None)

    def unload(self, matches: Callable[[K], bool]) -> int:
        """Let matching entries go, pinned or not; one in use goes when its last user is done. Returns their bytes."""
        with self._lock:
            leaving = [entry for entry in self._entries.values() if matches(entry.key)]
            for entry in leaving:
                del self._entries[entry.key]
            idle = [entry for entry in leaving if not entry.leases]
            self._doomed += [entry for entry in leaving if entry.leases]
            self._changed.notify_all()
        for entry in idle:
            self._free(entry.value)
        if leaving:
            self._on_change()
        return sum(entry.bytes for entry in leaving)

    def entries(self) -> list[Entry[K, V]]:
        """A snapshot of what is loaded."""
        with self._lock:
            return list(self._entries.values())

    def idle_s(self, entry: Entry[K, V]) -> float:
        return 0.0 if entry.leases else max(0.0, self._clock() - entry.last_used)
