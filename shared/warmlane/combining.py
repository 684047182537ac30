"""What many threads want at the same time, done by one of them for all. Knows threads, not what is done.

Who comes while nobody works begins at once, with its own item alone. Who comes meanwhile waits, and the first of them
does the items of all: a lone thread loses nothing, and many share what each call costs, whatever its size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Turn(Generic[T, R]):
    """An item, for the thread that waits for its result."""

    __slots__ = ("_called", "error", "item", "result", "settled")

    def __init__(self, item: T) -> None:
        self.item = item
        self.result: R
        self.error: Exception | None = None
        self.settled = False
        self._called = threading.Lock()
        self._called.acquire()

    def wait(self) -> None:
        """Until it is settled, or its thread is to work."""
        self._called.acquire()

    def call(self) -> None:
        self._called.release()

    def settle(self, result: R | Exception) -> None:
        if isinstance(result, Exception):
            self.error = result
        else:
            self.result = result
        self.settled = True
        self.call()


class Combiner(Generic[T, R]):
    """Does the items of threads that meet in one call, in the order in which they came.

    Args:
        work: items -> the result of each, or the exception that is raised in its thread. What it raises itself is
            raised in all their threads.
        most: items in a call.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R | Exception]], most: int = 256) -> None:
        self._work = work
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Turn[T, R]] = []
        self._busy = False  # somebody works, or is called to

    def run(self, item: T) -> R:
        """The result of an item."""
        turn: _Turn[T, R] = _Turn(item)
        with self._lock:
            self._waiting.append(turn)
            follows, self._busy = self._busy, True
        if follows:
            turn.wait()
        if not turn.settled:
            self._lead()
        if turn.error is not None:
            raise turn.error
        return turn.result

    def _lead(self) -> None:
        """Work for all who wait by now, this thread first among them; then call the next."""
        with self._lock:
            turns, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        results: Sequence[R | Exception]
        try:
            results = self._work([turn.item for turn in turns])
        except Exception as exc:  # noqa: BLE001 - it is raised in the threads that wait for it, this one too
            results = [exc] * len(turns)
        with self._lock:
            following = self._waiting[:1]
            self._busy = bool(following)
        for turn in following:
            turn.call()
        for turn, result in zip(turns, results, strict=True):
            turn.settle(result)
