"""Signatures from data, as MLflow's `infer_signature` has them, and from one prediction on an input example."""

from __future__ import annotations

import copy
import json
import logging
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, TapasConfig, TapasForQuestionAnswering

from tests import tiny
from tests.fleet import SHARED
from warmlane.errors import ConfigurationError, InvalidInput, SaveRefused, SchemaError, UnsupportedTask
from warmlane.results import NDArray, Table
from warmlane.signature import check_inputs, check_params, check_signature, default_signature
from warmlane_workers.flavor.load import load_model
from warmlane_workers.flavor.prediction import generate_signature_output
from warmlane_workers.flavor.signatures import TIMEOUT_VARIABLE, infer_signature, of_example

SECRET = "s3cret"
GOLDEN = SHARED / "golden"


def named(kind: str, name: str, required: bool = True, **inner: Any) -> dict[str, Any]:
    return {"type": kind, **inner, "name": name, "required": required}


def plain(kind: str, required: bool = True, **inner: Any) -> list[dict[str, Any]]:
    return [{"type": kind, **inner, "required": required}]


def tensor(dtype: str, *shape: int, **name: str) -> dict[str, Any]:
    return {**name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


STRING = {"type": "string"}
MESSAGE = {
    "type": "object",
    "properties": {
        "content": {"type": "string", "required": False},
        "role": {"type": "string", "required": True},
    },
}

#: Data -> their columns, as MLflow 3.17 has them.
MLFLOWS: list[tuple[Any, Any]] = [
    ("a", plain("string")),
    (["a", "b"], plain("string")),
    ([], plain("string")),
    (1, plain("long")),
    (True, plain("boolean")),
    (1.5, plain("double")),
    ([1, 1.5], plain("any")),
    (b"a", plain("binary")),
    (datetime(2024, 1, 2), plain("datetime")),
    (np.float32(1), plain("float")),
    ([np.int32(1)], plain("integer")),
    ([["a"], ["b", "c"]], plain("array", items=STRING)),
    ({"b": "x", "a": 1}, [named("string", "b"), named("long", "a")]),
    ({"a": ["x"]}, [named("array", "a", items=STRING)]),
    ([{"a": "x"}, {"a": "y", "b": 1}], [named("string", "a"), named("long", "b", False)]),
    ([{"a": "x"}, {"a": None}], [named("string", "a", False)]),
    ({"a": None}, [named("any", "a", False)]),
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "user"}]},
        [named("array", "messages", items=MESSAGE)],
    ),
    (np.zeros((2, 3), np.float32), [tensor("float32", -1, 3)]),
    (np.array(["a", "bc"]), [tensor("str", -1)]),
    ({"x": np.zeros((2, 3))}, [tensor("float64", -1, 3, name="x")]),
]
#: What MLflow has no type for, or one that the data do not fit.
OURS: list[tuple[Any, Any]] = [
    (NDArray("int8", (2, 1), bytes(2)), [tensor("int8", -1, 1)]),
    ([np.zeros((2, 3)), np.zeros((4, 3))], [tensor("float64", -1, 3)]),
    ([np.zeros((2, 3)), np.zeros((2, 4))], [tensor("float64", -1, -1)]),
    ({"a": 1, "x": np.zeros(2)}, [named("long", "a"), named("array", "x", items={"type": "double"})]),
    ({"a": [1, None]}, [named("array", "a", items={"type": "any"})]),
    (["a", None], plain("string", False)),
]


@pytest.mark.parametrize(("data", "expected"), [*MLFLOWS, *OURS], ids=lambda value: repr(value)[:30])
def test_data_have_columns(data: Any, expected: Any) -> None:
    """The inferred columns are those expected, a signature that may be given, and one that the data themselves fit."""
    signature = infer_signature(data)
    assert signature == {"inputs": expected, "outputs": None, "params": None}
    assert check_signature(signature) == signature
    if not isinstance(data, list) or data:
        check_inputs(signature, "", data)


def test_a_frame_and_a_table_have_columns() -> None:
    """A DataFrame's columns go by their element types, those of objects and a Table's by their values."""
    frame = pandas.DataFrame(
        {
            "long": [1],
            "integer": np.array([1], np.int32),
            "double": [1.5],
            "float": np.array([1], np.float32),
            "string": ["a"],
            "boolean": [True],
            "datetime": [datetime(2024, 1, 2)],
            "binary": [b"a"],
        }
    )
    assert infer_signature(frame)["inputs"] == [named(name, name) for name in frame.columns]
    assert infer_signature(pandas.DataFrame({"a": ["x", None]}))["inputs"] == [named("string", "a", False)]
    assert infer_signature(pandas.DataFrame([["a", 1]]))["inputs"] == [named("string", "0"), named("long", "1")]
    table = Table({"label": ["a", "b"], "score": [0.5, 0.25], "more": [["x"], []]})
    assert infer_signature(table)["inputs"] == [
        named("string", "label"),
        named("double", "score"),
        named("array", "more", items=STRING),
    ]


def test_parameters_have_types_and_their_values_as_defaults() -> None:
    """Scalars, lists, dicts and times, as Python's or numpy's, each as JSON can tell it; the values pass the check."""
    params = {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "s",
        "e": [1, 1.5],
        "f": [],
        "g": np.int32(2),
        "h": datetime(2024, 1, 2),
    }
    schema = infer_signature("a", params={**params, "i": {"x": [1]}})["params"]
    assert [(spec["type"], spec["shape"], spec["default"]) for spec in schema] == [
        ("long", None, 1),
        ("double", None, 1.5),
        ("boolean", None, True),
        ("string", None, "s"),
        ("double", [-1], [1.0, 1.5]),
        ("string", [-1], []),
        ("integer", None, 2),
        ("datetime", None, "2024-01-02T00:00:00"),
        ("object", None, {"x": [1]}),
    ]
    assert schema[-1]["properties"] == {"x": {"type": "array", "items": {"type": "long"}, "required": True}}
    check_params({"params": json.loads(json.dumps(schema))}, params)


@pytest.mark.parametrize("bad", [None, b"a", [b"a"], [[1]], [1, "a"], [None], object()])
def test_a_parameter_that_json_cannot_type_is_refused(bad: Any) -> None:
    """None, bytes, lists of lists or of several types are an InvalidInput that names the parameter."""
    with pytest.raises(InvalidInput, match=r"params\.odd"):
        infer_signature("a", params={"odd": bad})


@pytest.mark.parametrize("bad", [object(), {}, {"a": {}}, [{"a": [object()]}], {1, 2}])
def test_data_without_a_type_are_refused(bad: Any) -> None:
    """What no signature has a type for is an InvalidInput that names the place."""
    with pytest.raises(InvalidInput, match=r"model_input.*has no type"):
        infer_signature(bad)


class Pipelines:
    """Tiny pipelines by their names, each made once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Any:
        if name in tiny.TASKS or name == "llama":
            task = "text-generation" if name == "llama" else name
            return _pipeline(task, model=str(tiny.save(name, self._root / name)))
        if name == "zero-shot-classification":
            return _zero_shot()
        if name == "table-question-answering":
            return _table_answers(self._root)
        return load_model(GOLDEN / name)


def _pipeline(task: str, **parts: Any) -> Any:
    return transformers.pipeline(task, device="cpu", **parts)  # type: ignore[call-overload]


def _zero_shot() -> Any:
    tokenizer = tiny.word_tokenizer()
    labels = {0: "contradiction", 1: "entailment"}
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), id2label=labels, label2id={v: k for k, v in labels.items()}, **small)
    return _pipeline("zero-shot-classification", model=BertForSequenceClassification(config), tokenizer=tokenizer)


def _table_answers(root: Path) -> Any:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", "how", "many", "n", "1", "2"]
    (root / "vocab.txt").write_text("\n".join(words))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = TapasForQuestionAnswering(TapasConfig(vocab_size=len(words), **small))
    tokenizer = transformers.TapasTokenizer(vocab_file=str(root / "vocab.txt"))
    return _pipeline("table-question-answering", model=model, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    return Pipelines(tmp_path_factory.mktemp("pipelines"))


SORTED = {"sequences": "a text", "candidate_labels": ["good", "bad"], "hypothesis_template": "it is {}."}
COUNTED = {"query": "how many ?", "table": {"n": ["1", "2"]}}
SHORT: dict[str, Any] = {"max_new_tokens": 2, "do_sample": False}


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("text-classification", "a text"),
        ("text-classification", ["a text", "another"]),
        ("text-generation", "a text"),
        ("fill-mask", "a [MASK] text"),
        ("token-classification", "a text"),
        ("summarization", ["a text"]),
        ("translation_en_to_fr", "a text"),
        ("question-answering", {"question": "what ?", "context": "a text"}),
        ("zero-shot-classification", SORTED),
        ("table-question-answering", COUNTED),
        ("table-question-answering", [COUNTED, {**COUNTED, "table": json.dumps(COUNTED["table"])}]),
    ],
)
def test_a_plain_example_gives_the_default(pipelines: Pipelines, name: str, example: Any) -> None:
    """One prediction on a plain example comes to the task's default signature."""
    config = SHORT if name in ("text-generation", "summarization", "translation_en_to_fr") else None
    assert of_example(pipelines[name], example, model_config=config) == default_signature(pipelines[name].task)


def test_an_example_of_samples_gives_a_tensor(pipelines: Pipelines) -> None:
    """Samples as an array: the input is a tensor, the output that of the default."""
    signature = of_example(pipelines["asr-ctc"], np.zeros(1600, np.float32))
    assert signature is not None
    assert signature["inputs"] == [tensor("float32", -1)]
    assert signature["outputs"] == plain("string")
    check_inputs(signature, "automatic-speech-recognition", np.zeros(800, np.float32))


def test_features_of_an_example_are_a_tensor(pipelines: Pipelines) -> None:
    """Feature extraction: (any number of tokens, hidden), for one text and for a list of texts of several lengths."""
    for example in ("a text", ["a text", "a longer text of words"]):
        signature = of_example(pipelines["feature-extraction"], example)
        assert signature is not None
        assert signature["outputs"] == [tensor("float64", -1, 32)]


def test_pairs_of_texts_are_named_columns(pipelines: Pipelines) -> None:
    """An example of text and text_pair has both as columns, the pair optional where a row lacks it."""
    signature = of_example(pipelines["text-classification"], [{"text": "a", "text_pair": "b"}, {"text": "c"}])
    assert signature is not None
    assert signature["inputs"] == [named("string", "text"), named("string", "text_pair", False)]


def test_params_of_an_example_are_the_schema_and_reach_the_pipeline(pipelines: Pipelines) -> None:
    """`(input, params)`: the params are in the schema with their defaults, and shape the output."""
    signature = of_example(pipelines["text-classification"], "a text", {"top_k": 2})
    assert signature is not None
    assert signature["params"] == [{"name": "top_k", "default": 2, "shape": None, "type": "long"}]
    assert signature["outputs"] == [
        named("array", "label", items=STRING),
        named("array", "score", items={"type": "double"}),
    ]


def test_params_win_over_the_model_config(pipelines: Pipelines) -> None:
    """An output is shaped by the configuration, and by params before it; keys that only trim texts are let out."""
    config = {"top_k": 2, "include_prompt": False, "collapse_whitespace": True}
    classify = pipelines["text-classification"]
    assert len(generate_signature_output(classify, "a", config)["label"][0]) == 2
    assert len(generate_signature_output(classify, "a", config, {"top_k": 3})["label"][0]) == 3


def test_a_prediction_leaves_the_pipeline_and_the_data_as_they_were(pipelines: Pipelines) -> None:
    """Attributes of the pipeline, its parameters and the caller's rows are the same afterwards."""
    for name, example in (("zero-shot-classification", SORTED), ("table-question-answering", COUNTED)):
        before, rows = dict(vars(pipelines[name])), copy.deepcopy(example)
        of_example(pipelines[name], example)
        assert vars(pipelines[name]) == before
        assert example == rows


@pytest.mark.parametrize(
    ("name", "example", "params", "cause"),
    [
        ("text-classification", SECRET, {"function_to_apply": "odd"}, "KeyError"),
        ("fill-mask", SECRET, None, "PipelineException"),
        ("zero-shot-classification", {"sequences": SECRET, "hypothesis_template": "{}"}, None, "KeyError"),
        ("question-answering", SECRET, None, "ValueError"),
    ],
)
def test_an_example_that_cannot_be_answered_is_refused(
    pipelines: Pipelines, name: str, example: Any, params: Any, cause: str
) -> None:
    """A SaveRefused that names the example and the cause's type, and quotes nothing of it."""
    with pytest.raises(SaveRefused, match="input_example") as caught:
        of_example(pipelines[name], example, params)
    assert caught.value.details == {"field": "input_example", "cause": cause}
    assert SECRET not in str(caught.value)


def test_an_example_without_rows_is_refused(pipelines: Pipelines) -> None:
    """An empty list is a SchemaError: there is nothing to predict."""
    with pytest.raises(SchemaError, match="no rows"):
        of_example(pipelines["text-classification"], [])


def examples_running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "warmlane-example"]


def test_a_late_prediction_gives_the_default_and_ends(pipelines: Pipelines, caplog: pytest.LogCaptureFixture) -> None:
    """A prediction past its time is the default signature and a warning; its thread ends by itself, far from its last
    token, and the pipeline answers as before."""
    endless = {"max_new_tokens": 10**9, "do_sample": False, "eos_token_id": None}
    with caplog.at_level(logging.WARNING):
        signature = of_example(pipelines["llama"], SECRET, {"top_k": 5}, model_config=endless, timeout_s=0.2)
    default = default_signature("text-generation")
    assert default is not None
    assert signature == {
        **default,
        "params": [{"name": "top_k", "default": 5, "shape": None, "type": "long"}],
    }
    [record] = [record for record in caplog.records if getattr(record, "action", "") == "example_late"]
    assert SECRET not in record.getMessage()
    for thread in examples_running():
        thread.join(30)
    assert not examples_running()
    assert of_example(pipelines["llama"], "a text", model_config=SHORT) == default


def test_a_prediction_that_hangs_outside_the_model_is_not_waited_for(pipelines: Pipelines) -> None:
    """Where a pipeline does not come to its model, the default is given in time all the same."""
    released = threading.Event()
    stuck = copy.copy(pipelines["text-classification"])
    stuck.preprocess = lambda *args, **kwargs: released.wait(60)
    try:
        assert of_example(stuck, "a text", timeout_s=0.05) == default_signature("text-classification")
    finally:
        released.set()
    for thread in examples_running():
        thread.join(30)
    assert not examples_running()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", ""])
def test_a_time_out_that_is_none_is_refused(pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """MLflow's variable holds a number of seconds above 0, else it is a ConfigurationError."""
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(ConfigurationError, match=TIMEOUT_VARIABLE):
        of_example(pipelines["text-classification"], "a text")


@pytest.mark.parametrize("text", ["30", "1e12"])
def test_the_time_out_is_that_of_mlflows_variable(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Any number of seconds above 0 goes."""
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    assert of_example(pipelines["text-classification"], "a") == default_signature("text-classification")


@pytest.fixture(scope="module")
def depth() -> Any:
    pipeline = _zero_shot()
    pipeline.task = "depth-estimation"
    return pipeline


def test_a_task_outside_the_guides_table_is_not_predicted(depth: Any) -> None:
    """Its example gives no signature, and asking for its output is an UnsupportedTask."""
    assert of_example(depth, "an image") is None
    with pytest.raises(UnsupportedTask):
        generate_signature_output(depth, "an image")


@pytest.mark.parametrize("other", [None, "text-classification", lambda text: [{"label": text, "score": 1.0}]])
def test_only_pipelines_have_an_output(other: Any) -> None:
    """`generate_signature_output` refuses what is no transformers pipeline."""
    with pytest.raises(InvalidInput, match="expected a transformers pipeline"):
        generate_signature_output(other, "a text")


def test_the_guides_first_way_to_a_signature(pipelines: Pipelines) -> None:
    """`infer_signature(data, generate_signature_output(pipeline, data))` of a text is the task's default."""
    classify = pipelines["text-classification"]
    signature = infer_signature("a text", generate_signature_output(classify, "a text"))
    assert signature == default_signature("text-classification")
