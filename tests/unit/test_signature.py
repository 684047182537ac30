"""Signatures: inputs and parameters that a model cannot take are refused, and told where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas
import pytest

from warmlane.errors import InvalidParams, SchemaError
from warmlane.results import NDArray, Table
from warmlane.signature import Signature, check_inputs, check_params, default_signature, rows_of
from warmlane.testing import FakeLane

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


SOUND = np.zeros(4, np.float32)
PIXELS = np.zeros((2, 2, 3), np.uint8)
PAIR = {"text": "a", "text_pair": "b"}
ASKED = {"question": "who ?", "context": "she did"}
TABLE = {"query": "how many ?", "table": '{"n": ["1"]}'}
SORTED = {"sequences": "a text", "candidate_labels": ["good", "bad"]}
TEXTS: list[Any] = ["a text", ["a text", ""]]
#: Task -> inputs that the guide's table has for it.
GUIDE: dict[str, list[Any]] = {
    "conversational": TEXTS,
    "summarization": TEXTS,
    "text-classification": [*TEXTS, PAIR, [PAIR, "plain"], Table({"text": ["a"], "text_pair": ["b"]})],
    "text-generation": TEXTS,
    "text2text-generation": TEXTS,
    "token-classification": TEXTS,
    "translation_en_to_fr": TEXTS,
    "translation": TEXTS,
    "fill-mask": TEXTS,
    "feature-extraction": TEXTS,
    "image-classification": ["a/path.png", ["a/path.png", b"PNG", PIXELS], Table({"p": [b"PNG"]}), {"p": PIXELS}],
    "question-answering": [ASKED, [ASKED, ASKED], Table({"question": ["q"], "context": ["c"]})],
    "table-question-answering": [
        TABLE,
        [TABLE, {**TABLE, "query": ["a", "b"]}],
        {"query": "q", "table": {"n": ["1"]}},
        {"query": "q", "table": Table({"n": ["1"]})},
    ],
    "zero-shot-classification": [
        SORTED,
        [SORTED, {**SORTED, "candidate_labels": "good, bad"}],
        {**SORTED, "sequences": ["a", "b"], "hypothesis_template": "is it {}?"},
    ],
    "automatic-speech-recognition": [
        *(b"RIFF", "a.wav", SOUND, [b"RIFF", SOUND, "b.wav"], Table({"sound": [b"RIFF"]})),
        *({"raw": SOUND, "sampling_rate": 8000}, {"array": [0.5], "sampling_rate": 8000}),
    ],
    "audio-classification": [b"RIFF", "a.wav", SOUND, NDArray("float32", (1,), bytes(4))],
}


@pytest.mark.parametrize("task", GUIDE)
def test_a_default_signature_takes_what_the_guides_table_has(task: str) -> None:
    """The signature that a task gets by default refuses none of the inputs that the guide has for it."""
    signature = default_signature(task)
    assert signature is not None
    for inputs in GUIDE[task]:
        check_inputs(signature, task, inputs)


@pytest.mark.parametrize(
    ("task", "bad"),
    [
        ("automatic-speech-recognition", 5),
        ("audio-classification", {"raw": "a.wav", "sampling_rate": 8000}),
        ("audio-classification", {"a": b"RIFF", "b": b"RIFF"}),
        ("audio-classification", {"a": {"a": b"RIFF"}}),
        ("image-classification", 5),
        ("image-classification", {"a": 5}),
        ("zero-shot-classification", {"sequences": "a"}),
        ("zero-shot-classification", {"sequences": "a", "candidate_labels": ["good", 5]}),
        ("zero-shot-classification", {**SORTED, "hypothesis_template": 5}),
        ("table-question-answering", {"query": "q", "table": 5}),
        ("table-question-answering", {"query": {"a": 1}, "table": "{}"}),
        ("question-answering", {"question": "q"}),
        ("question-answering", {"question": ["q"], "context": "c"}),
        ("question-answering", "who ?"),
    ],
)
def test_a_default_signature_refuses_what_the_guides_table_has_not(task: str, bad: Any) -> None:
    """What is neither of the column's type nor in the guide's table is a SchemaError."""
    with pytest.raises(SchemaError):
        check_inputs(default_signature(task), task, bad)


def test_a_signature_that_says_otherwise_counts() -> None:
    """What the guide lets stand for bytes or text is refused where the saver's signature has another type."""
    check_inputs(of("string"), "automatic-speech-recognition", "https://host/a.wav")
    with pytest.raises(SchemaError, match="expected string, got bytes"):
        check_inputs(of("string"), "automatic-speech-recognition", b"RIFF")


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "a"], [b"a", 1, None, ["a"], {}]),
        ("binary", [b"", b"a"], ["a", 1, None]),
        ("boolean", [True, False], [1, 0, "true", None]),
        ("boolean", [np.bool_(True)], [np.int64(1)]),
        ("long", [0, -(2**63), np.int64(1)], [1.0, True, "1", None, 2**63, np.bool_(True)]),
        ("integer", [0, 7, np.int32(-5)], [1.5, False, "1", 2**31]),
        ("float", [1.5, 1, float("nan"), np.float32(1), np.uint8(1)], [True, "1", None]),
        ("double", [1.5, -1], [False, b"1"]),
        ("tensor", [[1.0], NDArray("int8", (1,), b"a"), np.zeros(2)], ["a", 1.5, {}, None]),
        (
            "datetime",
            [datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T03:04:05Z", np.datetime64(0, "s")],
            ["soon", 5, None],
        ),
        ("any", ["anything", 5, None, {}], []),
        ("of a later release", ["anything", 5, None], []),
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
    """Each required column is a key, optional ones may be missing or None, further keys are let through."""
    check_inputs(NAMED, "fill-mask", [{"question": "q", "weight": 1}, {"question": "q", "weight": 1, "top": None}])
    check_inputs(NAMED, "fill-mask", [{"question": "q", "weight": 1.5, "top": 3, "more": object()}])
    for row, says in (
        ({"question": "q"}, "the key 'weight' is missing"),
        ({"weight": 1}, "the key 'question' is missing"),
        ({"question": None, "weight": 1}, "expected string, got NoneType"),
        ({"question": "q", "weight": 1, "top": "many"}, "expected long, got str"),
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


def columns(*columns: Any) -> Signature:
    return {"inputs": list(columns), "outputs": None, "params": None}


def test_an_array_is_checked_item_by_item() -> None:
    """A column of an array takes lists and arrays, at any depth; a wrong item is told by its place."""
    deep = columns({"type": "array", "items": {"type": "array", "items": {"type": "long"}}, "name": "x"})
    for good in ([[1, 2], []], np.zeros((2, 3), np.int64), NDArray("int64", (1, 1), bytes(8)), ((1,), (2,))):
        check_inputs(deep, "fill-mask", {"x": good})
    with pytest.raises(SchemaError) as caught:
        check_inputs(deep, "fill-mask", [{"x": [[1], [2, SECRET]]}])
    assert str(caught.value) == "inputs[0].x[1][1]: expected long, got str"
    with pytest.raises(SchemaError, match=r"inputs\.x: expected an array, got str"):
        check_inputs(deep, "fill-mask", {"x": SECRET})


def test_an_object_is_checked_key_by_key() -> None:
    """An object's required keys are there, optional ones may be missing or None, others are let through."""
    message = {
        "type": "object",
        "properties": {"role": {"type": "string", "required": True}, "name": {"type": "string", "required": False}},
    }
    chat = columns({"type": "array", "items": message, "name": "messages"})
    check_inputs(chat, "text-generation", {"messages": [{"role": "user"}, {"role": "a", "name": None, "more": 1}]})
    for bad, says in (
        ({"name": SECRET}, r"inputs\.messages\[0\]: the key 'role' is missing"),
        ({"role": "a", "name": 5}, r"inputs\.messages\[0\]\.name: expected string, got int"),
        (SECRET, r"inputs\.messages\[0\]: expected a dict, got str"),
    ):
        with pytest.raises(SchemaError, match=says):
            check_inputs(chat, "text-generation", {"messages": [bad]})


def test_a_map_has_any_keys_and_values_of_one_type() -> None:
    """A map's keys are str and never quoted; its values are of one type."""
    counts = columns({"type": "map", "values": {"type": "long"}, "name": "counts"})
    check_inputs(counts, "fill-mask", {"counts": {"a": 1, "b": 2}})
    for bad, says in (
        ({"a": 1, SECRET: "b"}, r"inputs\.counts\[1\]: expected long, got str"),
        ({5: 1}, "a dict with str keys"),
        ([1], "a dict with str keys"),
    ):
        with pytest.raises(SchemaError, match=says) as caught:
            check_inputs(counts, "fill-mask", {"counts": bad})
        assert SECRET not in str(caught.value)


def tensor(dtype: str, *shape: int) -> Signature:
    return columns({"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}})


@pytest.mark.parametrize(
    ("dtype", "shape", "good", "bad"),
    [
        ("float32", (-1, 2), [np.zeros((3, 2), np.float32), np.zeros((0, 2), np.float16), [[1, 2.5]]], []),
        ("float32", (-1, 2), [], [np.zeros(2, np.float32), np.zeros((2, 3), np.float32), [1.0, 2.0], [[1.0]], []]),
        ("float32", (-1,), [[1, 2.5], [], (1.0,)], [np.zeros(2), np.zeros(2, np.int8), ["a"], [[1.0], 2.0], [True]]),
        ("int64", (2,), [np.zeros(2, np.int8), NDArray("int64", (2,), bytes(16))], [[1.0, 2.0], np.zeros(2, np.uint8)]),
        ("uint8", (-1,), [[0, 255]], [[-1]]),
        ("bool", (-1,), [[True], np.array([False])], [[1]]),
        ("str", (-1,), [["a"], np.array(["a", "bc"])], [[b"a"], [1]]),
        ("object", (-1,), [["a", 1, None]], [["a", ["b"]]]),
    ],
)
def test_a_tensor_has_an_element_type_and_a_shape(dtype: str, shape: tuple[int, ...], good: Any, bad: Any) -> None:
    """Arrays of the type or a narrower one, or nested lists of its elements; -1 is any size, other sizes are exact."""
    for value in good:
        check_inputs(tensor(dtype, *shape), "fill-mask", [value])
    for value in bad:
        with pytest.raises(SchemaError, match=r"inputs\[0\]: expected"):
            check_inputs(tensor(dtype, *shape), "fill-mask", [value])


def test_lists_nested_without_end_are_refused_and_no_recursion_error() -> None:
    """A list a thousand levels deep is a SchemaError like any other wrong shape."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(SchemaError, match="equally long lists"):
        check_inputs(tensor("float32", -1), "fill-mask", [deep])


def test_openais_requests_are_rows_of_their_signatures() -> None:
    """Each `llm/v1` task has a signature of its own; optional fields may be missing or null."""
    user = {"role": "user", "content": "hi"}
    for task, below, good, bad in (
        ("llm/v1/chat", "text-generation", {"messages": [user], "max_tokens": 5, "stop": "x"}, {"messages": "hi"}),
        ("llm/v1/completions", "text-generation", {"prompt": "a", "temperature": None, "n": 1}, {"prompt": ["a"]}),
        ("llm/v1/embeddings", "feature-extraction", {"input": ["a", "b"]}, {"input": [5]}),
    ):
        signature = default_signature(below, task)
        check_inputs(signature, below, good)
        with pytest.raises(SchemaError):
            check_inputs(signature, below, bad)
        assert signature == default_signature(task)


def test_a_task_that_the_guide_does_not_name_has_no_signature() -> None:
    """Depth estimation has no default, and translation by any language pair has that of translation."""
    assert default_signature("depth-estimation") is None
    assert default_signature("translation_xx_to_yy") == default_signature("translation")


PARAMS: Signature = {
    "inputs": None,
    "params": [
        {"name": "top_k", "default": 1, "shape": None, "type": "long"},
        {"name": "temperature", "default": 1.0, "shape": None, "type": "double"},
        {"name": "do_sample", "default": False, "shape": None, "type": "boolean"},
        {"name": "stop", "default": None, "shape": [-1], "type": "string"},
        {
            "name": "more",
            "default": {"a": 1},
            "shape": None,
            "type": "object",
            "properties": {"a": {"type": "long", "required": True}},
        },
    ],
}


def test_parameters_of_the_signature_pass() -> None:
    """Named and of their type: a whole number is a double too, a shape of [-1] a list; None where it is the default."""
    check_params(PARAMS, {})
    check_params(PARAMS, {"top_k": 3, "temperature": 2, "do_sample": True, "stop": ["a"], "more": {"a": 5}})
    check_params(PARAMS, {"stop": None})


@pytest.mark.parametrize(
    "params",
    [
        {"top_k": 1.5},
        {"top_k": "3"},
        {"top_k": True},
        {"top_k": None},
        {"top_k": [3]},
        {"temperature": True},
        {"temperature": "1"},
        {"do_sample": 1},
        {"stop": "a"},
        {"stop": [1]},
        {"more": {"a": "b"}},
    ],
)
def test_a_parameter_of_another_type_is_refused(params: dict[str, Any]) -> None:
    """What is not of the schema's type is an InvalidParams that names the parameter."""
    with pytest.raises(InvalidParams, match=f"params.{next(iter(params))}"):
        check_params(PARAMS, params)


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    """A name that the signature has not is told, and the list of those that it has."""
    with pytest.raises(InvalidParams, match="no parameter 'top_p'; it has top_k, temperature") as caught:
        check_params(PARAMS, {"top_p": 1})
    assert caught.value.details["allowed"] == ["top_k", "temperature", "do_sample", "stop", "more"]


@pytest.mark.parametrize("signature", [None, {}, TEXT, {"inputs": [], "params": []}])
def test_without_a_list_of_parameters_the_task_decides(signature: Signature | None) -> None:
    """Where the signature lists none, nothing is refused here."""
    check_params(signature, {"anything": object()})


def test_a_client_checks_parameters_before_it_enqueues() -> None:
    """A parameter that the published signature does not name is refused in the call, and no job is made."""
    lane = FakeLane()
    lane.answer("m", lambda inputs, params: params, signature=PARAMS)
    with lane.client() as client:
        assert client.predict("m", "a", params={"top_k": 3}).result(timeout=5) == {"top_k": 3}
        with pytest.raises(InvalidParams, match="top_p"):
            client.predict("m", "a", params={"top_p": 1})
    assert len(lane.jobs) == 1


@pytest.mark.parametrize("task", ["summarization", "translation_en_to_fr", "fill-mask", "text-classification"])
def test_a_table_of_one_column_is_a_list_of_its_values(task: str) -> None:
    """Whatever the column is called, for tasks whose rows are texts, as MLflow takes it."""
    assert rows_of(default_signature(task), task, pandas.DataFrame({"q": ["a", "b"]})) == ["a", "b"]
    check_inputs(default_signature(task), task, Table({"q": ["a", "b"]}))


def test_a_table_of_texts_has_one_column() -> None:
    """Of two columns nobody could say which is meant: the error says how many there may be."""
    with pytest.raises(SchemaError, match="one column, of any name; this one has 2"):
        rows_of(None, "summarization", Table({"a": ["x"], "b": ["y"]}))


def test_a_column_that_the_signature_names_stays_a_key() -> None:
    """A request's `input`, the key of an `llm/v1` row, is not taken out of its row."""
    signature = default_signature("feature-extraction", "llm/v1/embeddings")
    assert rows_of(signature, "feature-extraction", Table({"input": ["a"]})) == [{"input": "a"}]


@pytest.mark.parametrize(
    ("task", "row", "says"),
    [
        ("image-classification", None, "a picture"),
        ("audio-classification", 3, "a sound"),
        ("conversational", {"conversation_id": "c"}, "'text' or 'messages'"),
        ("zero-shot-classification", {"sequences": ["good", 3], "candidate_labels": "a"}, "a list of str"),
        ("table-question-answering", {"query": "q", "table": [{"a": 1}]}, "a dict of columns"),
    ],
)
def test_a_refusal_names_every_form_that_is_fine(task: str, row: Any, says: str) -> None:
    """Not the type of the guide's signature alone, where more may stand for it."""
    with pytest.raises(SchemaError, match=says):
        check_inputs(default_signature(task), task, row)
