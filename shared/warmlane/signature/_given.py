"""A signature that somebody wrote: whether it is one, before a model is saved with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import InvalidSignature, SchemaError
from warmlane.signature._values import SCALARS, check_value
from warmlane.signature.columns import Signature

_PARTS = ("inputs", "outputs", "params")
#: Types with another inside -> its key; what that key holds is checked in `_check_type`.
_INNER = {"array": "items", "object": "properties", "map": "values", "tensor": "tensor-spec"}
_TYPES = (*SCALARS, *_INNER, "any")
#: Levels of types inside types; more could not travel.
_MAX_DEPTH = 16


def check_signature(value: Any) -> Signature:
    """A given signature as plain data.

    Args:
        value: `{"inputs", "outputs", "params"}`, each a list, its JSON, or None; or an object with a `to_dict` of that
            kind, as MLflow's `ModelSignature` is.

    Raises:
        InvalidSignature: names the place.
    """
    given = value.to_dict() if hasattr(value, "to_dict") else value
    if not isinstance(given, Mapping):
        raise _wrong("signature", "a dict of inputs, outputs and params, or MLflow's ModelSignature")
    unknown = [key for key in given if key not in _PARTS]
    if unknown:
        raise _wrong("signature", f"no key {str(unknown[0])[:40]!r}; it has {', '.join(_PARTS)}")
    inputs, outputs, params = (_listed(given.get(part), f"signature.{part}") for part in _PARTS)
    return {
        "inputs": inputs and _columns(inputs, "signature.inputs"),
        "outputs": outputs and _columns(outputs, "signature.outputs"),
        "params": params and [_parameter(spec, f"signature.params[{at}]") for at, spec in enumerate(params)],
    }


def _wrong(place: str, says: str) -> InvalidSignature:
    return InvalidSignature(f"{place}: {says}", field=place)


def _listed(value: Any, place: str) -> list[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _wrong(place, "a str that is not JSON") from None
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, bytes | str):
        raise _wrong(place, f"a list, or None; got {type(value).__name__}")
    return list(value)


def _columns(specs: Sequence[Any], place: str) -> list[dict[str, Any]]:
    columns = [_column(spec, f"{place}[{at}]") for at, spec in enumerate(specs)]
    names = [column.get("name") for column in columns]
    if len(columns) > 1 and (None in names or len(set(names)) < len(names)):
        raise _wrong(place, "several columns need a name each, and no name twice")
    if len({column["type"] == "tensor" for column in columns}) > 1:
        raise _wrong(place, "either columns or tensors, not both")
    return columns


def _column(spec: Any, place: str) -> dict[str, Any]:
    checked = _check_type(spec, place)
    name = spec.get("name")
    if name is not None:
        if isinstance(name, bool) or not isinstance(name, str | int):  # an unnamed DataFrame's columns are numbers
            raise _wrong(f"{place}.name", "a str")
        checked["name"] = str(name)
    return checked if checked["type"] == "tensor" else {**checked, "required": _required(spec, place)}


def _required(spec: Mapping[str, Any], place: str) -> bool:
    required = spec.get("required", True)
    if not isinstance(required, bool):
        raise _wrong(f"{place}.required", "true or false")
    return required


def _check_type(spec: Any, place: str, depth: int = 0) -> dict[str, Any]:
    """A type, with those inside it, as plain data."""
    if not isinstance(spec, Mapping):
        raise _wrong(place, f"a dict with a type; got {type(spec).__name__}")
    kind = spec.get("type")
    if kind not in _TYPES:
        raise _wrong(f"{place}.type", f"one of {', '.join(_TYPES)}")
    key = _INNER.get(kind)
    unknown = [name for name in spec if name not in ("type", "name", "required", key)]
    if unknown:
        raise _wrong(place, f"a {kind} has no key {str(unknown[0])[:40]!r}")
    if key is None:
        return {"type": kind}
    if key not in spec or depth == _MAX_DEPTH:
        raise _wrong(place, f"{kind} needs the key {key!r}" if key not in spec else "types nested too deeply")
    inner, where = spec[key], f"{place}.{key}"
    if kind == "tensor":
        return {"type": kind, key: _tensor(inner, where)}
    if kind == "object":
        return {"type": kind, key: _properties(inner, where, depth)}
    return {"type": kind, key: _check_type(inner, where, depth + 1)}


def _properties(value: Any, place: str, depth: int) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
        raise _wrong(place, "a dict of names and their types")
    found = {}
    for name, spec in value.items():
        where = f"{place}.{name}"
        found[name] = {**_check_type(spec, where, depth + 1), "required": _required(spec, where)}
    return found


def _tensor(spec: Any, place: str) -> dict[str, Any]:
    dtype, shape = (spec.get("dtype"), spec.get("shape")) if isinstance(spec, Mapping) else (None, None)
    if not isinstance(dtype, str) or not isinstance(shape, list | tuple):
        raise _wrong(place, "a dict of a dtype, by numpy's names, and a shape")
    if any(type(size) is not int or size < -1 for size in shape):
        raise _wrong(f"{place}.shape", "whole numbers, -1 for any size")
    return {"dtype": dtype, "shape": list(shape)}


def _parameter(spec: Any, place: str) -> dict[str, Any]:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str) or "default" not in spec:
        raise _wrong(place, "a dict of name, default, shape and type")
    kind, shape, default = spec.get("type"), spec.get("shape"), spec["default"]
    if kind not in (*SCALARS, "object") or kind == "binary":
        raise _wrong(f"{place}.type", f"one of {', '.join(name for name in SCALARS if name != 'binary')}, object")
    if shape is not None and list(shape if isinstance(shape, list | tuple) else ()) != [-1]:
        raise _wrong(f"{place}.shape", "null, or [-1] for a list")
    checked: dict[str, Any] = {"name": spec["name"], "default": default, "shape": shape and [-1], "type": kind}
    if kind == "object":
        checked["properties"] = _properties(spec.get("properties"), f"{place}.properties", 0)
    if default is not None:
        try:
            check_parameter(checked, default, f"{place}.default")
        except SchemaError as exc:
            raise InvalidSignature(exc.message, **exc.details) from None
    return checked


def check_parameter(spec: Mapping[str, Any], value: Any, place: str) -> None:
    """Refuse a parameter's value that is not of its type.

    Raises:
        SchemaError: names the place.
    """
    check_value({"type": "array", "items": spec} if spec.get("shape") else spec, value, place)
