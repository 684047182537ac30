"""Who may run beside whom."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from warmlane_workers.gate import Gate

LIMIT_S = 10


class Visitor:
    """A thread that goes in, says so, and leaves when it is told."""

    def __init__(self, way: AbstractContextManager[None]) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(way,), daemon=True)
        self._thread.start()

    def _visit(self, way: AbstractContextManager[None]) -> None:
        with way:
            self.inside.set()
            assert self._leave.wait(LIMIT_S)

    def has_entered(self) -> bool:
        return self.inside.wait(LIMIT_S)

    def waits(self) -> bool:
        return not self.inside.wait(0.02)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(LIMIT_S)


def test_many_are_inside_in_company() -> None:
    """Jobs run beside each other."""
    gate = Gate()
    visitors = [Visitor(gate.company()) for _ in range(8)]
    assert all(visitor.has_entered() for visitor in visitors)
    for visitor in visitors:
        visitor.leave()


def test_one_who_wants_to_be_alone_waits_for_the_others_and_is_not_overtaken() -> None:
    """Nobody enters while it waits, nor while it is inside; then the rest goes in."""
    gate = Gate()
    first = Visitor(gate.company())
    assert first.has_entered()
    suspect = Visitor(gate.alone())
    assert suspect.waits()
    late = Visitor(gate.company())
    assert late.waits()
    first.leave()
    assert suspect.has_entered()
    assert late.waits()
    suspect.leave()
    assert late.has_entered()
    late.leave()


def test_two_are_not_alone_together() -> None:
    """Suspects take turns."""
    gate = Gate()
    one = Visitor(gate.alone())
    assert one.has_entered()
    other = Visitor(gate.alone())
    assert other.waits()
    one.leave()
    assert other.has_entered()
    other.leave()
