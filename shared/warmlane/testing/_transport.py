"""The seam of both clients, closed in memory: operations go to a lane, waiting is waiting for the slot's event."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from warmlane._slots import Slot, Slots
from warmlane.blobs import Blobs
from warmlane.ops import Op

R = TypeVar("R")


class Lane(Protocol):
    """What a transport needs of a lane."""

    def run(self, op: Op[R]) -> R: ...

    def join(self, transport: Transport) -> None: ...


class Transport(Protocol):
    """What a lane needs of a transport."""

    slots: Slots

    def call(self, news: Callable[[], None]) -> None:
        """Bring news to the slots, from whatever thread."""
        ...


class FakeTransport:
    """For `warmlane.Client`."""

    def __init__(self, lane: Lane) -> None:
        self.slots = Slots(threading.Event)
        self.blobs: Blobs | None = None  # whatever the settings say: nothing is written
        self._lane = lane
        lane.join(self)

    def run(self, op: Op[R]) -> R:
        return self._lane.run(op)

    def pause(self, slot: Slot, seconds: float) -> None:
        slot.wake.wait(seconds)

    def close(self) -> None:
        """Nothing is open."""

    def call(self, news: Callable[[], None]) -> None:
        news()


class AsyncFakeTransport:
    """For `warmlane.AsyncClient`. News from other threads goes through the loop, as `asyncio.Event` demands."""

    def __init__(self, lane: Lane) -> None:
        self.slots = Slots(asyncio.Event)
        self.blobs: Blobs | None = None
        self._lane = lane
        self._loop: asyncio.AbstractEventLoop | None = None
        lane.join(self)

    async def run(self, op: Op[R]) -> R:
        self._loop = asyncio.get_running_loop()
        return self._lane.run(op)

    async def pause(self, slot: Slot, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await slot.wake.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Nothing is open."""

    def call(self, news: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(news)
