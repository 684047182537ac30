"""The inbox of one client: who waits for which job. Knows events and outcomes, no connection."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from warmlane import jobs
from warmlane.errors import CodecError
from warmlane.records import Outcome


class Event(Protocol):
    """The part of `threading.Event` and `asyncio.Event` that the core touches."""

    def set(self) -> None: ...
    def clear(self) -> None: ...


@dataclass(eq=False)
class Slot:
    """One job that this process waits for, or may.

    Attributes:
        told: the outcome will come to our inbox, or has come; False when the record has to be read first.
        late_at: when the job's deadline passes, by the client's clock.
        followers: slots of their own for those who read the job's text as it grows; they are only woken.
    """

    wake: Any
    told: bool = False
    outcome: Outcome | None = None
    late_at: float | None = None
    followers: weakref.WeakSet[Slot] = field(default_factory=weakref.WeakSet, repr=False)

    def ring(self) -> None:
        """There is an outcome, or doubt."""
        self.wake.set()
        self.ring_followers()

    def ring_followers(self) -> None:
        """The job's text has grown, which is no news to those who wait for its end."""
        for slot in self.followers:
            slot.wake.set()


@dataclass(frozen=True)
class Work:
    """What a flow yields to have something done that waits for files; an event loop has a thread do it."""

    do: Callable[[], Any]


class Slots:
    """The inbox of one client: job id -> slot, for as long as somebody holds the slot. Thread-safe."""

    def __init__(self, new_event: Callable[[], Event]) -> None:
        self.id = jobs.new_id()
        self._new_event = new_event
        self._open: weakref.WeakValueDictionary[str, Slot] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def open(self, job_id: str) -> Slot:
        with self._lock:
            slot = self._open.get(job_id)
            if slot is None:
                slot = self._open[job_id] = Slot(self._new_event())
            return slot

    def follow(self, slot: Slot) -> Slot:
        """A slot that is woken with another, for as long as both are held."""
        follower = Slot(self._new_event())
        with self._lock:
            slot.followers.add(follower)
        return follower

    def deliver(self, event: bytes) -> None:
        """An event arrived at the inbox. One that cannot be read may have been for anybody."""
        try:
            job_id, outcome = Outcome.from_event(event)
        except CodecError:  # of a newer release, or of another program; it must not end the one who listens
            self.doubt()
            return
        with self._lock:
            slot = self._open.get(job_id)
            if slot is not None and outcome is None:
                slot.ring_followers()
            elif slot is not None:
                slot.outcome = outcome
                slot.ring()

    def doubt(self) -> None:
        """The inbox was deaf for a while: everybody who waits has to read the record again."""
        with self._lock:
            for slot in list(self._open.values()):
                slot.told = False
                slot.ring()


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait until the slot's event is set, for at most so many seconds."""

    slot: Slot
    seconds: float
