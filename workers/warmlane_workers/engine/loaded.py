"""A model in memory, by what it is found, and what it is made of. Knows nothing of how it came there."""

from __future__ import annotations

import threading
from collections.abc import Hashable, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from warmlane.budget import BatchBudget
from warmlane_workers.engine.batcher import Run
from warmlane_workers.flavor.sharing import BaseIdentity
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.base import Task
from warmlane_workers.tasks.limits import stretches

if TYPE_CHECKING:
    from warmlane_workers.engine.mixing import Mix
    from warmlane_workers.engine.running import RunningBatch


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes a loaded model this one and no other."""

    name: str
    version: int
    dtype: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class BaseKey:
    """A base that adapters brought, and that is no model of the store itself."""

    identity: BaseIdentity

    @property
    def name(self) -> str:
        return str(self.identity)

    def __str__(self) -> str:
        return self.name


Key = ModelKey | BaseKey


@dataclass(eq=False)
class Loaded:
    """A model in memory. Its tasks are made at the first predict that needs them, over the same weights.

    Attributes:
        budget: what was measured to suit its batches; None: nothing yet.
        identity: what makes others able to share its weights; None where they cannot.
        base: the model whose weights it shares.
        known: of a base, the components of those that share it.
        mix: where its rows share batches with those of others.
        running: its running batches, by whether they draw their tokens.
        steady: of which of them it is known that they answer as the model does.
        unsteady: it can have none.
    """

    name: str
    artifact: Artifact
    components: dict[str, Any] = field(repr=False)
    dtype: str
    budget: BatchBudget | None = None
    task: Task | None = field(default=None, repr=False)
    raw: Task | None = field(default=None, repr=False)
    identity: BaseIdentity | None = field(default=None, repr=False)
    base: Loaded | None = field(default=None, repr=False)
    known: MutableMapping[Hashable, Any] = field(default_factory=WeakValueDictionary, repr=False)
    mix: Mix | None = field(default=None, repr=False)
    running: dict[bool, RunningBatch] = field(default_factory=dict, repr=False)
    steady: set[bool] = field(default_factory=set, repr=False)
    unsteady: bool = field(default=False, repr=False)
    _turn: AbstractContextManager[Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        model = self.components.get("model")
        self._turn = threading.Lock() if model is not None and stretches(model) else nullcontext()

    def in_turn(self, run: Run) -> Run:
        """The same run of a batch, beside no other of this model where one would change what another computes with."""

        def run_in_turn(batch: list[Any]) -> Sequence[Any]:
            with (self.base or self)._turn:
                return run(batch)

        return run_in_turn

    @property
    def company(self) -> Hashable:
        """Equal for those whose rows may share batches."""
        return id(self.base or self)
