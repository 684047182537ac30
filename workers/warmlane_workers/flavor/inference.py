"""The types that data have: columns of inputs and outputs, and parameters. Knows no model.

Rows are brought together: a column that some rows lack is optional, one whose values agree in no type is `any`.
Source: what MLflow's `infer_signature` answers; nothing of it runs here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy

from warmlane.errors import InvalidInput
from warmlane.results import NDArray, Table, is_dataframe
from warmlane.signature.columns import column, tensor

#: numpy's element types -> the column types that hold them.
_NUMPY = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "integer"),
    **dict.fromkeys(("int64", "uint32"), "long"),
    **dict.fromkeys(("float16", "float32"), "float"),
    "float64": "double",
    "bool": "boolean",
}
#: The beginnings of the names of numpy's other types -> theirs.
_NUMPY_OTHERS = {"str": "string", "bytes": "binary", "datetime64": "datetime", "object": "any"}
#: Python's types -> theirs; a bool is an int too, so it comes first.
_PYTHON = {bool: "boolean", int: "long", float: "double", str: "string", bytes: "binary", date: "datetime"}
#: The type of what is not there: of None, and of an empty list's items. It gives way to any other; alone it is `any`.
_NOTHING: dict[str, Any] = {"type": "nothing"}


def columns(data: Any, place: str) -> list[dict[str, Any]]:
    """The columns, or tensors, of data: of one row, of a list of rows, or of a table.

    Args:
        place: the argument's name, for messages.

    Raises:
        InvalidInput: a value of a type that no signature has.
    """
    if isinstance(data, Table) or is_dataframe(data):
        return _of_table(data, place)
    if _is_array(data) and data.shape:
        return [_tensor(data)]
    if isinstance(data, dict) and data and all(_is_array(value) and value.shape for value in data.values()):
        return [{"name": str(name), **_tensor(value)} for name, value in data.items()]
    if isinstance(data, list):
        return _of_rows(data, place)
    return _of_type(_type_of(data, place))


def parameters(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A schema of parameters, each with its value as the default.

    Raises:
        InvalidInput: a value whose type a parameter cannot have.
    """
    return [_parameter(str(name), value) for name, value in params.items()]


def _of_table(data: Any, place: str) -> list[dict[str, Any]]:
    try:
        table = data if isinstance(data, Table) else Table.from_pandas(data)
    except ValueError as exc:
        raise InvalidInput(f"{place}: {exc}", field=place) from exc
    dtypes = [""] * len(table.columns) if data is table else [str(dtype) for dtype in data.dtypes]
    found = []
    for (name, values), dtype in zip(table.columns.items(), dtypes, strict=True):
        if dtype in _NUMPY:
            found.append(column(_NUMPY[dtype], name))
        else:
            types = [_NOTHING if _missing(value) else _type_of(value, f"{place}.{name}") for value in values]
            found.append(_column(_together(types), name, required=_has_all(types)))
    return found


def _missing(value: Any) -> bool:
    """What pandas has for None in columns of other types than float."""
    return type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))


def _of_rows(rows: list[Any], place: str) -> list[dict[str, Any]]:
    if not rows:
        return [column("string")]
    if all(_is_array(row) and row.shape for row in rows):
        return [_together([_tensor(row) for row in rows])]
    types = [_type_of(row, f"{place}[{at}]") for at, row in enumerate(rows)]
    return _of_type(_together(types), required=_has_all(types))


def _of_type(found: dict[str, Any], *, required: bool = True) -> list[dict[str, Any]]:
    """Columns of the type of a row: an object's keys are columns."""
    if found["type"] == "object":
        return [_column(part, name, required=part["required"]) for name, part in found["properties"].items()]
    return [_column(found, None, required=required and not _is_nothing(found))]


def _column(found: dict[str, Any], name: str | None, *, required: bool) -> dict[str, Any]:
    return {**_sealed(found), **({} if name is None else {"name": name}), "required": required}


def _sealed(found: dict[str, Any]) -> dict[str, Any]:
    """A type as it is written: the properties of an object by name."""
    if found["type"] == "array":
        return {"type": "array", "items": _sealed(found["items"])}
    if found["type"] == "object":
        parts = sorted(found["properties"].items())
        return {
            "type": "object",
            "properties": {name: {**_sealed(part), "required": part["required"]} for name, part in parts},
        }
    return {"type": "any" if _is_nothing(found) else found["type"]}


def _type_of(value: Any, place: str) -> dict[str, Any]:
    """The type of one value. An object's properties keep their order, for they may become columns."""
    if value is None:
        return _NOTHING
    if _is_array(value):
        found: dict[str, Any] = {"type": _element(value)}
        for _ in value.shape:
            found = {"type": "array", "items": found}
        return found
    if isinstance(value, list | tuple):
        items = [_type_of(item, f"{place}[{at}]") for at, item in enumerate(value)]
        some_are_none = items and not _has_all(items)  # which no type of items but `any` allows
        return {"type": "array", "items": {"type": "any"} if some_are_none else _together(items)}
    if isinstance(value, dict) and value:
        parts = {str(name): _type_of(item, f"{place}.{name}") for name, item in value.items()}
        return _object({name: {**part, "required": not _is_nothing(part)} for name, part in parts.items()})
    return {"type": _scalar(value, place)}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _scalar(value: Any, place: str) -> str:
    if isinstance(value, numpy.generic) and not isinstance(value, str | bytes):
        return _element(value)
    for kind, name in _PYTHON.items():
        if isinstance(value, kind):
            return name
    what = "an empty dict" if isinstance(value, dict) else type(value).__name__
    raise InvalidInput(
        f"{place}: {what} has no type in a signature; give str, bytes, numbers, lists, dicts, an array, or a table",
        field=place,
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, NDArray | numpy.ndarray)


def _dtype(array: Any) -> str:
    return str(array.dtype if isinstance(array, NDArray) else array.dtype.name)


def _element(array: Any) -> str:
    """The column type of an array's elements."""
    dtype = _dtype(array)
    other = next((kind for start, kind in _NUMPY_OTHERS.items() if dtype.startswith(start)), "any")
    return _NUMPY.get(dtype, other)


def _tensor(array: Any) -> dict[str, Any]:
    """Its first size is the number of rows, and so any; how long the texts in it are is no part of the type."""
    dtype = _dtype(array)
    text = next((start for start in ("str", "bytes") if dtype.startswith(start)), dtype)
    return tensor(text, [-1, *array.shape[1:]])


def _has_all(types: Sequence[dict[str, Any]]) -> bool:
    return not any(_is_nothing(found) for found in types)


def _is_nothing(found: Mapping[str, Any]) -> bool:
    return bool(found["type"] == _NOTHING["type"])


def _together(types: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one type of several values."""
    there = [found for found in types if not _is_nothing(found)]
    if not there:
        return _NOTHING
    kinds = {found["type"] for found in there}
    if len(kinds) > 1:
        return {"type": "any"}
    if kinds == {"array"}:
        return {"type": "array", "items": _together([found["items"] for found in there])}
    if kinds == {"object"}:
        return _merged([found["properties"] for found in there])
    if kinds == {"tensor"}:
        return _one_tensor([found["tensor-spec"] for found in there])
    return {"type": kinds.pop()}


def _merged(objects: Sequence[Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    """An object of all their properties; those that one lacks, or has as None, are optional."""
    merged = {}
    for name in dict.fromkeys(name for properties in objects for name in properties):
        parts = [properties.get(name) for properties in objects]
        there = [part for part in parts if part is not None]
        required = len(there) == len(objects) and all(part["required"] for part in there)
        merged[name] = {**_together(there), "required": required}
    return _object(merged)


def _one_tensor(specs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sizes that differ are any; arrays of several types, or of several numbers of dimensions, have no one type."""
    shapes = [spec["shape"] for spec in specs]
    if len({spec["dtype"] for spec in specs}) > 1 or len({len(shape) for shape in shapes}) > 1:
        return {"type": "any", "required": True}
    sizes = [found[0] if len(set(found)) == 1 else -1 for found in zip(*shapes, strict=True)]
    return tensor(specs[0]["dtype"], sizes)


def _parameter(name: str, value: Any) -> dict[str, Any]:
    place = f"params.{name}"
    if isinstance(value, list | tuple) and {type(item) for item in value} == {int, float}:
        value = [float(item) for item in value]
    if isinstance(value, numpy.generic | numpy.ndarray):
        found, value = _type_of(value, place), value.tolist()
    else:
        found = _type_of(value, place)
    is_list = found["type"] == "array"
    inner = found["items"] if is_list else found
    if is_list and _is_nothing(inner):
        inner = {"type": "string"}  # an empty list of, as a rule, texts
    if inner["type"] in ("any", "array", "binary", "nothing") or (is_list and inner["type"] == "object"):
        raise InvalidInput(
            f"{place}: the default of a parameter is a str, a number, true or false, a time, a list of one type "
            "of them, or a dict; leave it out, or give one",
            field=place,
        )
    shape = [-1] if is_list else None
    return {"name": name, "default": _plain(value), "shape": shape, **_sealed(inner)}


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, date):
        return value.isoformat()
    return value.item() if isinstance(value, numpy.generic) else value
