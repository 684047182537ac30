"""Rows that fail alone: what stands in their places among the answers of the others. Knows no task and no queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmlane.errors import WarmlaneError, from_dict
from warmlane.results import Table
from warmlane_workers.tasks.base import Task

#: The column, or the key, under which a row's error is.
ERROR = "error"


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


def assembled(task: Task, answers: list[Any], single: bool, output: str | None) -> Any:
    """The result of a job in which rows may have failed.

    In a list, `{"error": {...}}` stands in a failed row's place. A table gets a column `error`, None in the rows that
    were answered; the other columns are None in those that were not. A lone row that failed is `{"error": {...}}`.
    """
    if not any(isinstance(answer, Failed) for answer in answers):
        return task.assemble(answers, single, output)
    if single:
        return _record(answers[0])
    pieces = [
        [_record(answer)] if isinstance(answer, Failed) else task.assemble([answer], False, output)
        for answer in answers
    ]
    items = [item for piece in pieces for item in (piece if isinstance(piece, list | Table) else [piece])]
    tables = [piece for piece in pieces if isinstance(piece, Table)]
    return _table(items, list(tables[0].columns)) if tables else items


def _record(failed: Failed) -> dict[str, Any]:
    return {ERROR: failed.error.to_dict()}


def _table(rows: Sequence[dict[str, Any]], names: list[str]) -> Table:
    return Table({name: [row.get(name) for row in rows] for name in (*names, ERROR)})
