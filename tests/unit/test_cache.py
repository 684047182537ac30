"""The warm cache: what stays, what leaves, and who waits for whom. Real threads, no models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.shelf import Shelf, exactly
from warmlane.errors import CacheFull, HubUnavailable
from warmlane_workers.engine.cache import WarmCache
from warmlane_workers.engine.entry import Room

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


# -- room ------------------------------------------------------------------------------------------------------------


def test_a_loaded_model_is_not_loaded_again() -> None:
    """A second lease of a key gives the same entry and calls no loader."""
    shelf = Shelf(10)
    with shelf.cache.lease("a", lambda room: ("A", 4)) as first:
        assert (first.value, first.bytes) == ("A", 4)

    def refuse(room: Room) -> tuple[str, int]:
        raise AssertionError("loaded twice")

    with shelf.cache.lease("a", refuse) as again:
        assert again is first


def test_the_least_recently_used_leaves_first() -> None:
    """An entry that was used again outlives a younger one that was not."""
    shelf = Shelf(3)
    for key in "abc":
        shelf.use(key)
    shelf.use("a")
    shelf.use("d")
    assert shelf.freed == ["B"]
    assert shelf.keys == {"a", "c", "d"}


def test_room_is_made_in_bytes_and_not_in_entries() -> None:
    """A large model drives out as many old ones as its bytes need, and no more."""
    shelf = Shelf(10)
    for key in "abcd":
        shelf.use(key, 2)
    shelf.use("big", 5)
    assert shelf.freed == ["A", "B"]
    assert shelf.keys == {"c", "d", "big"}


def test_a_model_of_the_whole_budget_fits() -> None:
    """The budget is a limit that may be reached."""
    shelf = Shelf(8)
    shelf.use("a", 3)
    shelf.use("whole", 8)
    assert shelf.keys == {"whole"}


def test_a_pinned_model_is_never_evicted() -> None:
    """A pin outlives its lease, and eviction goes round it, even if it is the oldest."""
    shelf = Shelf(3)
    shelf.use("pinned", 2, pin=True)
    shelf.use("a")
    shelf.use("b")
    assert shelf.freed == ["A"]
    assert shelf.keys == {"pinned", "b"}


def test_a_later_lease_can_pin() -> None:
    """A warm model is pinned by the first lease that asks for it, and stays so."""
    shelf = Shelf(2)
    shelf.use("a")
    shelf.use("a", pin=True)
    shelf.use("a")
    shelf.use("b")
    shelf.use("c")
    assert shelf.freed == ["B"]


def test_a_model_in_use_is_never_evicted() -> None:
    """A lease protects an entry, however old it is; once it ends the entry is as good as any other."""
    shelf = Shelf(2)
    with shelf.cache.lease("busy", lambda room: ("BUSY", 1)):
        shelf.use("a")
        shelf.use("b")
        assert shelf.freed == ["A"]
    shelf.use("b")
    shelf.use("c")
    assert shelf.freed == ["A", "BUSY"]


def test_a_model_that_does_not_fit_is_freed_and_drives_nothing_out() -> None:
    """`CacheFull` frees what was just loaded, leaves all others, and tells size and budget."""
    shelf = Shelf(4)
    shelf.use("idle", 1)
    shelf.use("pinned", 2, pin=True)
    with pytest.raises(CacheFull) as caught:
        shelf.use("big", 3)
    assert caught.value.details == {"bytes": 3, "budget": 4}
    assert caught.value.retryable
    assert shelf.freed == ["BIG"]
    assert shelf.keys == {"idle", "pinned"}


def test_a_model_that_did_not_fit_can_be_tried_again() -> None:
    """After `CacheFull` the same key loads as soon as there is room."""
    shelf = Shelf(4)
    shelf.use("pinned", 2, pin=True)
    with pytest.raises(CacheFull):
        shelf.use("big", 3)
    shelf.cache.unload(exactly("pinned"))
    shelf.use("big", 3)
    assert shelf.keys == {"big"}


# -- single flight ---------------------------------------------------------------------------------------------------


def test_many_callers_share_one_load(pool: ThreadPoolExecutor) -> None:
    """Sixteen threads that ask at once for a cold model cause one load, and all get its entry."""
    shelf = Shelf(4)
    together = threading.Barrier(16, timeout=LIMIT_S)
    loads: list[str] = []

    def load(room: Room) -> tuple[str, int]:
        loads.append("load")
        return "A", 1

    def ask() -> Any:
        together.wait()
        with shelf.cache.lease("a", load) as entry:
            together.wait()  # all hold it at the same time
            return entry

    entries = [future.result(LIMIT_S) for future in [pool.submit(ask) for _ in range(16)]]
    assert loads == ["load"]
    assert len({id(entry) for entry in entries}) == 1
    assert entries[0].leases == 0


def test_different_models_load_one_after_the_other(pool: ThreadPoolExecutor) -> None:
    """transformers changes its own globals while it builds a model, so no two loads overlap; a warm one is leased."""
    shelf = Shelf(16)
    shelf.use("warm")
    inside = threading.Semaphore(1)

    def load(room: Room) -> tuple[str, int]:
        assert inside.acquire(blocking=False), "two loads at a time"
        with shelf.cache.lease("warm", lambda room: ("never", 1)):
            inside.release()
            return "X", 1

    def ask(key: str) -> None:
        with shelf.cache.lease(key, load):
            pass

    for future in [pool.submit(ask, key) for key in "abcdefgh"]:
        future.result(LIMIT_S)
    assert shelf.keys == {"warm", *"abcdefgh"}


def test_a_load_waits_for_room_that_a_model_in_use_takes(pool: ThreadPoolExecutor) -> None:
    """What is in use will be let go: the next model waits for that and does not fail."""
    cache: WarmCache[str, str] = WarmCache(1, lambda value: None, patience_s=LIMIT_S)
    with cache.lease("first", lambda room: ("FIRST", 1)):
        loaded = threading.Event()

        def load(room: Room) -> tuple[str, int]:
            loaded.set()
            return "SECOND", 1

        def ask() -> str:
            with cache.lease("second", load) as entry:
                return entry.value

        second = pool.submit(ask)
        assert loaded.wait(LIMIT_S)
        assert not second.done()
    assert second.result(LIMIT_S) == "SECOND"
    assert [entry.key for entry in cache.entries()] == ["second"]


class FirstFails:
    """A loader whose first call waits until it is told to fail; later calls succeed."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.fail = threading.Event()
        self.calls = 0

    def __call__(self, room: Room) -> tuple[str, int]:
        self.calls += 1
        if self.calls > 1:
            return "A", 1
        self.begun.set()
        assert self.fail.wait(LIMIT_S)
        raise HubUnavailable("the hub is away")


def wait_for_waiters(cache: WarmCache[str, str], key: str, count: int) -> None:
    """Return when so many threads block on a load; that they block cannot itself be blocked on."""
    condition: Any = cache._loading[key]._condition
    poll = threading.Event()
    for _ in range(1000):
        if len(condition._waiters) >= count:
            return
        poll.wait(0.002)
    raise AssertionError("the waiters never came")


def test_a_failed_load_reaches_everybody_who_waits_and_can_be_retried(pool: ThreadPoolExecutor) -> None:
    """The error of a load is raised in all its callers; the next caller loads anew and succeeds."""
    shelf = Shelf(4)
    load = FirstFails()

    def ask() -> str:
        with shelf.cache.lease("a", load) as entry:
            return entry.value

    asked: list[Future[str]] = [pool.submit(ask)]
    assert load.begun.wait(LIMIT_S)
    asked += [pool.submit(ask) for _ in range(7)]
    wait_for_waiters(shelf.cache, "a", 7)
    load.fail.set()
    for future in asked:
        assert isinstance(future.exception(LIMIT_S), HubUnavailable)
    assert load.calls == 1
    assert ask() == "A"
    assert load.calls == 2
    assert shelf.freed == []


def test_an_eviction_during_leases_loses_and_frees_nothing_twice(pool: ThreadPoolExecutor) -> None:
    """Eight threads over more models than fit: what is leased is never freed, and nothing is freed twice."""
    budget = 8  # all threads hold one at a time: there is always a way
    lock = threading.Lock()
    alive: set[int] = set()
    freed: list[int] = []
    made = iter(range(10_000))

    def load(room: Room) -> tuple[int, int]:
        with lock:
            serial = next(made)
            alive.add(serial)
        return serial, 1

    def free(serial: int) -> None:
        with lock:
            freed.append(serial)
            alive.remove(serial)

    cache: WarmCache[int, int] = WarmCache(budget, free)

    def work(seed: int) -> None:
        for step in range(100):
            with cache.lease((seed * 7 + step * 5) % 12, load) as entry:
                assert entry.value in alive

    for future in [pool.submit(work, seed) for seed in range(8)]:
        future.result(LIMIT_S)
    assert len(freed) == len(set(freed))
    assert {entry.value for entry in cache.entries()} == alive
    assert sum(entry.bytes for entry in cache.entries()) <= budget


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_unload_frees_idle_models_at_once_and_counts_bytes() -> None:
    """Unload lets every match go, pinned or not, and returns the bytes."""
    shelf = Shelf(10)
    shelf.use("a", 2, pin=True)
    shelf.use("b", 3)
    assert shelf.cache.unload(lambda key: True) == 5
    assert sorted(shelf.freed) == ["A", "B"]
    assert shelf.keys == set()


def test_unload_of_nothing_is_zero_bytes_and_no_change() -> None:
    """A model that is not warm cannot be unloaded; nothing is reported."""
    shelf = Shelf(10)
    assert shelf.cache.unload(lambda key: True) == 0
    assert shelf.changes == 0


def test_a_model_in_use_is_freed_when_its_last_user_is_done() -> None:
    """Unload during two leases hides the entry at once and frees it at the end of the second."""
    shelf = Shelf(10)
    with ExitStack() as leases:
        leases.enter_context(shelf.cache.lease("a", lambda room: ("A", 2)))
        with shelf.cache.lease("a", lambda room: ("never", 0)):
            assert shelf.cache.unload(exactly("a")) == 2
            assert shelf.keys == set()
        assert shelf.freed == []
    assert shelf.freed == ["A"]


def test_a_model_that_is_unloaded_in_use_can_be_loaded_beside_its_old_self() -> None:
    """A lease after the unload loads anew; the old entry still goes, once, with its last user."""
    shelf = Shelf(10)
    with shelf.cache.lease("a", lambda room: ("old", 2)):
        shelf.cache.unload(exactly("a"))
        with shelf.cache.lease("a", lambda room: ("new", 2)) as entry:
            assert entry.value == "new"
    assert shelf.freed == ["old"]
    assert [entry.value for entry in shelf.cache.entries()] == ["new"]


def test_newest_is_the_last_loaded_and_not_the_last_used() -> None:
    """`newest` goes by loads among those that match; None where none does."""
    shelf = Shelf(10)
    for key in ("model/fp32", "model/bf16", "other"):
        shelf.use(key)
    shelf.use("model/fp32")
    newest = shelf.cache.newest(lambda key: key.startswith("model/"))
    assert newest is not None
    assert newest.key == "model/bf16"
    assert shelf.cache.newest(exactly("absent")) is None


def test_every_coming_and_going_is_told_once() -> None:
    """`on_change` follows a load (with its evictions) and an unload; a warm hit or a refusal changes nothing."""
    shelf = Shelf(2)
    shelf.use("a", 2)
    assert shelf.changes == 1
    shelf.use("a", 2)
    assert shelf.changes == 1
    shelf.use("b", 2)  # drives "a" out
    assert shelf.changes == 2
    shelf.cache.unload(exactly("b"))
    assert shelf.changes == 3
    with pytest.raises(CacheFull):
        shelf.use("big", 3)
    assert shelf.changes == 3


def test_callbacks_run_outside_the_lock() -> None:
    """`free` and `on_change` may ask the cache itself, as the heartbeat does, without a deadlock."""
    seen: list[int] = []
    cache: WarmCache[str, str]
    cache = WarmCache(1, lambda value: seen.append(len(cache.entries())), lambda: seen.append(len(cache.entries())))
    for key in "ab":
        with cache.lease(key, lambda room: ("x", 1)):
            pass
    assert seen == [1, 0, 1]


def test_idle_time_counts_from_the_end_of_the_last_lease() -> None:
    """An entry in use is not idle; afterwards its idle time grows with the clock."""
    shelf = Shelf(1)
    with shelf.cache.lease("a", lambda room: ("A", 1)) as entry:
        assert shelf.cache.idle_s(entry) == 0.0
    first = shelf.cache.idle_s(entry)
    assert 0.0 < first < shelf.cache.idle_s(entry)
