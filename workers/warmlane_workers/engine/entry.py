"""The book-keeping of a model in memory: how large it is, who uses it, when it was used last."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(eq=False)
class Entry(Generic[K, V]):
    """A loaded model.

    Attributes:
        serial: grows with every load; the highest is the newest.
        leases: how many use it.
        unwanted: it was unloaded, and not only evicted.
    """

    key: K
    value: V
    bytes: int
    serial: int
    pinned: bool
    last_used: float
    leases: int = 0
    unwanted: bool = False


def total(entries: Iterable[Entry[K, V]]) -> int:
    """Bytes that they take together."""
    return sum(entry.bytes for entry in entries)


def oldest(entries: Iterable[Entry[K, V]], size: int) -> list[Entry[K, V]]:
    """As many of them as it takes for so many bytes, the longest unused first."""
    chosen: list[Entry[K, V]] = []
    for entry in sorted(entries, key=lambda entry: entry.last_used):
        if size <= 0:
            break
        chosen.append(entry)
        size -= entry.bytes
    return chosen
