"""The book-keeping of a model in memory: how large it is, who uses it, when it was used last, and on what it stands.

An entry may stand on another, whose weights it shares: an adapter on its base. The one below is in use while one above
is, kept while one above is kept, and as young as the youngest above; so it never leaves first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Told how many bytes are about to be loaded: returns when there is room for them. Raises `CacheFull`.
Room = Callable[[int], None]


@dataclass(eq=False)
class Entry(Generic[K, V]):
    """A loaded model.

    Attributes:
        bytes: of its own; what it shares counts where it stands.
        serial: grows with every load; the highest is the newest.
        leases: how many use it.
        unwanted: it was unloaded, and not only evicted.
        below: the entry whose weights it shares.
        above: those that share its weights.
        held: a load is under way that will stand on it.
        gone: it is being parted with, for good.
    """

    key: K
    value: V
    bytes: int
    serial: int
    pinned: bool
    last_used: float
    leases: int = 0
    unwanted: bool = False
    below: Entry[K, V] | None = None
    above: list[Entry[K, V]] = field(default_factory=list)
    held: bool = False
    gone: bool = False

    @property
    def in_use(self) -> bool:
        return self.leases > 0 or any(entry.in_use for entry in self.above)

    @property
    def kept(self) -> bool:
        """Whether it must not leave, used or not."""
        return self.pinned or self.held or any(entry.kept for entry in self.above)

    @property
    def idle(self) -> bool:
        return not (self.in_use or self.kept or self.gone)

    @property
    def used(self) -> float:
        """When it, or what stands on it, was used last."""
        return max([self.last_used, *(entry.used for entry in self.above)])


@dataclass(frozen=True, slots=True)
class Over(Generic[K, V]):
    """What a load answers that can share the weights of another entry.

    Attributes:
        same: whether an entry is that other one.
        load: makes the value over that of the entry below, and measures its own bytes.
        base: the key and the load of the entry below, where there is none yet; None: then `alone` is called.
        alone: loads it with weights of its own.
    """

    same: Callable[[Entry[K, V]], bool]
    load: Callable[[V, Room], tuple[V, int]]
    base: tuple[K, Callable[[Room], tuple[V, int]]] | None = None
    alone: Callable[[Room], tuple[V, int]] | None = None


def total(entries: Iterable[Entry[K, V]]) -> int:
    """Bytes that they take together."""
    return sum(entry.bytes for entry in entries)


def oldest(entries: Iterable[Entry[K, V]], size: int) -> list[Entry[K, V]]:
    """As many of them as it takes for so many bytes, the longest unused first, and each after what stands on it."""
    chosen: list[Entry[K, V]] = []
    for entry in sorted(entries, key=lambda entry: (entry.used, bool(entry.above))):
        if size <= 0:
            break
        chosen.append(entry)
        size -= entry.bytes
    return chosen
