"""What a task is: prepare (CPU, any thread) · forward (device thread, a batch) · finish (CPU, any thread), row by row.

One row in, one output out, in order. A task knows its pipeline; it knows neither queues nor other jobs. Rows of several
jobs meet in `forward` when their plans share a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from warmlane_workers.tasks.reach import NOWHERE, Reach


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's parameters, checked and sorted by the step that takes them. Rows of equal `group` may share a batch.

    Attributes:
        cut_at: the tokens at which `prepare` cuts a row off; None where it cuts none.
    """

    prepare: Mapping[str, Any] = field(default_factory=dict)
    forward: Mapping[str, Any] = field(default_factory=dict)
    finish: Mapping[str, Any] = field(default_factory=dict)
    group: bytes = b""
    cut_at: int | None = None


R = TypeVar("R")


def tried(step: Callable[..., R], *arguments: Any) -> R | Exception:
    """What a step gives, or what it raises."""
    try:
        return step(*arguments)
    except Exception as exc:  # noqa: BLE001 - it becomes the row's, or the job's
        return exc


#: (how many tokens of an answer come before, its tokens from there)
Tell = Callable[[int, list[int]], None]


@dataclass(eq=False, slots=True)
class Watch:
    """What a job and the generation of its rows say to each other, from thread to thread.

    Attributes:
        tell: called in the device thread with the tokens of the job's only row; does not block. None: nobody listens.
        stopped: set by the job's thread: nobody wants the answers any more.
    """

    tell: Tell | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A part of a row that is ready for the device. Most rows have one part; a long or a compound one has several.

    Attributes:
        inputs: what the model takes: tensors with a batch dimension of 1, and what `finish` wants back.
        length: tokens; what a batch is cut by.
        truncated: the row was too long, and this is not all of it.
        watch: its job's eye on its generation, where it has one.
    """

    inputs: dict[str, Any]
    length: int
    truncated: bool = field(default=False, kw_only=True)
    watch: Watch | None = field(default=None, kw_only=True, repr=False)


class Task(ABC):
    """A family of pipelines. Subclasses are made with `{"task", "model", …}` and keep no state of a job."""

    #: Padded tokens that fit in a batch, relative to the device's budget.
    budget_factor: int = 1
    #: What rows may name that lies outside of them: files, URLs.
    reach: Reach = NOWHERE
    #: Whether rows of several adapters of one base may share a batch, see `together`.
    mixes: bool = False
    #: The class name of the pipeline that was saved.
    instance_type: str = ""

    #: A row of middle length, by which `engine.budget` measures; None: the task's batches are not worth it.
    specimen: Any = None

    @abstractmethod
    def plan(self, params: Mapping[str, Any]) -> Plan:
        """Check a job's parameters.

        Raises:
            InvalidParams: an unknown or ill-typed one; the message lists the allowed.
        """

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        """Whether with these a short row is made ready in about a millisecond, so that no other job minds to wait."""
        return False

    @abstractmethod
    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        """One row as tensors, in one part or more. Thread-safe.

        Raises:
            SchemaError, InputTooLong: this row cannot be answered.
        """

    def prepare_all(self, rows: Sequence[Any], plan: Plan) -> list[list[Prepared] | Exception]:
        """Several rows as `prepare` makes them, in order; an error stands in the place of its row. Thread-safe."""
        return [tried(self.prepare, row, plan) for row in rows]

    @abstractmethod
    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        """One output a part, on the CPU. Called in the device thread only."""

    def together(self, batch: Sequence[Prepared], plan: Plan) -> Iterator[Sequence[Prepared]]:
        """The parts of a batch that the model sees at once, in order; `forward` splits none of these again."""
        yield batch

    @abstractmethod
    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        """The outputs of a row's parts, in order, as the row's answer."""

    def cut(self, answer: Any) -> Any:
        """The answer to a row of which not all was read; one that has a place for it says so."""
        return answer

    @abstractmethod
    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        """The answers of all rows as the job's result.

        Args:
            single: the input was one row, and no list.
            output: one of `warmlane.jobs.OUTPUTS`; None is the task's own choice.
        """
