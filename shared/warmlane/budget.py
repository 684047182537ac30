"""What workers ask of the store about batch budgets: operations as in `warmlane.ops`, which no client runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import Keys
from warmlane.ops import Op


@dataclass(frozen=True, slots=True)
class BatchBudget(Op[int]):
    """The padded tokens that suit a model's batches on a kind of device, as some worker has measured them.

    Attributes:
        tokens: keep this; 0 only asks. The reply is what is known, 0 where nothing is.
    """

    script = "budget"
    device: str
    model: str
    tokens: int = 0

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.budgets], [f"{self.device} {self.model}", self.tokens]

    def read(self, reply: Any) -> int:
        return int(reply)
