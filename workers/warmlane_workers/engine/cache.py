"""The set of models that are loaded right now. Knows sizes and ages, not tensors: loading is passed in.

Entries are leased: what is in use is never evicted. Loads are single-flight: whoever asks for a model that is being
loaded waits for that load. Different models are loaded one after the other: transformers changes its own globals while
it builds one, and at most one model is in memory beyond the budget.

Room is made before a load, for the bytes that its files say, and once more after it, for those that were measured.
Where models in use take the room, the least recently used of them are given to nobody else, and leave with their last
user: a hot model, whose users always overlap, cannot keep a cold one waiting for ever.

An entry may stand on another one, see `entry`: its load says so, and the other is loaded first where it is not there.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Generic

from warmlane.errors import CacheFull, JobCancelled, JobExpired, OutOfMemory
from warmlane_workers.engine import patience
from warmlane_workers.engine.entry import Entry, K, Over, Room, V, oldest, total
from warmlane_workers.engine.holdings import Holdings
from warmlane_workers.engine.patience import Heed, await_end, deaf, turn

logger = logging.getLogger(__name__)

#: How long a model waits until models in use leave room for it, in seconds.
PATIENCE_S = 60.0
#: How long of that it waits for one of them to become idle, before it has some of them leave, in seconds.
GRACE_S = 0.2

#: Makes a value and measures its bytes, or says over what it can be made.
Load = Callable[[Room], tuple[V, int] | Over[K, V]]


class WarmCache(Generic[K, V]):
    """Least-recently-used within a budget of bytes. Thread-safe.

    Args:
        budget: bytes that the entries together may take.
        free: called with each value that is unloaded, outside the lock.
        evict: called with each key and value that has to leave, outside the lock; it may keep the value elsewhere, and
            after that it may still be called for with `free`. Default: `free`.
        on_change: called after a load or an unload, outside the lock.
        patience_s: how long a load waits for room that models in use take; `grace_s` of it for an idle one.
    """

    def __init__(
        self,
        budget: int,
        free: Callable[[V], None],
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
        grace_s: float = GRACE_S,
        evict: Callable[[K, V], None] | None = None,
    ) -> None:
        self.budget = budget
        self._free = free
        self._evict = evict or (lambda key, value: free(value))
        self._on_change = on_change
        self._clock = clock
        self._patience_s = patience_s
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._load_turn = threading.Lock()
        self._held: Holdings[K, V] = Holdings()
        self._loading: dict[K, Future[Entry[K, V]]] = {}
        self._serial = itertools.count()

    @contextlib.contextmanager
    def lease(self, key: K, load: Load[V, K], *, pin: bool = False, heed: Heed = deaf) -> Iterator[Entry[K, V]]:
        """The entry of a key, loaded if need be, and safe from eviction inside the `with` block.

        Args:
            load: makes the value and measures its bytes. Runs in the first caller's thread; the others wait for it.
                Run once more where the device's memory was full, after all that is idle has left.
            pin: keep it until it is unloaded.
            heed: called while it waits for room, for another model's load, or for another caller's of this one.

        Raises:
            CacheFull: it does not fit beside what is pinned, or what stays in use.
            JobCancelled, JobExpired: `heed` says so. Who waits for that load has it done by another.
        """
        entry = self._acquire(key, load, pin, heed)
        try:
            yield entry
        finally:
            self.release(entry)

    def leased(self, key: K) -> Entry[K, V] | None:
        """The entry of a key if it is loaded, as `lease` gives it; whoever asks has to `release` it."""
        with self._lock:
            return self._leased(key, False)

    def _acquire(self, key: K, load: Load[V, K], pin: bool, heed: Heed) -> Entry[K, V]:
        while True:
            with self._lock:
                entry = self._leased(key, pin)
                if entry is not None:
                    return entry
                loading = self._loading.get(key)
                if loading is None:
                    loading = self._loading[key] = Future()
                    break
            await_end(loading, heed)
            with contextlib.suppress(JobCancelled, JobExpired):  # that was the one whose load it was, and not this one
                loading.result()  # raises what the load raised
        return self._load(key, load, pin, loading, heed)

    def _leased(self, key: K, pin: bool) -> Entry[K, V] | None:
        """A loaded entry, leased under the same lock that found it: an eviction cannot fall in between."""
        entry = self._held.given.get(key)
        if entry is not None:
            entry.leases += 1
            entry.pinned = entry.pinned or pin
            entry.last_used = self._clock()
        return entry

    def _load(self, key: K, load: Load[V, K], pin: bool, loading: Future[Entry[K, V]], heed: Heed) -> Entry[K, V]:
        try:
            with turn(self._load_turn, heed):
                entry = self._still_here(key, pin)
                if entry is None:
                    entry = self._loaded(key, load, pin, partial(self._make_room, heed=heed))
        except BaseException as exc:
            with self._lock:
                self._loading.pop(key, None)
            loading.set_exception(exc)
            loading.exception()  # mark it as seen: there may be nobody else who waits
            raise
        loading.set_result(entry)
        self._on_change()
        return entry

    def _still_here(self, key: K, pin: bool) -> Entry[K, V] | None:
        """What was about to leave for another model, and is in use yet, stays if it is wanted again."""
        with self._lock:
            self._held.take_back([entry for entry in self._held.outgoing if entry.key == key])
            entry = self._leased(key, pin)
            if entry is not None:
                del self._loading[key]
        return entry

    def _loaded(self, key: K, load: Load[V, K], pin: bool, room: Room) -> Entry[K, V]:
        found = self._try_twice(load, room)
        if not isinstance(found, Over):
            return self._admit(Entry(key, *found, next(self._serial), pin, self._clock(), leases=1), room)
        below = self._below(found, room)
        if below is None:
            assert found.alone is not None
            return self._loaded(key, found.alone, pin, room)
        try:
            over = self._try_twice(lambda room: found.load(below.value, room), room)
            assert not isinstance(over, Over)
            entry = Entry(key, *over, next(self._serial), pin, self._clock(), leases=1, below=below)
            return self._admit(entry, room)
        finally:
            self._let_stand(below)

    def _below(self, over: Over[K, V], room: Room) -> Entry[K, V] | None:
        """The entry that a load can stand on, held until it does. Within the load turn, so it is not loaded twice."""
        with self._lock:
            self._held.take_back([entry for entry in self._held.outgoing if over.same(entry)])
            entry = next((entry for entry in self._held.given.values() if over.same(entry)), None)
            if entry is not None:
                entry.held = True
        if entry is None and over.base is not None:
            key, load = over.base
            entry = self._loaded(key, load, False, room)
            with self._lock:
                entry.held, entry.leases = True, 0
        return entry

    def _let_stand(self, below: Entry[K, V]) -> None:
        with self._changed:
            below.held = False
            self._changed.notify_all()
        self._part(below)  # it may have been unloaded meanwhile

    def _try_twice(self, load: Load[V, K], room: Room) -> tuple[V, int] | Over[K, V]:
        try:
            return load(room)
        except OutOfMemory as exc:
            logger.warning("no memory for a load, evicting all that is idle: %s", exc, extra={"action": "evict_idle"})
        # Behind the handler, whose traceback would keep what was loaded so far.
        self.evict_idle()
        return load(room)

    def _admit(self, entry: Entry[K, V], room: Room) -> Entry[K, V]:
        try:
            room(entry.bytes)
        except (CacheFull, JobCancelled, JobExpired):
            self._free(entry.value)
            raise
        with self._lock:  # its room is still there: only a load takes any, and this is the only one
            self._held.add(entry)
            self._loading.pop(entry.key, None)
        return entry

    def _make_room(self, size: int, heed: Heed) -> None:
        """Return when so many bytes fit. Idle models leave for them; waits for those in use, not for pins."""
        began = time.monotonic()
        retired: list[Entry[K, V]] = []
        try:
            while (leaving := self._room(size, time.monotonic() - began, retired)) is None:
                heed()
        except BaseException:
            with self._lock:
                self._held.take_back(retired)
            raise
        self._let_go(leaving)

    def _room(self, size: int, waited: float, retired: list[Entry[K, V]]) -> list[Entry[K, V]] | None:
        """The idle models that leave for so many bytes; None when it was waited for some to become idle."""
        with self._changed:
            idle = self._held.idle()
            excess = size - self.budget + self._held.bytes
            if excess <= total(idle):
                return self._held.take_out(oldest(idle, excess))
            if self._held.kept_bytes() + size > self.budget or waited >= self._patience_s:
                raise self._full(size)
            if waited >= self._grace_s:
                retired += self._held.retire(excess)
            until = self._grace_s if waited < self._grace_s else self._patience_s
            self._changed.wait(min(until - waited, patience.HEED_S))
            return None

    def _full(self, size: int) -> CacheFull:
        return CacheFull(
            f"the model takes {size} bytes and does not fit beside those pinned or in use "
            f"(budget {self.budget}); unload one, raise WARMLANE_CACHE_BYTES, or try again later",
            bytes=size,
            budget=self.budget,
        )

    def _let_go(self, entries: list[Entry[K, V]]) -> None:
        for entry in entries:
            self._part(entry)

    def _part(self, entry: Entry[K, V]) -> None:
        """Part with an entry that was taken out, unless somebody uses it or something stands on it; then with what it
        stood on, if that has only waited for it."""
        with self._lock:
            if entry not in self._held.outgoing or entry.leases or entry.above or entry.held or entry.gone:
                return
            entry.gone = True
            unwanted = entry.unwanted
        if unwanted:
            self._free(entry.value)
        else:
            self._evict(entry.key, entry.value)
        with self._changed:
            self._held.remove(entry)
            self._changed.notify_all()  # its room may be what a load waits for
        if entry.unwanted and not unwanted:  # unloaded meanwhile, so it stays nowhere
            self._free(entry.value)
        if entry.below is not None:
            self._part(entry.below)

    def release(self, entry: Entry[K, V]) -> None:
        """A lease has ended."""
        with self._changed:
            entry.leases -= 1
            entry.last_used = self._clock()
            if not entry.leases:
                self._changed.notify_all()
        self._part(entry)

    def grow(self, entry: Entry[K, V], size: int) -> bool:
        """Let an entry in use take so many bytes more, for which idle ones leave; whether there was room. Waits for
        nobody: while a load is under way, the room is the load's."""
        if not self._load_turn.acquire(blocking=False):
            return False
        try:
            with self._lock:
                leaving = self._held.make_way(size - self.budget + self._held.bytes)
                if leaving is None:
                    return False
                entry.bytes += size
            self._let_go(leaving)
            return True
        finally:
            self._load_turn.release()

    def shrink(self, entry: Entry[K, V], size: int) -> None:
        """Take back what `grow` has given."""
        with self._changed:
            entry.bytes -= size
            self._changed.notify_all()

    def newest(self, matches: Callable[[K], bool]) -> Entry[K, V] | None:
        """The most recently loaded entry whose key matches. Not leased: it may leave before it is used."""
        with self._lock:
            found = [entry for entry in self._held.given.values() if matches(entry.key)]
        return max(found, key=lambda entry: entry.serial, default=None)

    def unload(self, matches: Callable[[K], bool]) -> int:
        """Let matching entries go, pinned or not; one in use goes when its last user is done, and one that others stand
        on with the last of them. Returns their bytes."""
        with self._lock:
            leaving = self._held.disown(matches)
        self._let_go(leaving)
        if leaving:
            self._on_change()
        return total(leaving)

    def evict_idle(self) -> int:
        """Have everything leave that is neither in use nor pinned; returns its bytes. Tells nobody: the device thread
        asks for it, and the next heartbeat will say so."""
        with self._lock:
            leaving = self._held.take_out(self._held.idle())
        self._let_go(leaving)
        return total(leaving)

    def expire(self, ttl_s: float) -> float:
        """Have everything leave that was neither used for so long nor is pinned; returns the seconds until it is worth
        asking again."""
        with self._lock:
            now = self._clock()
            idle = self._held.idle()
            leaving = self._held.take_out([entry for entry in idle if now - entry.used >= ttl_s])
            next_one = min((entry.used for entry in idle if entry not in leaving), default=now)
        self._let_go(leaving)
        if leaving:
            self._on_change()
        return next_one + ttl_s - now

    def entries(self) -> list[Entry[K, V]]:
        """A snapshot of what is loaded."""
        with self._lock:
            return list(self._held.given.values())

    def idle_s(self, entry: Entry[K, V]) -> float:
        return 0.0 if entry.in_use else max(0.0, self._clock() - entry.used)
