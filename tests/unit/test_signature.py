"""Signatures: inputs that cannot be rows of a model are refused, and told where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from warmlane.errors import SchemaError
from warmlane.results import NDArray, Table
from warmlane.signature import DEFAULTS, Signature, check_inputs

SECRET = "s3cret"
TEXT: Signature = {"inputs": [{"type": "string", "required": True}], "outputs": [], "params": None}
NAMED: Signature = {
    "inputs": [
        {"type": "string", "name": "question", "required": True},
        {"type": "long", "name": "top", "required": False},
        {"type": "double", "name": "weight"},
    ]
}


def of(kind: str) -> Signature:
    return {"inputs": [{"type": kind, "required": True}]}


@pytest.mark.parametrize("signature", [None, {}, {"inputs": None}, {"inputs": []}])
def test_a_model_without_a_signature_takes_anything(signature: Signature | None) -> None:
    """Where nothing is known of the inputs, nothing is refused."""
    for inputs in (None, [], {"a": 1}, object(), [1, "a"]):
        check_inputs(signature, "fill-mask", inputs)


@pytest.mark.parametrize("task", DEFAULTS)
def test_every_default_signature_takes_a_text_and_a_list_of_texts(task: str) -> None:
    """The signature that a task gets by default accepts one str and many."""
    check_inputs(DEFAULTS[task], task, "a text")
    check_inputs(DEFAULTS[task], task, ["a text", ""])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "a"], [b"a", 1, None, ["a"], {}]),
        ("binary", [b"", b"a"], ["a", 1, None]),
        ("boolean", [True, False], [1, 0, "true", None]),
        ("long", [0, -(2**63), np.int64(1)], [1.0, True, "1", None]),
        ("integer", [0, 7], [1.5, False, "1"]),
        ("float", [1.5, 1, float("nan"), np.float32(1), np.uint8(1)], [True, "1", None]),
        ("double", [1.5, -1], [False, b"1"]),
        ("tensor", [[1.0], NDArray("int8", (1,), b"a"), np.zeros(2)], ["a", 1.5, {}, None]),
        ("datetime", ["anything", 5, None], []),
    ],
)
def test_a_column_takes_values_of_its_type(kind: str, good: list[Any], bad: list[Any]) -> None:
    """Values of the type pass, others are a SchemaError with the place; of a type unknown here, all pass."""
    for value in good:
        check_inputs(of(kind), "fill-mask", [value])
    for value in bad:
        with pytest.raises(SchemaError, match=r"inputs\[0\]: expected") as caught:
            check_inputs(of(kind), "fill-mask", [value])
        assert caught.value.details["field"] == "inputs[0]"


def test_the_refusal_names_row_and_column_and_never_the_value() -> None:
    """The message has the index of the row, the column, the expected type and the type that came."""
    with pytest.raises(SchemaError) as caught:
        check_inputs(TEXT, "fill-mask", ["fine", SECRET.encode()])
    assert str(caught.value) == "inputs[1]: expected string, got bytes"
    assert caught.value.details == {"field": "inputs[1]", "expected": "string"}

    with pytest.raises(SchemaError) as caught:
        check_inputs(NAMED, "fill-mask", [{"question": "q", "weight": SECRET}])
    assert str(caught.value) == "inputs[0].weight: expected double, got str"

    with pytest.raises(SchemaError) as caught:
        check_inputs(TEXT, "fill-mask", {SECRET: 1})
    assert str(caught.value) == "inputs: expected string, got dict"


def test_an_empty_list_has_no_rows() -> None:
    """No rows, as a list or as a table, is a SchemaError."""
    empty: list[Any] = [[], Table({}), Table({"question": []})]
    for inputs in empty:
        with pytest.raises(SchemaError, match="no rows"):
            check_inputs(NAMED, "fill-mask", inputs)


def test_named_columns_are_keys_of_a_row() -> None:
    """Each required column is a key, optional ones may be missing, further keys are let through."""
    check_inputs(NAMED, "fill-mask", {"question": "q", "weight": 1})
    check_inputs(NAMED, "fill-mask", [{"question": "q", "weight": 1.5, "top": 3, "more": object()}])
    for row, says in (
        ({"question": "q"}, "the key 'weight' is missing"),
        ({"weight": 1}, "the key 'question' is missing"),
        ({"question": "q", "weight": 1, "top": None}, "expected long, got NoneType"),
        ("q", "expected a dict with the keys 'question', 'top', 'weight', got str"),
    ):
        with pytest.raises(SchemaError, match=says):
            check_inputs(NAMED, "fill-mask", row)


def test_a_table_gives_its_rows_to_named_columns() -> None:
    """A Table passes where its columns are the signature's; a bad cell is told by row and column."""
    check_inputs(NAMED, "fill-mask", Table({"question": ["a", "b"], "weight": [1, 2]}))
    with pytest.raises(SchemaError) as caught:
        check_inputs(NAMED, "fill-mask", Table({"question": ["a", 5], "weight": [1, 2]}))
    assert caught.value.details["field"] == "inputs[1].question"


def test_a_dataframe_is_checked_as_the_table_that_it_becomes() -> None:
    """A pandas DataFrame passes where its columns are the signature's; two columns of one name are refused."""
    import pandas

    check_inputs(NAMED, "fill-mask", pandas.DataFrame({"question": ["a", "b"], "weight": [1, 2.5]}))
    with pytest.raises(SchemaError) as caught:
        check_inputs(NAMED, "fill-mask", pandas.DataFrame({"question": ["a", 5], "weight": [1, 2]}))
    assert caught.value.details["field"] == "inputs[1].question"
    with pytest.raises(SchemaError, match="two columns of one name"):
        check_inputs(NAMED, "fill-mask", pandas.DataFrame([["a", "b"]], columns=["question", "question"]))


def test_a_text_for_classification_may_come_as_a_dict() -> None:
    """`{"text": …, "text_pair": …}` is a row of text classification, of no other task, and has no other keys."""
    check_inputs(TEXT, "text-classification", [{"text": "a"}, {"text": "a", "text_pair": "b"}, "plain"])
    for row in ({"text_pair": "b"}, {"text": 5}, {"text": "a", "label": "b"}, {}):
        with pytest.raises(SchemaError, match="the key 'text'"):
            check_inputs(TEXT, "text-classification", [row])
    with pytest.raises(SchemaError, match="expected string, got dict"):
        check_inputs(TEXT, "fill-mask", [{"text": "a"}])


def test_a_single_named_column_is_a_key_too() -> None:
    """A signature of one column with a name wants a dict, not the bare value."""
    signature = {"inputs": [{"type": "string", "name": "query", "required": True}]}
    check_inputs(signature, "fill-mask", {"query": "a"})
    with pytest.raises(SchemaError, match="expected a dict with the keys 'query'"):
        check_inputs(signature, "fill-mask", "a")
