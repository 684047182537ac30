"""Rows that fail alone, and the model's own arrays for callers that need no pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tests import tiny, tiny_media, tiny_seq2seq
from tests.inprocess import Served, seeded
from warmlane import codec
from warmlane.errors import InputTooLong, InternalError, InvalidParams, SchemaError, WarmlaneError
from warmlane.jobs import PredictJob
from warmlane.results import NDArray, Table

#: A token that the tokenizer knows and the model's weights do not: such a row fails on the device.
BOOM = "[BOOM]"
TOO_LONG = " ".join(["cat"] * (tiny.POSITIONS + 1))
SECRET = "s3cret"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("rows")
    with Served(root) as made:
        for task in tiny.TASKS:
            made.add_directory(task, tiny.save(task, root / task), task)
        tokenizer = tiny.tokenizer(tiny.save("text-classification", root / "boom"))
        tokenizer.add_tokens([BOOM])
        tokenizer.save_pretrained(root / "boom")
        made.add_directory("boom", root / "boom", "text-classification")
        for part in tiny_seq2seq.t5():
            part.save_pretrained(root / "t5")
        made.add_directory("t5", root / "t5", "text2text-generation")
        made.add("ctc", "automatic-speech-recognition", seeded(tiny_media.speech_ctc))
        yield made


def ask(served: Served, model: str, inputs: Any, params: dict[str, Any] | None = None, **fields: Any) -> Any:
    return served.answer(PredictJob(model=model, inputs=inputs, params=params or {}, **fields))


# -- a row that fails fails its job ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "kind"), [(TOO_LONG, InputTooLong), (f"a {BOOM} cat", InternalError)])
def test_a_job_fails_with_the_place_of_its_row(served: Served, row: str, kind: type[WarmlaneError]) -> None:
    """By default one bad row fails its job, with an error of the row's kind that says which row it was."""
    with pytest.raises(kind, match=r"^inputs\[2\]: ") as caught:
        ask(served, "boom", ["a cat", "a dog", row, "a tree"])
    assert caught.value.details["row"] == 2


def test_the_error_of_a_lone_row_is_its_own(served: Served) -> None:
    """Where there is one row and no list, no place is named."""
    with pytest.raises(InputTooLong) as caught:
        ask(served, "boom", TOO_LONG)
    assert "row" not in caught.value.details


# -- a row fails alone -------------------------------------------------------------------------------------------------


def test_other_rows_are_answered_beside_one_that_cannot_be_read(served: Served) -> None:
    """With `on_error="row"` a row that does not fit the signature has an error in its place, the others answers."""
    rows = ["a cat", 5, "a dog"]
    answers = ask(served, "text-classification", rows, output="native", on_error="row")
    good = ask(served, "text-classification", ["a cat", "a dog"], output="native")
    assert [answers[0], answers[2]] == good
    assert answers[1]["error"]["code"] == SchemaError.code
    assert answers[1]["error"]["details"]["row"] == 1


def test_other_rows_are_answered_beside_one_that_fails_on_the_device(served: Served) -> None:
    """A batch whose forward fails is run again in parts, so that the bad row alone has an error."""
    rows = ["a cat", f"a {BOOM}", "a dog", f"{BOOM} a", "a tree"]
    answers = ask(served, "boom", rows, output="native", on_error="row")
    assert [index for index, answer in enumerate(answers) if "error" in answer] == [1, 3]
    good = ask(served, "boom", [rows[0], rows[2], rows[4]], output="native")
    for answer, expected in zip([answers[0], answers[2], answers[4]], good, strict=True):
        assert answer["label"] == expected["label"]
        assert answer["score"] == pytest.approx(expected["score"], abs=TOLERANCE)


def test_a_table_says_in_a_column_which_rows_failed(served: Served) -> None:
    """A table has one row a row: of one that failed the answer's columns are None, and `error` says why."""
    table = ask(served, "text-classification", ["a cat", TOO_LONG], on_error="row")
    assert isinstance(table, Table)
    good, bad = table
    assert good["error"] is None
    assert good["label"] in ("bad", "fair", "good")
    assert (bad["label"], bad["score"], bad["error"]["code"]) == (None, None, InputTooLong.code)


def test_a_list_has_the_error_in_the_rows_place(served: Served) -> None:
    """A list of texts has `{"error": ...}` where a text cannot be."""
    answers = ask(served, "text-generation", ["a cat", TOO_LONG * 9, "a dog"], {"max_new_tokens": 2}, on_error="row")
    assert [type(answer) for answer in answers] == [str, dict, str]
    assert set(answers[1]["error"]) == {"code", "message", "details"}


def test_a_lone_row_that_fails_alone_is_answered_by_its_error(served: Served) -> None:
    """With `on_error="row"` a job of one row succeeds, with the error as its answer."""
    answer = ask(served, "feature-extraction", TOO_LONG, on_error="row")
    assert answer["error"]["code"] == InputTooLong.code


def test_all_rows_may_fail(served: Served) -> None:
    """A job whose rows all fail has the table that it would have, with as many errors and nothing else."""
    answers = ask(served, "text-classification", [TOO_LONG, 3], on_error="row")
    assert isinstance(answers, Table)
    assert [error["code"] for error in answers["error"]] == [InputTooLong.code, SchemaError.code]
    assert answers["label"] == [None, None]


@pytest.mark.parametrize("on_error", ["job", "row"])
def test_no_rows_are_refused_whatever_becomes_of_a_row(served: Served, on_error: str) -> None:
    """An empty list has nothing to predict, in both ways."""
    with pytest.raises(SchemaError, match="empty list"):
        ask(served, "text-classification", [], on_error=on_error)


def test_an_error_quotes_no_row(served: Served) -> None:
    """Neither the error of a row nor that of a job has a word of the row."""
    answers = ask(served, "boom", [f"{SECRET} {BOOM}", {"text": 1, SECRET: 2}], output="native", on_error="row")
    assert SECRET not in repr(answers)


def test_wrong_params_fail_the_job(served: Served) -> None:
    """What concerns all rows is no row's error."""
    with pytest.raises(InvalidParams):
        ask(served, "text-classification", ["a"], {"top_z": 1}, on_error="row")


@pytest.mark.parametrize("rows", [pandas.DataFrame({"q": ["a cat", "a dog"]}), pandas.Series(["a cat", "a dog"])])
def test_a_column_of_texts_is_a_list_of_them(served: Served, rows: Any) -> None:
    """A DataFrame of one column, of any name, and a Series are answered as the list of their texts."""
    answers = ask(served, "t5", codec.decode("test", codec.encode("test", PredictJob(model="t5", inputs=rows).inputs)))
    assert answers == ask(served, "t5", ["a cat", "a dog"])


# -- the model's own arrays --------------------------------------------------------------------------------------------


def bare(served: Served, root: Path, inputs: dict[str, Any]) -> Any:
    model = AutoModelForSequenceClassification.from_pretrained(root)
    with torch.inference_mode():
        return model(**{name: torch.tensor(value) for name, value in inputs.items()})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("text-classification", tmp_path_factory.mktemp("raw") / "model")


def test_arrays_in_are_logits_out(served: Served, checkpoint: Path) -> None:
    """What a tokenizer made of two texts elsewhere is answered with the model's logits, a row a text."""
    inputs = tiny.tokenizer(checkpoint)(["a cat", "the big tree"], padding=True, return_tensors="np")
    answer = ask(served, "text-classification", dict(inputs), output="raw")
    assert set(answer) == {"logits"}
    assert answer["logits"].shape == (2, 3)
    expected = bare(served, checkpoint, {name: value.tolist() for name, value in inputs.items()})
    assert np.allclose(answer["logits"], expected.logits, atol=TOLERANCE)


def test_raw_rows_of_many_shapes_are_answered_each(served: Served, checkpoint: Path) -> None:
    """Rows that share batches and rows that cannot are answered as each alone, in order; lists stand for arrays."""
    tokenizer = tiny.tokenizer(checkpoint)
    rows = [dict(tokenizer(text)) for text in tiny.texts(40, longest=6)]
    answers = ask(served, "text-classification", rows, output="raw")
    for row, answer in zip(rows, answers, strict=True):
        expected = bare(served, checkpoint, {name: [value] for name, value in row.items()})
        assert answer["logits"].shape == (3,)  # a row without a batch dimension, and so its answer
        assert np.allclose(answer["logits"], expected.logits[0], atol=TOLERANCE)


def test_hidden_states_are_there_where_they_are_asked_for(served: Served) -> None:
    """`output_hidden_states` gives a list of arrays, one a layer; of arrays as they travel without numpy, too."""
    ids = NDArray("int64", (1, 3), np.array([[2, 5, 3]]).tobytes())
    answer = ask(served, "feature-extraction", {"input_ids": ids}, {"output_hidden_states": True}, output="raw")
    assert [state.shape for state in answer["hidden_states"]] == [(1, 3, 32)] * 3
    assert np.array_equal(answer["hidden_states"][-1], answer["last_hidden_state"])


def test_a_decoders_logits_come_without_its_cache(served: Served) -> None:
    """A language model gives the logits of each token and nothing that could not travel."""
    answer = ask(served, "text-generation", {"input_ids": np.array([[5, 6, 7]])}, output="raw")
    assert set(answer) == {"logits"}
    assert answer["logits"].shape[:2] == (1, 3)


@pytest.mark.parametrize(
    "row",
    [
        "a text",
        {},
        {"input_idz": [[1]]},
        {"input_ids": "1"},
        {"input_ids": [[1], [2, 3]]},
        {"input_ids": [[10_000]]},
        {"input_ids": [[-1]]},
        {"input_ids": [[1]], "past_key_values": [[1]]},
    ],
)
def test_what_the_model_cannot_take_is_refused(served: Served, row: Any) -> None:
    """No dict, an unknown name, no numbers, ragged lists and ids beyond the vocabulary are errors of their row."""
    with pytest.raises(SchemaError):
        ask(served, "text-generation", row, output="raw")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"input_ids": [[5] * 200]}, "inputs.input_ids"),
        ({"input_ids": [[5, 6]], "token_type_ids": [[0, 9]]}, "inputs.token_type_ids"),
        ({"input_ids": [[5, 6]], "position_ids": [[0, 900]]}, "inputs.position_ids"),
        ({"input_ids": []}, "inputs.input_ids"),
        ({"input_ids": [2.5]}, "inputs.input_ids"),
        ({"input_ids": [[5, 6]], "attention_mask": [[1, 1, 1]]}, "inputs.attention_mask"),
        ({"input_ids": [[5, 6]], "attention_mask": [1, 1]}, "inputs.attention_mask"),
        ({"input_ids": [5, 6, 7], "attention_mask": [1]}, "inputs.attention_mask"),
        ({"input_ids": [[5], [6]], "attention_mask": [[1]]}, "inputs.attention_mask"),
        ({"input_ids": [[5], [6, 7]]}, "inputs.input_ids"),
        ({"attention_mask": [[1]]}, "inputs.input_ids"),
        ({"inputs_embeds": np.zeros((1, 3, 31), np.float32)}, "inputs"),
    ],
)
def test_arrays_that_do_not_fit_are_told_by_name(served: Served, row: Any, field: str) -> None:
    """Lengths, dimensions, kinds of numbers and indices are compared before the device sees them."""
    with pytest.raises((SchemaError, InputTooLong)) as caught:
        ask(served, "text-classification", row, output="raw")
    assert caught.value.details["field"] == field


def test_embeddings_stand_for_ids(served: Served) -> None:
    """`inputs_embeds` without ids is answered, with a batch dimension or without."""
    embeds = np.zeros((3, 32), np.float32)
    lone = ask(served, "text-classification", {"inputs_embeds": embeds}, output="raw")
    batched = ask(served, "text-classification", {"inputs_embeds": embeds[None]}, output="raw")
    assert np.allclose(lone["logits"], batched["logits"][0], atol=TOLERANCE)


def test_a_decoder_is_asked_for_its_ids(served: Served) -> None:
    """A row without `decoder_input_ids`, of a model that does not make them from its inputs, is told that they lack."""
    with pytest.raises(SchemaError) as caught:
        ask(served, "t5", {"input_ids": [[5, 6]]}, output="raw")
    assert caught.value.details["field"] == "inputs.decoder_input_ids"
    answer = ask(served, "t5", {"input_ids": [[5, 6]], "decoder_input_ids": [[0]]}, output="raw")
    assert answer["logits"].shape[:2] == (1, 1)


def test_samples_are_read_by_a_model_without_a_vocabulary(served: Served) -> None:
    """A CTC model takes `input_values`; it has no table of input ids to look into."""
    answer = ask(served, "ctc", {"input_values": np.zeros(1600, np.float32)}, output="raw")
    assert answer["logits"].ndim == 2


def test_raw_output_takes_no_parameters_of_the_pipeline(served: Served) -> None:
    """`max_new_tokens` is the pipeline's and not the model's: the error lists what there is."""
    with pytest.raises(InvalidParams) as caught:
        ask(served, "text-generation", {"input_ids": [[1]]}, {"max_new_tokens": 3}, output="raw")
    assert caught.value.details["allowed"] == ["output_hidden_states", "output_attentions"]


def test_a_raw_row_fails_alone(served: Served) -> None:
    """`on_error="row"` holds for arrays as well."""
    answers = ask(served, "text-generation", [{"input_ids": [[1]]}, {"x": 1}], output="raw", on_error="row")
    assert set(answers[0]) == {"logits"}
    assert answers[1]["error"]["code"] == SchemaError.code


# -- the two modes of a pipeline ---------------------------------------------------------------------------------------


def test_native_and_guide_are_two_shapes_of_one_answer(served: Served) -> None:
    """`pyfunc` and no mode give the guide's table, `native` what the pipeline returns: all labels, nested in lists."""
    shape = ask(served, "text-classification", ["a cat"], {"top_k": None}, output="pyfunc")
    assert shape == ask(served, "text-classification", ["a cat"], {"top_k": None})
    (native,) = ask(served, "text-classification", ["a cat"], {"top_k": None}, output="native")
    assert shape["label"][0] == [label["label"] for label in native]
