"""One value against one type of a signature. Knows neither rows nor tasks; needs no numpy, and reads its arrays.

A type is plain data: `{"type": "long"}`, `{"type": "array", "items": …}`, `{"type": "object", "properties": {…}}`,
`{"type": "map", "values": …}`, `{"type": "any"}`, or a tensor's.
"""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from warmlane.errors import SchemaError
from warmlane.results import MAX_DIMENSIONS, NDArray

Spec = Mapping[str, Any]


def is_array(value: object) -> bool:
    """Whether it is an array; numpy's is told by its name, so that nobody imports numpy to ask."""
    return isinstance(value, NDArray) or _of_numpy(value, "ndarray")


def dtype_of(array: Any) -> str:
    """The name of an array's element type."""
    return str(array.dtype if isinstance(array, NDArray) else array.dtype.name)


def family(dtype: str) -> tuple[str, int]:
    """An element type as its kind and its bits: `("float", 32)`; 0 where its name has none."""
    kind = dtype.rstrip("0123456789")
    return kind, int(dtype[len(kind) :] or 0)


def _of_numpy(value: object, *names: str) -> bool:
    kind = type(value)
    return kind.__name__ in names and str(kind.__module__) == "numpy"


def is_bool(value: object) -> bool:
    return isinstance(value, bool) or _of_numpy(value, "bool", "bool_")


def _whole(value: object, bits: int = 64) -> bool:
    if is_bool(value) or not isinstance(value, numbers.Integral):
        return False
    end: int = 1 << (bits - 1)
    return -end <= int(value) < end


def _number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not is_bool(value)


def _time(value: object) -> bool:
    if isinstance(value, str):  # JSON has no times
        with contextlib.suppress(ValueError):
            return bool(datetime.fromisoformat(value))
        return False
    return isinstance(value, date) or _of_numpy(value, "datetime64")


#: By the abstract number types, which numpy's numbers are of as well.
SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "binary": lambda value: isinstance(value, bytes),
    "boolean": is_bool,
    "integer": lambda value: _whole(value, 32),
    "long": _whole,
    "float": _number,
    "double": _number,
    "datetime": _time,
}

#: Kind of a tensor's elements -> whether an item of nested lists is one.
_ELEMENTS: Mapping[str, Callable[[Any], bool]] = {
    "bool": is_bool,
    "int": _whole,
    "uint": lambda value: _whole(value, 65) and value >= 0,
    "float": _number,
    "str": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, bytes),
}


def check_value(spec: Spec, value: Any, place: str) -> None:
    """Refuse a value that is not of a type. Of a type that is unknown here, all values are.

    Raises:
        SchemaError: names the place and the types, never the value.
    """
    kind = str(spec.get("type"))
    if kind in _NESTED:
        _NESTED[kind](spec, value, place)
    elif kind in SCALARS and not SCALARS[kind](value):
        raise mismatch(kind, value, place)


def check_field(spec: Spec, name: str, row: Mapping[str, Any], place: str) -> None:
    """A named part of a row or object; where it is optional it may be absent or None.

    Raises:
        SchemaError: it is missing, or of another type.
    """
    place = f"{place}.{name}"
    if row.get(name) is None and not spec.get("required", True):
        return
    if name not in row:
        raise SchemaError(f"{place.rpartition('.')[0]}: the key {name!r} is missing", field=place)
    check_value(spec, row[name], place)


def mismatch(expected: str, value: object, place: str) -> SchemaError:
    return SchemaError(
        f"{place}: expected {expected}, got {type(value).__name__}", field=place, expected=expected.split()[-1]
    )


def _array(spec: Spec, value: Any, place: str) -> None:
    items = value.tolist() if is_array(value) else value
    if not isinstance(items, list | tuple):
        raise mismatch("an array", value, place)
    for index, item in enumerate(items):
        check_value(spec.get("items", {}), item, f"{place}[{index}]")


def _object(spec: Spec, value: Any, place: str) -> None:
    if not isinstance(value, Mapping):
        raise mismatch("a dict", value, place)
    for name, part in spec.get("properties", {}).items():
        check_field(part, name, value, place)


def _map(spec: Spec, value: Any, place: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise mismatch("a dict with str keys", value, place)
    for index, item in enumerate(value.values()):
        check_value(spec.get("values", {}), item, f"{place}[{index}]")  # by number: the keys are the caller's data


def _any(spec: Spec, value: Any, place: str) -> None:
    pass


def _tensor(spec: Spec, value: Any, place: str) -> None:
    inner = spec.get("tensor-spec") or {}
    shape, wanted = _shape_of(value, inner.get("dtype"), place), inner.get("shape")
    if wanted is not None and not _same_shape(shape, wanted):
        raise SchemaError(
            f"{place}: expected an array of the shape {list(wanted)} (-1 is any size), got {list(shape)}",
            field=place,
            expected=list(wanted),
        )


def _shape_of(value: Any, dtype: str | None, place: str) -> tuple[int, ...]:
    """The shape of an array, or of the nested lists of one, with elements of a type."""
    if is_array(value):
        if dtype is not None and not _fits(dtype_of(value), dtype):
            raise SchemaError(
                f"{place}: expected an array of {dtype}, got one of {dtype_of(value)}", field=place, expected=dtype
            )
        return tuple(value.shape)
    if not isinstance(value, list | tuple):
        raise mismatch("an array", value, place)
    shape = _shape(value, _ELEMENTS.get(family(dtype or "")[0], lambda item: True), MAX_DIMENSIONS)
    if shape is None:
        raise SchemaError(f"{place}: expected equally long lists of {dtype}", field=place, expected=dtype)
    return shape


def _fits(dtype: str, wanted: str) -> bool:
    """Whether an array's elements are of the wanted type, or of a narrower one of its kind."""
    (kind, bits), (wanted_kind, wanted_bits) = family(dtype), family(wanted)
    return kind == wanted_kind and (not wanted_bits or bits <= wanted_bits)


def _shape(value: Any, is_element: Callable[[Any], bool], depth: int) -> tuple[int, ...] | None:
    """The shape of nested lists; None where they are ragged, too deep, or hold something else."""
    if not isinstance(value, list | tuple):
        return () if is_element(value) else None
    parts = {_shape(item, is_element, depth - 1) if depth else None for item in value}
    if None in parts or len(parts) > 1:
        return None
    return (len(value), *(parts.pop() or () if parts else ()))


def _same_shape(shape: tuple[int, ...], wanted: list[int]) -> bool:
    return len(shape) == len(wanted) and all(size in (-1, found) for found, size in zip(shape, wanted, strict=True))


_NESTED: Mapping[str, Callable[[Spec, Any, str], None]] = {
    "array": _array,
    "object": _object,
    "map": _map,
    "any": _any,
    "tensor": _tensor,
}
