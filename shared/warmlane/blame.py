"""What a worker's end says of the jobs that it ran: operations as in `warmlane.ops`, which no client runs.

A life is one process of a worker, under a name that its supervisor gives it. While a job runs, its id is in the set of
the life that runs it (`ops.Start`, `ops.Finish`). A life that was killed from outside leaves its set to expire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import Keys
from warmlane.ops import Op


@dataclass(frozen=True, slots=True)
class Blame(Op[int]):
    """That life crashed: each job that it ran becomes suspect, and one that ran alone has done it. Twice is once.

    The reply is how many there were.
    """

    script = "blame"
    life: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.running(self.life)], [names.job("")]

    def read(self, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class Absolve(Op[None]):
    """That life ends in order and gave back what it still ran, which counts as no loss."""

    script = "absolve"
    life: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.running(self.life)], [names.job("")]

    def read(self, reply: Any) -> None:
        return None
