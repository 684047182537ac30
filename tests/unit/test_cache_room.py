"""How room is made in the warm cache: before a load, by age, from what is in use, and where the device is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.shelf import Shelf, exactly
from warmlane.errors import CacheFull, OutOfMemory
from warmlane_workers.engine.cache import WarmCache
from warmlane_workers.engine.entry import Room

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


# -- before the load -------------------------------------------------------------------------------------------------


def test_room_is_made_before_the_load() -> None:
    """A load that says how large it will be finds the others gone: memory never holds both."""
    shelf = Shelf(4)
    shelf.use("old", 3)

    def load(room: Room) -> tuple[str, int]:
        room(2)
        return f"loaded after {shelf.freed}", 2

    with shelf.cache.lease("new", load) as entry:
        assert entry.value == "loaded after ['OLD']"


def test_a_model_larger_than_the_budget_is_refused_before_it_is_loaded() -> None:
    """Its size is known, so nothing is read, and nothing has to leave."""
    shelf = Shelf(4)
    shelf.use("idle", 4)

    def load(room: Room) -> tuple[str, int]:
        room(5)
        raise AssertionError("loaded")

    with pytest.raises(CacheFull), shelf.cache.lease("huge", load):
        pass
    assert (shelf.keys, shelf.freed) == ({"idle"}, [])


def test_the_measured_size_corrects_the_announced_one() -> None:
    """A model that turns out larger makes the room that it was short of; what counts is what was measured."""
    shelf = Shelf(4)
    shelf.use("a", 1)
    shelf.use("b", 2)

    def load(room: Room) -> tuple[str, int]:
        room(1)
        assert shelf.freed == []
        return "LARGE", 2

    with shelf.cache.lease("large", load) as entry:
        assert (entry.bytes, shelf.freed) == (2, ["A"])


def test_what_was_unloaded_in_use_takes_room_until_it_is_gone() -> None:
    """It is still in memory, so nothing is loaded over it."""
    shelf = Shelf(4)
    with shelf.cache.lease("a", lambda room: ("A", 3)):
        shelf.cache.unload(exactly("a"))
        with pytest.raises(CacheFull):
            shelf.use("b", 2)
    shelf.use("b", 2)
    assert shelf.keys == {"b"}


# -- in use ----------------------------------------------------------------------------------------------------------


def test_a_hot_model_does_not_keep_a_cold_one_out(pool: ThreadPoolExecutor) -> None:
    """Users of a hot model overlap, so that it is never idle: the cold model has it leave with the last of them."""
    cache: WarmCache[str, str] = WarmCache(1, lambda value: None, patience_s=LIMIT_S, grace_s=0.01)
    leases = ExitStack()
    leases.enter_context(cache.lease("hot", lambda room: ("HOT", 1)))
    asked = threading.Event()

    def load(room: Room) -> tuple[str, int]:
        asked.set()
        room(1)
        return "COLD", 1

    def ask() -> str:
        with cache.lease("cold", load) as entry:
            return entry.value

    cold = pool.submit(ask)
    assert asked.wait(LIMIT_S)
    while cache.entries():  # still given to others; one who came in between would have to load it anew, and wait
        threading.Event().wait(0.001)
    assert not cold.done()
    leases.close()
    assert cold.result(LIMIT_S) == "COLD"


def test_a_model_that_was_to_leave_stays_if_no_room_comes_of_it() -> None:
    """Where the wait is over first, what is in use is given to others as before."""
    shelf = Shelf(2)
    with shelf.cache.lease("hot", lambda room: ("HOT", 1)):
        with pytest.raises(CacheFull):
            shelf.use("large", 2)
        assert shelf.keys == {"hot"}
        with shelf.cache.lease("hot", lambda room: ("never", 1)) as again:
            assert again.value == "HOT"
    assert "HOT" not in shelf.freed


# -- full memory -----------------------------------------------------------------------------------------------------


class FullAtFirst:
    """A load that finds no memory, the first time or more often."""

    def __init__(self, times: int = 1) -> None:
        self.left = times

    def __call__(self, room: Room) -> tuple[str, int]:
        if self.left:
            self.left -= 1
            raise OutOfMemory("no memory")
        return "LOADED", 1


def test_a_load_without_memory_is_tried_again_when_all_that_is_idle_is_gone() -> None:
    """The budget had room for it, the device had not: idle models leave, what is in use or pinned stays."""
    shelf = Shelf(100)
    shelf.use("idle")
    shelf.use("pinned", pin=True)
    with shelf.cache.lease("busy", lambda room: ("BUSY", 1)), shelf.cache.lease("new", FullAtFirst()) as entry:
        assert entry.value == "LOADED"
    assert shelf.freed == ["IDLE"]
    assert shelf.keys == {"pinned", "busy", "new"}


def test_a_load_without_memory_is_tried_twice_and_no_more() -> None:
    """The second `OutOfMemory` is the caller's, and a later call may succeed."""
    shelf, load = Shelf(100), FullAtFirst(2)
    with pytest.raises(OutOfMemory), shelf.cache.lease("new", load):
        pass
    with shelf.cache.lease("new", load) as entry:
        assert entry.value == "LOADED"


# -- time to live ----------------------------------------------------------------------------------------------------


def test_what_nobody_used_for_its_time_to_live_leaves() -> None:
    """Idle entries of that age go; younger ones, pinned ones and those in use stay."""
    now = [0.0]
    freed: list[str] = []
    cache: WarmCache[str, str] = WarmCache(10, freed.append, clock=lambda: now[0])

    def use(key: str, *, pin: bool = False) -> None:
        with cache.lease(key, lambda room: (key, 1), pin=pin):
            pass

    with cache.lease("busy", lambda room: ("busy", 1)):
        use("pinned", pin=True)
        use("old")
        now[0] = 30.0
        use("young")
        assert cache.expire(60.0) == 30.0  # "old" is next
        now[0] = 60.0
        assert cache.expire(60.0) == 30.0  # then "young"
    assert freed == ["old"]
    assert {entry.key for entry in cache.entries()} == {"busy", "pinned", "young"}


def test_an_empty_cache_is_asked_again_after_a_whole_time_to_live() -> None:
    """Nothing can expire sooner than that."""
    assert Shelf(1).cache.expire(60.0) == 60.0


# -- a second tier ---------------------------------------------------------------------------------------------------


def test_what_is_evicted_can_be_kept_elsewhere_and_what_is_unloaded_is_freed() -> None:
    """`evict` gets what has to make room, with its key, and `free` what is unloaded."""
    kept: list[tuple[str, str]] = []
    freed: list[str] = []
    cache: WarmCache[str, str] = WarmCache(1, freed.append, evict=lambda key, value: kept.append((key, value)))
    for key in ("a", "b"):
        with cache.lease(key, lambda room, key=key: (key.upper(), 1)):  # type: ignore[misc]
            pass
    cache.unload(exactly("b"))
    assert (kept, freed) == ([("a", "A")], ["B"])


def test_what_is_unloaded_while_it_is_being_kept_is_freed_after_all() -> None:
    """An unload that falls into an eviction is not lost: nothing of the model stays."""
    events: list[str] = []
    cache: WarmCache[str, str]

    def keep(key: str, value: str) -> None:
        cache.unload(exactly(key))
        events.append("kept")

    cache = WarmCache(1, lambda value: events.append(f"freed {value}"), evict=keep)
    with cache.lease("a", lambda room: ("A", 1)):
        pass
    assert cache.evict_idle() == 1
    assert events == ["kept", "freed A"]


# -- what grows in use -----------------------------------------------------------------------------------------------


def test_an_entry_in_use_grows_at_the_cost_of_idle_ones() -> None:
    """The least recently used leaves; what it has grown by counts until it is given back."""
    shelf = Shelf(6)
    shelf.use("old", 2)
    shelf.use("young", 2)
    with shelf.cache.lease("mine", lambda room: ("MINE", 2)) as entry:
        assert shelf.cache.grow(entry, 2)
        assert (shelf.freed, entry.bytes) == (["OLD"], 4)
        assert not shelf.cache.grow(entry, 3)
        assert shelf.freed == ["OLD"]
        shelf.cache.shrink(entry, 2)
    shelf.use("next", 2)
    assert shelf.freed == ["OLD"]


def test_nothing_grows_into_the_room_of_a_load(pool: ThreadPoolExecutor) -> None:
    """What a load was told to be free stays free until it is there."""
    shelf = Shelf(4)
    told, go_on = threading.Event(), threading.Event()

    def load(room: Room) -> tuple[str, int]:
        room(2)
        told.set()
        assert go_on.wait(LIMIT_S)
        return "NEW", 2

    def use() -> None:
        with shelf.cache.lease("new", load):
            pass

    with shelf.cache.lease("mine", lambda room: ("MINE", 2)) as entry:
        loading = pool.submit(use)
        assert told.wait(LIMIT_S)
        assert not shelf.cache.grow(entry, 1)
        go_on.set()
        loading.result(LIMIT_S)
        assert shelf.cache.grow(entry, 1)
