"""What workers ask of the store about batch budgets: operations as in `warmlane.ops`, which no client runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import Keys
from warmlane.ops import Op

#: A batch is light when its fixed cost is at least one part in so many of what it may hold.
LIGHT = 8


@dataclass(frozen=True, slots=True)
class BatchBudget:
    """What suits a model's batches on a device.

    Attributes:
        tokens: the most padded tokens in a batch.
        fixed: what a batch costs whatever its size, in tokens that cost as much: how much padding is worth one batch
            less. 0: not known.
    """

    tokens: int
    fixed: int = 0

    @property
    def is_light(self) -> bool:
        """Whether much of even a full batch is the fixed cost. It is the interpreter's: two at a time gain nothing."""
        return self.fixed * LIGHT >= self.tokens


@dataclass(frozen=True, slots=True)
class KnownBudget(Op[BatchBudget | None]):
    """What suits a model's batches on a kind of device, as some worker has measured it; None where nobody has.

    Attributes:
        budget: keep this; None only asks.
    """

    script = "budget"
    device: str
    model: str
    budget: BatchBudget | None = None

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        text = "" if self.budget is None else f"{self.budget.tokens} {self.budget.fixed}"
        return [names.budgets], [f"{self.device} {self.model}", text]

    def read(self, reply: Any) -> BatchBudget | None:
        return BatchBudget(*map(int, reply.split())) if reply else None
