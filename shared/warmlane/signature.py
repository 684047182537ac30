"""A model's signature and its checks, so that bad inputs are refused before anything is enqueued. Needs no torch.

A signature is plain data, as MLflow writes it: `{"inputs": [...], "outputs": [...], "params": [...] | None}`, where a
column is `{"type": "string", "required": True}` (with a `name`, or without: then it is the only one) and a tensor is
`{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}`.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmlane.errors import SchemaError
from warmlane.results import NDArray, Table, is_dataframe

Signature = Mapping[str, Any]

_STRING = {"type": "string", "required": True}
_LABELS = [{"type": "string", "name": "label", "required": True}, {"type": "double", "name": "score", "required": True}]
_TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}

#: Task -> the signature that a model gets when its saver gave none (the guide, "Automatic Signature inference").
DEFAULTS: Mapping[str, Signature] = {
    "text-classification": {"inputs": [_STRING], "outputs": _LABELS, "params": None},
    "feature-extraction": {"inputs": [_STRING], "outputs": [_TENSOR], "params": None},
    "text-generation": {"inputs": [_STRING], "outputs": [_STRING], "params": None},
    "token-classification": {"inputs": [_STRING], "outputs": [_STRING], "params": None},
    "fill-mask": {"inputs": [_STRING], "outputs": [_STRING], "params": None},
}

#: Tasks whose single text may also be given as a dict of these keys.
_TEXT_AS_DICT = {"text-classification": frozenset({"text", "text_pair"})}

#: By the abstract number types, which numpy's numbers are of as well.
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "binary": lambda value: isinstance(value, bytes),
    "boolean": lambda value: isinstance(value, bool),
    "long": lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
}


def check_inputs(signature: Signature | None, task: str, inputs: Any) -> None:
    """Refuse inputs that cannot be rows of the model's signature; a model without one takes anything.

    Raises:
        SchemaError: names the row and the column, never the value.
    """
    columns = signature.get("inputs") if signature else None
    if not columns:
        return
    if is_dataframe(inputs):
        inputs = _table(inputs)
    rows = inputs.rows() if isinstance(inputs, Table) else inputs if isinstance(inputs, list) else [inputs]
    if not rows:
        raise SchemaError("inputs: an empty list has no rows to predict", field="inputs")
    for index, row in enumerate(rows):
        place = f"inputs[{index}]" if isinstance(inputs, list | Table) else "inputs"
        _check_row(columns, task, row, place)


def _table(frame: Any) -> Table:
    try:
        return Table.from_pandas(frame)
    except ValueError as exc:
        raise SchemaError(f"inputs: {exc}", field="inputs") from exc


def _check_row(columns: Sequence[Mapping[str, Any]], task: str, row: Any, place: str) -> None:
    if len(columns) == 1 and not columns[0].get("name"):
        keys = _TEXT_AS_DICT.get(task)
        if keys and isinstance(row, dict):
            if "text" in row and set(row) <= keys and all(isinstance(value, str) for value in row.values()):
                return
            raise SchemaError(f"{place}: a dict needs the key 'text', may have 'text_pair', both str", field=place)
        _check_value(columns[0], row, place)
        return
    if not isinstance(row, dict):
        names = ", ".join(repr(column.get("name")) for column in columns)
        raise SchemaError(f"{place}: expected a dict with the keys {names}, got {type(row).__name__}", field=place)
    for column in columns:
        name = column.get("name")
        if name in row:
            _check_value(column, row[name], f"{place}.{name}")
        elif column.get("required", True):
            raise SchemaError(f"{place}: the key {name!r} is missing", field=f"{place}.{name}")


def _check_value(column: Mapping[str, Any], value: Any, place: str) -> None:
    kind = str(column.get("type"))
    if kind == "tensor":
        if not (isinstance(value, NDArray | list) or type(value).__name__ == "ndarray"):
            raise SchemaError(f"{place}: expected an array, got {type(value).__name__}", field=place)
        return
    check = _CHECKS.get(kind)
    if check is not None and not check(value):
        raise SchemaError(f"{place}: expected {kind}, got {type(value).__name__}", field=place, expected=kind)
