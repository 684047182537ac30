"""Signatures that savers write: what is one comes back as plain data, what is none is refused with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from warmlane.errors import InvalidSignature
from warmlane.signature import DEFAULTS, check_signature

STRING = {"type": "string", "required": True}
ALL = {
    "inputs": [
        {"type": "string", "name": "a", "required": True},
        {"type": "array", "items": {"type": "array", "items": {"type": "long"}}, "name": "b", "required": False},
        {
            "type": "object",
            "properties": {
                "x": {"type": "double", "required": True},
                "y": {"type": "array", "items": {"type": "binary"}, "required": False},
            },
            "name": "c",
            "required": True,
        },
        {"type": "map", "values": {"type": "any"}, "name": "d", "required": True},
        {"type": "any", "name": "e", "required": True},
    ],
    "outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}],
    "params": [
        {"name": "p", "default": 1, "shape": None, "type": "long"},
        {"name": "q", "default": ["a"], "shape": [-1], "type": "string"},
        {"name": "r", "default": None, "shape": None, "type": "double"},
        {
            "name": "s",
            "default": {"a": 1},
            "shape": None,
            "type": "object",
            "properties": {"a": {"type": "long", "required": True}},
        },
    ],
}


class MlflowSignature:
    """As MLflow's `ModelSignature` shows itself: a dict of JSON."""

    def to_dict(self) -> dict[str, Any]:
        return {part: json.dumps(columns) for part, columns in ALL.items()}


@pytest.mark.parametrize("given", [ALL, MlflowSignature()], ids=["dict", "ModelSignature"])
def test_a_signature_comes_back_as_plain_data(given: Any) -> None:
    """All types, nested ones and parameters, as a dict or as MLflow's object."""
    assert check_signature(given) == ALL


@pytest.mark.parametrize("task", DEFAULTS)
def test_the_defaults_are_signatures(task: str) -> None:
    """What a task brings itself passes the check of what a saver gives."""
    assert check_signature(DEFAULTS[task]) == DEFAULTS[task]


def test_what_is_left_out_is_filled_in() -> None:
    """A column is required unless it says otherwise; missing parts are None; a number as a name becomes text."""
    assert check_signature({"inputs": [{"type": "long", "name": 0}]}) == {
        "inputs": [{"type": "long", "name": "0", "required": True}],
        "outputs": None,
        "params": None,
    }


def test_what_was_given_is_not_kept() -> None:
    """Editing the dict afterwards does not change the signature."""
    given: dict[str, Any] = {"inputs": [dict(STRING)], "params": [{"name": "p", "default": 1, "type": "long"}]}
    checked = check_signature(given)
    given["inputs"][0]["type"] = "binary"
    assert checked["inputs"] == [STRING]


def nested(depth: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "string"}


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (5, "signature"),
        (False, "signature"),
        ("{}", "signature"),
        ({"input": []}, "signature"),
        ({"inputs": 5}, "signature.inputs"),
        ({"inputs": "["}, "signature.inputs"),
        ({"inputs": "[" * 100_000}, "signature.inputs"),
        ({"inputs": [5]}, "signature.inputs[0]"),
        ({"inputs": [{"name": "a"}]}, "signature.inputs[0].type"),
        ({"inputs": [{"type": "text"}]}, "signature.inputs[0].type"),
        ({"inputs": [{"type": ["string"]}]}, "signature.inputs[0].type"),
        ({"inputs": [{"type": "string", "colour": 1}]}, "signature.inputs[0]"),
        ({"inputs": [{"type": "string", "name": 1.5}]}, "signature.inputs[0].name"),
        ({"inputs": [{"type": "string", "required": "yes"}]}, "signature.inputs[0].required"),
        ({"inputs": [STRING, STRING]}, "signature.inputs"),
        ({"inputs": [{**STRING, "name": "a"}, {**STRING, "name": "a"}]}, "signature.inputs"),
        ({"inputs": [{**STRING, "name": "a"}, {**ALL["outputs"][0], "name": "b"}]}, "signature.inputs"),
        ({"inputs": [{"type": "array"}]}, "signature.inputs[0]"),
        ({"inputs": [nested(40)]}, "signature.inputs[0]" + ".items" * 16),
        ({"inputs": [{"type": "object", "properties": []}]}, "signature.inputs[0].properties"),
        ({"inputs": [{"type": "object", "properties": {"a": 5}}]}, "signature.inputs[0].properties.a"),
        ({"outputs": [{"type": "tensor", "tensor-spec": {"dtype": "int8"}}]}, "signature.outputs[0].tensor-spec"),
        (
            {"outputs": [{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": [-2]}}]},
            "signature.outputs[0].tensor-spec.shape",
        ),
        ({"params": [{"type": "long"}]}, "signature.params[0]"),
        ({"params": [{"name": "p", "default": 1, "type": "binary"}]}, "signature.params[0].type"),
        ({"params": [{"name": "p", "default": 1, "type": "long", "shape": [3]}]}, "signature.params[0].shape"),
        ({"params": [{"name": "p", "default": "x", "type": "long"}]}, "signature.params[0].default"),
        ({"params": [{"name": "p", "default": 1, "type": "long", "shape": [-1]}]}, "signature.params[0].default"),
        ({"params": [{"name": "p", "default": {}, "type": "object"}]}, "signature.params[0].properties"),
    ],
)
def test_what_is_no_signature_is_refused_with_its_place(given: Any, place: str) -> None:
    """An InvalidSignature whose field is the part that is wrong."""
    with pytest.raises(InvalidSignature) as caught:
        check_signature(given)
    assert caught.value.details["field"] == place
    assert str(caught.value).startswith(place)
