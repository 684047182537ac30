"""A model in memory, by what it is found, and what it is made of. Knows nothing of how it came there."""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from warmlane.budget import BatchBudget
from warmlane_workers.flavor.sharing import BaseIdentity
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.base import Task

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

    @property
    def company(self) -> Hashable:
        """Equal for those whose rows may share batches."""
        return id(self.base or self)
