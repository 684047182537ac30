"""Many threads, one call: what they share, and what stays each one's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from warmlane.combining import Combiner

LIMIT_S = 10


class Gated:
    """Work that waits to be let on, and notes which items came in one call."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(items))
        self.begun.release()
        assert self.gate.acquire(timeout=LIMIT_S)
        if any(item > 900 for item in items):
            raise ValueError("nothing of it")
        return [ValueError(item) if item < 0 else 10 * item for item in items]

    def begins(self) -> None:
        assert self.begun.acquire(timeout=LIMIT_S)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def queued(pool: ThreadPoolExecutor, combiner: Combiner[int, int], items: Sequence[int]) -> list[Future[int]]:
    """Threads that wait, one behind the other, while somebody works."""
    futures = []
    for count, item in enumerate(items, 1):
        futures.append(pool.submit(combiner.run, item))
        while len(combiner._waiting) < count:
            pass
    return futures


def test_a_lone_thread_works_for_itself() -> None:
    """Without others each item is a call of its own, in the thread that brings it."""
    threads: list[threading.Thread] = []

    def work(items: Sequence[int]) -> list[int]:
        threads.append(threading.current_thread())
        return [item + 1 for item in items]

    combiner = Combiner(work)
    assert [combiner.run(1), combiner.run(2)] == [2, 3]
    assert threads == [threading.current_thread()] * 2


def test_who_comes_meanwhile_shares_a_call(pool: ThreadPoolExecutor) -> None:
    """Three threads that come while one works have their items done in one call, in order, each with its own result."""
    work = Gated()
    combiner = Combiner(work)
    first = pool.submit(combiner.run, 1)
    work.begins()
    others = queued(pool, combiner, [2, 3, 4])
    work.gate.release(2)
    assert [future.result(LIMIT_S) for future in (first, *others)] == [10, 20, 30, 40]
    assert work.calls == [[1], [2, 3, 4]]


def test_an_error_of_one_item_is_its_threads(pool: ThreadPoolExecutor) -> None:
    """An exception in the place of a result is raised where the item came from, and nowhere else."""
    work = Gated()
    combiner = Combiner(work)
    first = pool.submit(combiner.run, 1)
    work.begins()
    bad, good = queued(pool, combiner, [-2, 3])
    work.gate.release(2)
    assert isinstance(bad.exception(LIMIT_S), ValueError)
    assert [first.result(LIMIT_S), good.result(LIMIT_S)] == [10, 30]


def test_a_call_that_fails_fails_for_all_in_it(pool: ThreadPoolExecutor) -> None:
    """What the work raises is raised in each thread that shared the call; who comes next is served."""
    work = Gated()
    combiner = Combiner(work)
    first = pool.submit(combiner.run, 1)
    work.begins()
    both = queued(pool, combiner, [901, 2])
    work.gate.release(3)
    assert [type(future.exception(LIMIT_S)) for future in both] == [ValueError, ValueError]
    assert first.result(LIMIT_S) == 10
    assert pool.submit(combiner.run, 5).result(LIMIT_S) == 50


def test_a_call_has_a_largest_size(pool: ThreadPoolExecutor) -> None:
    """More items than fit in a call are done in several, none left behind."""
    work = Gated()
    combiner = Combiner(work, most=2)
    first = pool.submit(combiner.run, 1)
    work.begins()
    others = queued(pool, combiner, [2, 3, 4])
    work.gate.release(3)
    assert [future.result(LIMIT_S) for future in (first, *others)] == [10, 20, 30, 40]
    assert work.calls == [[1], [2, 3], [4]]
