"""Batches whose rows are of several adapters of one base, and of the base itself. Knows tasks and plans, not layers.

A batch of one adapter is run by its own task, as if nobody else was there. A mixed one is run by a task over the base's
mixed model; where that cannot tell its rows apart, each adapter's rows are run by themselves.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warmlane_workers.flavor.mixing import CannotMix, MixedModel, Parts, rows_of
from warmlane_workers.tasks.base import Plan, Prepared, Task

if TYPE_CHECKING:
    from warmlane_workers.engine.loaded import Loaded

logger = logging.getLogger(__name__)

#: A model in memory, and the components to answer with -> the task that does.
MakeTask = Callable[["Loaded", dict[str, Any]], Task]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a row, and whose it is."""

    owner: Loaded
    task: Task
    plan: Plan
    prepared: Prepared


class Mix:
    """The users of one base in memory. Thread-safe.

    Args:
        base: the model below the adapters.
    """

    def __init__(self, base: Any) -> None:
        self._base = base
        self._lock = threading.Lock()
        self._parts: dict[Loaded, Parts] = {}
        self._mixed: MixedModel | None = None
        self._tasks: dict[Hashable, Task] = {}
        self._broken = False

    def join(self, owner: Loaded, parts: Parts) -> None:
        """Rows of a model may share batches from now on.

        Args:
            parts: what its adapter does.
        """
        with self._lock:
            self._parts[owner] = parts
            if self._mixed is not None:
                self._mixed.add(owner, parts)

    def leave(self, owner: Loaded) -> None:
        with self._lock:
            self._parts.pop(owner, None)
            if self._mixed is not None:
                self._mixed.remove(owner)

    def key(self, owner: Loaded, task: Task, plan: Plan) -> Hashable:
        """Equal for rows that may share a batch: same kind of task, same tokenizer, same parameters."""
        tokenizer = owner.components.get("tokenizer")
        record = json.dumps(owner.artifact.own.get("pipeline"), sort_keys=True, default=str)
        return id(self), type(task), id(tokenizer), record, plan.group

    def run(self, batch: list[Part], make: MakeTask) -> list[Any]:
        """One output a part, in order. Called in a device thread.

        Args:
            make: makes the task that runs mixed batches.
        """
        if all(part.owner is batch[0].owner for part in batch):
            return batch[0].task.forward([part.prepared for part in batch], batch[0].plan)
        return self._mixed_run(batch, make) or _apart(batch)

    def _mixed_run(self, batch: Sequence[Part], make: MakeTask) -> list[Any]:
        """The outputs; none where they cannot be had so."""
        try:
            if not self._broken:
                return _together(batch, self._task(batch[0], make))
        except CannotMix as exc:
            self._broken = True
            logger.warning("%s: batches are no longer mixed: %s", batch[0].owner.name, exc, extra={"action": "unmixed"})
        return []

    def _task(self, first: Part, make: MakeTask) -> Task:
        owner = first.owner
        key = self.key(owner, first.task, Plan())
        with self._lock:
            if self._mixed is None:
                self._mixed = MixedModel(self._base)
                for other, parts in self._parts.items():
                    self._mixed.add(other, parts)
            self._mixed.prove()
            if key not in self._tasks:
                self._tasks[key] = make(owner, {**owner.components, "model": self._mixed.model})
            return self._tasks[key]


def _together(batch: Sequence[Part], task: Task) -> list[Any]:
    outputs: list[Any] = [None] * len(batch)
    begin, plan = 0, batch[0].plan
    for group in task.together([part.prepared for part in batch], plan):
        # Rows of an owner next to each other: its share of a tensor is then a slice.
        places = sorted(range(begin, begin + len(group)), key=lambda place: id(batch[place].owner))
        begin += len(group)
        shares = itertools.groupby(places, key=lambda place: batch[place].owner)
        with rows_of([(owner, len(list(rows))) for owner, rows in shares]):
            found = task.forward([batch[place].prepared for place in places], plan)
        for place, output in zip(places, found, strict=True):
            outputs[place] = output
    return outputs


def _apart(batch: Sequence[Part]) -> list[Any]:
    outputs: list[Any] = [None] * len(batch)
    places = sorted(range(len(batch)), key=lambda place: id(batch[place].owner))
    for _, shared in itertools.groupby(places, key=lambda place: id(batch[place].owner)):
        rows = list(shared)
        first = batch[rows[0]]
        found = first.task.forward([batch[place].prepared for place in rows], first.plan)
        for place, output in zip(rows, found, strict=True):
            outputs[place] = output
    return outputs
