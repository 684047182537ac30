"""Who waits for a model and hears meanwhile that the job is cancelled: it alone stops, and at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.shelf import Shelf
from warmlane.errors import JobCancelled
from warmlane_workers.engine import patience
from warmlane_workers.engine.entry import Room

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is asked often."""
    monkeypatch.setattr(patience, "HEED_S", 0.01)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


class Slow:
    """A load that has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, room: Room) -> tuple[str, int]:
        self.begun.set()
        assert self.go_on.wait(LIMIT_S)
        return "SLOW", 1


def cancelled() -> None:
    raise JobCancelled("somebody wants it cancelled")


def use(shelf: Shelf, key: str, load: Slow) -> str:
    with shelf.cache.lease(key, load) as entry:
        return entry.value


def test_who_waits_for_room_can_be_cancelled() -> None:
    """It does not wait until what is in use is done, which stays for others as before."""
    shelf = Shelf(1, patience_s=LIMIT_S)
    with shelf.cache.lease("hot", lambda room: ("HOT", 1)):
        with pytest.raises(JobCancelled), shelf.cache.lease("cold", lambda room: ("COLD", 1), heed=cancelled):
            pass
        with shelf.cache.lease("hot", lambda room: ("never", 1)) as again:
            assert again.value == "HOT"
    assert shelf.freed == ["COLD"]


def test_who_waits_for_anothers_load_can_be_cancelled(pool: ThreadPoolExecutor) -> None:
    """The load goes on for the one that has asked first."""
    shelf, slow = Shelf(1), Slow()
    first = pool.submit(use, shelf, "a", slow)
    assert slow.begun.wait(LIMIT_S)
    with pytest.raises(JobCancelled), shelf.cache.lease("a", slow, heed=cancelled):
        pass
    slow.go_on.set()
    assert first.result(LIMIT_S) == "SLOW"


def test_who_waits_for_the_load_of_another_model_can_be_cancelled(pool: ThreadPoolExecutor) -> None:
    """Models are loaded one after the other; it does not wait for its turn."""
    shelf, slow = Shelf(2), Slow()
    first = pool.submit(use, shelf, "a", slow)
    assert slow.begun.wait(LIMIT_S)
    with pytest.raises(JobCancelled), shelf.cache.lease("b", lambda room: ("B", 1), heed=cancelled):
        pass
    slow.go_on.set()
    assert first.result(LIMIT_S) == "SLOW"


def test_a_cancelled_load_is_done_by_who_waits_for_it(pool: ThreadPoolExecutor) -> None:
    """That one has not been cancelled, and hears nothing of it."""
    shelf, slow = Shelf(1, patience_s=LIMIT_S), Slow()
    waits = threading.Event()

    def told() -> None:
        waits.set()

    def until_another_waits() -> None:
        if waits.is_set():
            cancelled()

    def first() -> None:
        with shelf.cache.lease("cold", slow, heed=until_another_waits):
            pass

    def second() -> str:
        with shelf.cache.lease("cold", slow, heed=told) as entry:
            return entry.value

    slow.go_on.set()
    with shelf.cache.lease("hot", lambda room: ("HOT", 1)):
        one = pool.submit(first)
        assert slow.begun.wait(LIMIT_S)
        other = pool.submit(second)
        assert isinstance(one.exception(LIMIT_S), JobCancelled)
    assert other.result(LIMIT_S) == "SLOW"
