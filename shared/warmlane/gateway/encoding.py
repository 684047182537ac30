"""How values look in JSON, and what JSON they are read from. Knows values, neither jobs nor requests.

    value           JSON                                                            read back from a request
    table           {"columns": ["label", "score"], "rows": [["good", 0.9], ...]}   yes
    ndarray         {"dtype": "float32", "shape": [2, 1], "data": [[0.5], [1.5]]}   yes; null is NaN
    bytes           {"base64": "AAEC"}                                              yes
    datetime        "2026-01-31T12:00:00+00:00"                                     no, it stays a string
    NaN, infinity   null                                                            no, it stays null

An object is read back as a table, an array or bytes when it has exactly those keys; then it must also be well-formed.
A plain object with exactly those keys cannot be sent as JSON: send msgpack, which carries every value as it is.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from warmlane.errors import InvalidInput
from warmlane.results import DTYPES, NDArray, Table

#: numpy's own limit.
_MAX_DIMENSIONS = 32


def to_json(value: Any) -> Any:
    """A value that the codec can carry, as one that `json.dumps(allow_nan=False)` takes.

    Raises:
        TypeError: a value that the codec cannot carry either.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, Table):
        rows = [list(row) for row in zip(*value.columns.values(), strict=True)]
        return {"columns": list(value.columns), "rows": to_json(rows)}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, datetime):
        return value.isoformat()
    return _array_to_json(value)


def _array_to_json(value: Any) -> dict[str, Any]:
    """An `NDArray`, or a numpy array: recognised by name, so that numpy is not needed here."""
    if isinstance(value, NDArray):
        dtype = value.dtype
    elif type(value).__name__ == "ndarray":
        dtype = str(value.dtype)
    else:
        raise TypeError(f"a value of type {type(value).__name__} has no JSON form")
    data = value.tolist()
    return {"dtype": dtype, "shape": list(value.shape), "data": to_json(data) if dtype.startswith("float") else data}


def from_json(value: Any, place: str) -> Any:
    """A value out of a JSON request, tagged objects made what they stand for.

    Args:
        place: the name of the field, for errors.

    Raises:
        InvalidInput: an object with the keys of a table, an array or bytes that is none.
    """
    if isinstance(value, list):
        return [from_json(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    read = _TAGGED.get(frozenset(value))
    if read is None:
        return {key: from_json(item, place) for key, item in value.items()}
    return read(value, place)


def _read_bytes(value: dict[str, Any], place: str) -> bytes:
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (TypeError, ValueError):
        raise InvalidInput(f'{place}: {{"base64": ...}} needs a string of base64 with padding', field=place) from None


def _read_table(value: dict[str, Any], place: str) -> Table:
    columns, rows = value["columns"], value["rows"]
    well_formed = (
        isinstance(columns, list)
        and all(isinstance(name, str) for name in columns)
        and len(set(columns)) == len(columns)
        and isinstance(rows, list)
        and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    )
    if not well_formed:
        raise InvalidInput(
            f"{place}: a table needs different strings as `columns` and one list of as many values a row as `rows`",
            field=place,
        )
    return Table({name: [from_json(row[at], place) for row in rows] for at, name in enumerate(columns)})


def _read_array(value: dict[str, Any], place: str) -> NDArray:
    dtype, shape = value["dtype"], value["shape"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InvalidInput(f"{place}: dtype must be one of {', '.join(DTYPES)}", field=place, allowed=list(DTYPES))
    sizes_fit = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    if not sizes_fit or len(shape) > _MAX_DIMENSIONS:
        raise InvalidInput(f"{place}: shape must be a list of up to {_MAX_DIMENSIONS} sizes", field=place)
    try:
        numbers = [_number(item, dtype) for item in _flatten(value["data"], shape)]
        return NDArray(dtype, tuple(shape), struct.pack(f"<{len(numbers)}{DTYPES[dtype]}", *numbers))
    except (TypeError, ValueError, OverflowError, struct.error):
        raise InvalidInput(f"{place}: data must be nested lists of {dtype} that fit the shape", field=place) from None


def _flatten(data: Any, shape: list[int]) -> Iterator[Any]:
    if not shape:
        yield data
        return
    if not isinstance(data, list) or len(data) != shape[0]:
        raise ValueError("data and shape disagree")
    for item in data:
        yield from _flatten(item, shape[1:])


def _number(item: Any, dtype: str) -> bool | int | float:
    if dtype == "bool":
        fits = isinstance(item, bool)
    elif dtype.startswith("float"):
        item = math.nan if item is None else item
        fits = isinstance(item, int | float) and not isinstance(item, bool)
    else:
        fits = isinstance(item, int) and not isinstance(item, bool)
    if not fits:
        raise TypeError("an element of another type")
    number: bool | int | float = item
    return number


_TAGGED = {
    frozenset({"base64"}): _read_bytes,
    frozenset({"columns", "rows"}): _read_table,
    frozenset({"dtype", "shape", "data"}): _read_array,
}
