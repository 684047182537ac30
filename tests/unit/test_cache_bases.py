"""Entries that stand on another, as adapters on their base: what counts, what leaves with what, and what waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.shelf import Shelf, exactly
from warmlane.errors import CacheFull
from warmlane_workers.engine.entry import Entry, Over, Room

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


def over(key: str, size: int = 1, base: str = "base", base_size: int = 5) -> Over[str, str]:
    """A load of so many bytes that stands on a base."""

    def load(below: str, room: Room) -> tuple[str, int]:
        room(size)
        return f"{key} over {below}", size

    def load_base(room: Room) -> tuple[str, int]:
        room(base_size)
        return base.upper(), base_size

    return Over(lambda entry: entry.key == base, load, (base, load_base))


def use(shelf: Shelf, key: str, size: int = 1, *, pin: bool = False, base: str = "base") -> Entry[str, str]:
    with shelf.cache.lease(key, lambda room: over(key, size, base), pin=pin) as entry:
        return entry


def test_a_base_is_loaded_once_for_all_that_stand_on_it() -> None:
    """Each has bytes of its own, and the same entry below."""
    shelf = Shelf(100)
    first, second = use(shelf, "a", 2), use(shelf, "b", 3)
    assert (first.value, second.value) == ("a over BASE", "b over BASE")
    assert first.below is second.below
    assert {entry.key: entry.bytes for entry in shelf.cache.entries()} == {"base": 5, "a": 2, "b": 3}


def test_what_stands_on_a_base_leaves_alone() -> None:
    """Where its own bytes are enough, the base stays for the others."""
    shelf = Shelf(8)
    for key in "abc":
        use(shelf, key)
    shelf.use("other", 1)
    assert shelf.freed == ["a over BASE"]
    assert shelf.keys == {"base", "b", "c", "other"}


def test_a_base_leaves_last() -> None:
    """Only with all that stand on it, and after them, though it was loaded before."""
    shelf = Shelf(8)
    use(shelf, "a")
    use(shelf, "b")
    shelf.use("big", 8)
    assert shelf.freed == ["a over BASE", "b over BASE", "BASE"]
    assert shelf.keys == {"big"}


def test_a_base_is_as_young_as_what_stands_on_it() -> None:
    """One that is only used through others outlives what was used before these."""
    shelf = Shelf(8)
    use(shelf, "a")
    shelf.use("other", 2)
    use(shelf, "a")
    shelf.use("new", 2)
    assert shelf.freed == ["OTHER"]


def test_a_pin_keeps_the_base() -> None:
    """It counts as pinned too: what does not fit beside both is refused at once."""
    shelf = Shelf(8)
    use(shelf, "a", pin=True)
    use(shelf, "b")
    with pytest.raises(CacheFull):
        shelf.use("big", 3)
    assert shelf.keys == {"base", "a", "b"}
    shelf.use("small", 2)
    assert shelf.keys == {"base", "a", "small"}


def test_a_lease_keeps_the_base() -> None:
    """What others use through an adapter is in use, and a load waits for its end."""
    shelf, loaded = Shelf(8, LIMIT_S, LIMIT_S), threading.Event()

    def big() -> None:
        shelf.use("big", 8)
        loaded.set()

    with ThreadPoolExecutor(1) as pool:
        with shelf.cache.lease("a", lambda room: over("a")) as entry:
            waiting = pool.submit(big)
            assert not loaded.wait(0.05)
            assert entry.below is not None
            assert not entry.below.gone
        waiting.result(LIMIT_S)
    assert shelf.freed == ["a over BASE", "BASE"]


def test_users_that_always_overlap_cannot_keep_a_base_for_ever() -> None:
    """It leaves with its last user; idle ones above it are given to nobody else meanwhile, and leave as well."""
    shelf = Shelf(9, LIMIT_S)
    use(shelf, "idle")
    with ThreadPoolExecutor(1) as pool, ExitStack() as users:
        users.enter_context(shelf.cache.lease("hot", lambda room: over("hot")))
        waiting = pool.submit(shelf.use, "big", 9)
        while "hot" in shelf.keys:
            threading.Event().wait(0.001)
        assert "idle" not in shelf.keys
        users.close()
        waiting.result(LIMIT_S)
    assert shelf.keys == {"big"}
    assert shelf.freed[-1] == "BASE"


def test_what_does_not_fit_leaves_all_as_it_was() -> None:
    """A load that gave up gives the base back, and what stands on it."""
    shelf = Shelf(9)
    use(shelf, "idle")
    with shelf.cache.lease("hot", lambda room: over("hot")):
        with pytest.raises(CacheFull):
            shelf.use("big", 9)
        assert shelf.keys == {"base", "hot", "idle"}
    assert shelf.freed == ["BIG"]


def test_a_base_that_is_unloaded_leaves_with_the_last_above_it() -> None:
    """Its bytes are told, its memory is still needed; then it leaves for good."""
    shelf = Shelf(20)
    use(shelf, "a")
    assert shelf.cache.unload(exactly("base")) == 5
    assert shelf.freed == []
    shelf.cache.unload(exactly("a"))
    assert shelf.freed == ["a over BASE", "BASE"]


def test_room_is_found_under_an_unloaded_base() -> None:
    """What stands on it idle leaves for a new model, and the base behind it."""
    shelf = Shelf(8)
    use(shelf, "a")
    shelf.cache.unload(exactly("base"))
    shelf.use("big", 8)
    assert shelf.keys == {"big"}


def test_a_load_that_fails_leaves_its_base_to_others() -> None:
    """The base was loaded for it, and is idle now."""
    shelf = Shelf(20)

    def fail(below: str, room: Room) -> tuple[str, int]:
        raise RuntimeError("no such adapter")

    good = over("a")
    with pytest.raises(RuntimeError), shelf.cache.lease("a", lambda room: Over(good.same, fail, good.base)):
        pass
    assert shelf.keys == {"base"}
    assert shelf.cache.evict_idle() == 5


def test_a_load_alone_stands_on_nothing() -> None:
    """Where there is no base, and none is brought."""
    shelf = Shelf(20)
    lone: Over[str, str] = Over(lambda entry: False, lambda below, room: ("never", 1), alone=lambda room: ("A", 3))
    with shelf.cache.lease("a", lambda room: lone) as entry:
        assert (entry.value, entry.bytes, entry.below) == ("A", 3, None)


def test_idle_bases_expire_with_what_stands_on_them() -> None:
    """Not before: an adapter's use is the base's."""
    shelf = Shelf(20)
    use(shelf, "a")
    use(shelf, "b")
    assert shelf.cache.expire(1000) > 0
    shelf.cache.expire(0)
    assert shelf.freed == ["a over BASE", "b over BASE", "BASE"]


def test_many_threads_share_one_base() -> None:
    """However loads, uses and evictions meet, there is one base at a time, and nobody is given one that has left."""
    shelf = Shelf(7, LIMIT_S)  # room for the base and two of three

    def work(turn: int) -> bool:
        key = "abc"[turn % 3]
        with shelf.cache.lease(key, lambda room: over(key)) as entry:
            return entry.below is not None and not entry.below.gone

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(300)))
    assert sum(entry.bytes for entry in shelf.cache.entries()) <= 7
    assert "BASE" not in shelf.freed
