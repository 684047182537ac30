"""Which rows inputs are: one, a list of them, or a table's. Needs neither pandas nor numpy."""

from __future__ import annotations

from typing import Any

from warmlane.errors import SchemaError
from warmlane.results import Table, is_dataframe
from warmlane.signature.columns import Signature

#: Tasks whose row is a text and nothing else.
_TEXTS = frozenset(
    {
        *("feature-extraction", "fill-mask", "summarization", "text-generation", "text2text-generation"),
        *("token-classification", "translation"),
    }
)
#: Tasks whose row may be one value, and also a dict.
_VALUES = frozenset(
    {
        *("text-classification", "conversational", "text-to-audio", "video-classification", "image-classification"),
        *("audio-classification", "automatic-speech-recognition", "zero-shot-audio-classification"),
        *("object-detection", "image-segmentation", "depth-estimation", "image-feature-extraction", "mask-generation"),
    }
)


def is_one_row(inputs: Any) -> bool:
    """Whether a job's inputs are a row by themselves: neither a list of rows nor a table. Its result is one answer."""
    return not (isinstance(inputs, list | Table) or is_dataframe(inputs))


def rows_of(signature: Signature | None, task: str, inputs: Any) -> list[Any]:
    """The rows of a job, in order. A table of one column is a list of its values, whatever the column is called, where
    a row of the task can be one value; any other table has a dict a row.

    Raises:
        SchemaError: no rows, or a table of several columns for a task whose rows are texts.
    """
    if is_dataframe(inputs):
        inputs = _table(inputs)
    found = _of_table(signature, task, inputs) if isinstance(inputs, Table) else inputs
    rows = found if isinstance(found, list) else [found]
    if not rows:
        raise SchemaError("inputs: an empty list has no rows to predict", field="inputs")
    return rows


def is_value(task: str) -> bool:
    """Whether a row of a task may be one value, and no dict."""
    return _is_text(task) or task in _VALUES


def _is_text(task: str) -> bool:
    return task in _TEXTS or task.startswith("translation_")


def _of_table(signature: Signature | None, task: str, table: Table) -> list[Any]:
    named = {column.get("name") for column in (signature or {}).get("inputs") or ()} - {None}
    if not len(table) or not named.isdisjoint(table.columns):  # the model's own columns, or a request's keys
        return table.rows()
    columns = list(table.columns.values())
    if len(columns) == 1 and is_value(task):
        return list(columns[0])
    if _is_text(task) and not named:
        raise SchemaError(
            f"inputs: a row of {task} is one text, so a table has one column, of any name; this one has "
            f"{len(columns)}: send the one with the texts",
            field="inputs",
        )
    return table.rows()


def _table(frame: Any) -> Table:
    try:
        return Table.from_pandas(frame)
    except ValueError as exc:
        raise SchemaError(f"inputs: {exc}", field="inputs") from exc
