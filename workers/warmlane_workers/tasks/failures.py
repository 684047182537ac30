"""Rows that fail alone, and rows that were cut: how a result says so. Knows no task and no queue."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from warmlane.errors import WarmlaneError, from_dict
from warmlane.results import Table
from warmlane_workers.tasks.base import Task

#: The column, or the key, under which a row's error is.
ERROR = "error"
#: The column, or the key, that says that a row was cut.
TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Failed:
    """Stands for the answer of a row that has none."""

    error: WarmlaneError


def in_place(error: WarmlaneError, index: int) -> WarmlaneError:
    """An error of a row as one of a list's: the message and the field name the row."""
    place = f"inputs[{index}]"
    named = from_dict({**error.to_dict(), "details": {**error.details, "row": index}})
    if not error.message.startswith(place):
        text = error.message
        named.message = (
            place + text.removeprefix("inputs") if text.startswith(("inputs:", "inputs.")) else f"{place}: {text}"
        )
        named.args = (named.message,)
    field = error.details.get("field")
    if field == "inputs" or str(field).startswith("inputs."):
        named.details["field"] = place + str(field).removeprefix("inputs")
    return named


def assembled(
    task: Task, answers: Sequence[Any], single: bool, output: str | None, truncated: Collection[int] = ()
) -> Any:
    """The result of a job in which rows may have failed, or been cut.

    In a list, `{"error": {...}}` stands in a failed row's place. A table gets a column `error`, None in the rows that
    were answered; the other columns are None in those that were not. A lone row that failed is `{"error": {...}}`.
    A table of which rows were cut gets a column `truncated`; other answers say so where `Task.cut` has a place for it.

    Args:
        truncated: the numbers of the rows that were cut.
    """
    failed = any(isinstance(answer, Failed) for answer in answers)
    if not failed and not truncated:
        return task.assemble(list(answers), single, output)
    if single and failed:
        return _record(answers[0])
    cut = frozenset(truncated)
    pieces = [
        [_record(answer)]
        if isinstance(answer, Failed)
        else task.assemble([task.cut(answer) if index in cut else answer], single, output)
        for index, answer in enumerate(answers)
    ]
    shape = next((piece for piece in pieces if isinstance(piece, Table)), None)
    if shape is None and all(isinstance(answer, Failed) for answer in answers):
        shape = task.assemble([], False, output)  # none was answered: what the result would have been
    if isinstance(shape, Table):
        names = [*shape.columns, *([TRUNCATED] if cut else []), *([ERROR] if failed else [])]
        return _table(pieces, names, cut)
    if single:
        return pieces[0]
    return [item for piece in pieces for item in (piece if isinstance(piece, list) else [piece])]


def _record(failed: Failed) -> dict[str, Any]:
    return {ERROR: failed.error.to_dict()}


def _table(pieces: Sequence[Any], names: Sequence[str], cut: Collection[int]) -> Table:
    """The rows' tables, and the records of those that failed, as one table."""
    rows = [
        {**row, TRUNCATED: index in cut} if isinstance(piece, Table) else row
        for index, piece in enumerate(pieces)
        for row in piece
    ]
    return Table({name: [row.get(name) for row in rows] for name in names})
