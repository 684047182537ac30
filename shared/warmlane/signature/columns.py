"""How a signature is written down: columns and the types in them, keys and their order as MLflow writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: `{"inputs": [column, …] | None, "outputs": …, "params": [parameter, …] | None}`.
Signature = Mapping[str, Any]


def column(kind: str, name: str | None = None, *, required: bool = True, **inner: Any) -> dict[str, Any]:
    """A column of a type; without a name it is the only one. Also the type of an object's property."""
    return {"type": kind, **inner, **({} if name is None else {"name": name}), "required": required}


def array(items: Mapping[str, Any], name: str | None = None, *, required: bool = True) -> dict[str, Any]:
    return column("array", name, required=required, items=bare(items))


def obj(properties: Mapping[str, Any], name: str | None = None, *, required: bool = True) -> dict[str, Any]:
    return column("object", name, required=required, properties=dict(sorted(properties.items())))


def mapping(values: Mapping[str, Any], name: str | None = None, *, required: bool = True) -> dict[str, Any]:
    return column("map", name, required=required, values=bare(values))


def tensor(dtype: str, shape: Sequence[int], name: str | None = None) -> dict[str, Any]:
    """-1 in a shape is any size; tensors are never optional."""
    named = {} if name is None else {"name": name}
    return {**named, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def bare(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A type as the items of another: neither named nor optional."""
    return {key: value for key, value in spec.items() if key not in ("name", "required")}


def signature(
    inputs: Sequence[Any] | None, outputs: Sequence[Any] | None, params: Sequence[Any] | None = None
) -> dict[str, Any]:
    return {
        part: None if columns is None else list(columns)
        for part, columns in (("inputs", inputs), ("outputs", outputs), ("params", params))
    }
