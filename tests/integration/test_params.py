"""Params that are wrong are said to be wrong: by name, with what they may be, and never as the fault of a row."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests import tiny_native, tiny_seq2seq
from tests.inprocess import Served, seeded
from warmlane.errors import InputTooLong, InternalError, InvalidParams, SchemaError
from warmlane.jobs import PredictJob
from warmlane_workers.flavor import save_model

_PIXELS = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
_BUFFER = io.BytesIO()
Image.fromarray(_PIXELS).save(_BUFFER, "PNG")
PICTURE = _BUFFER.getvalue()
SOUND = np.random.default_rng(0).normal(0, 0.1, 16_000).astype("float32")
#: Model -> a row of it.
ROWS: dict[str, Any] = {
    "text-classification": "the cat",
    "token-classification": "the cat sat",
    "fill-mask": "the [MASK] sat",
    "zero-shot-classification": {"sequences": "the cat", "candidate_labels": ["good", "bad"]},
    "text-generation": "the cat",
    "table-question-answering": {"query": "how", "table": {"a": ["1", "2"]}},
    "speech-ctc": SOUND,
    "speech-whisper": SOUND,
    "audio-classification": SOUND,
    "image-classification": PICTURE,
    "image-segmentation": PICTURE,
    "object-detection": PICTURE,
    "zero-shot-object-detection": {"image": PICTURE, "candidate_labels": ["cat", "dog"]},
    "document-question-answering": {
        "image": PICTURE,
        "question": "the cat",
        "word_boxes": [["cat", [0, 0, 10, 10]], ["dog", [20, 20, 30, 30]]],
    },
    "text-to-audio": "the cat",
    "keypoint-matching": {"images": [PICTURE, PICTURE]},
    "video-classification": np.stack([_PIXELS] * 8),
    "summarization": "the cat sat",
    "question-answering": {"question": "who sat", "context": "the cat sat"},
}
#: Those of them that need an encoder and a decoder, or another reader.
_CLASSIC = {"summarization": "t5", "question-answering": "reader"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("params")) as engine:
        for name in ROWS:
            if name in _CLASSIC:
                made = seeded(getattr(tiny_seq2seq, _CLASSIC[name]))
                engine.add(name, name, dict(zip(("model", "tokenizer"), made, strict=True)))
            else:
                engine.add(name, tiny_native.MAKERS.get(name, (name,))[0], tiny_native.components(name))
        yield engine


def refused(served: Served, model: str, params: dict[str, Any], **fields: Any) -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        served.answer(PredictJob(model=model, inputs=[ROWS[model]], params=params, **fields))
    return caught.value


WRONG: list[tuple[str, str, Any, str]] = [
    *(("fill-mask", "top_k", value, "a whole number from 1 to ") for value in (0, -1, 1000, "x", 1.5)),
    ("fill-mask", "targets", 3, "a str, or a list of them"),
    ("token-classification", "ignore_labels", "O", "a list of str"),
    ("token-classification", "stride", -1, "a whole number from 0 to "),
    ("token-classification", "stride", 10_000, "a whole number from 0 to "),
    ("token-classification", "aggregation_strategy", 1, "none, simple, first, average, max"),
    ("token-classification", "aggregation_strategy", "x", "none, simple, first, average, max"),
    ("question-answering", "top_k", 1.5, "a whole number from 1"),
    ("question-answering", "top_k", 0, "a whole number from 1"),
    ("question-answering", "max_answer_len", 0, "a whole number from 1"),
    ("question-answering", "max_answer_len", 1.5, "a whole number from 1"),
    ("question-answering", "doc_stride", 100_000, "a whole number from 1 to "),
    ("text-classification", "function_to_apply", "bogus", "sigmoid, softmax, none"),
    ("text-classification", "truncation", 0, "true, false"),
    ("image-classification", "function_to_apply", 1, "sigmoid, softmax, none"),
    ("audio-classification", "function_to_apply", "bogus", "sigmoid, softmax, none"),
    ("video-classification", "function_to_apply", "bogus", "sigmoid, softmax, none"),
    ("image-segmentation", "subtask", "x", "panoptic, instance, semantic"),
    ("object-detection", "threshold", "x", "a number"),
    ("zero-shot-object-detection", "threshold", "x", "a number"),
    ("zero-shot-object-detection", "top_k", "x", "a whole number from 1"),
    ("keypoint-matching", "threshold", "x", "a number"),
    ("document-question-answering", "doc_stride", -1, "a whole number from 0"),
    ("document-question-answering", "max_seq_len", -1, "a whole number from 1"),
    ("zero-shot-classification", "hypothesis_template", "no place", "a str with one {}"),
    ("zero-shot-classification", "hypothesis_template", "{} {}", "a str with one {}"),
    ("zero-shot-classification", "hypothesis_template", "{x}", "a str with one {}"),
    ("table-question-answering", "padding", "x", "true, false, longest"),
    ("table-question-answering", "truncation", "x", "true, false, drop_rows_to_fit"),
    ("speech-ctc", "return_timestamps", True, "false, char, word"),
    ("speech-whisper", "return_timestamps", "char", "true, false, word"),
    ("speech-ctc", "chunk_length_s", "x", "seconds"),
    ("text-generation", "add_special_tokens", "x", "true or false"),
    ("text-generation", "eos_token_id", [], "the number of a token"),
    ("text-generation", "eos_token_id", 1e30, "a whole number from -1"),
    ("text-generation", "forced_eos_token_id", 1_000_000, "a whole number from 0 to "),
    ("text-generation", "forced_eos_token_id", True, "the number of a token"),
    ("text-generation", "bos_token_id", 1e30, "the number of a token"),
    ("text-generation", "pad_token_id", -7, "the number of a token"),
    ("text-generation", "decoder_start_token_id", 1e30, "the number of a token"),
    ("text-generation", "exponential_decay_length_penalty", [], "a list of a whole number"),
    ("text-generation", "exponential_decay_length_penalty", {}, "a list of a whole number"),
    ("text-generation", "prefill_chunk_size", -1, "a whole number from 1"),
    ("text-generation", "prefill_chunk_size", [], "a whole number from 1"),
    ("text-generation", "stop_strings", [[1, 2]], "a str, or a list of them"),
    ("text-generation", "bad_words_ids", [1], "a list of words"),
    ("text-to-audio", "do_sample", True, "allowed are "),
    ("summarization", "src_lang", "x", "allowed are "),
    ("token-classification", "is_split_into_words", True, "allowed are "),
]


@pytest.mark.parametrize(("model", "name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_refused_by_its_name(served: Served, model: str, name: str, value: Any, allowed: str) -> None:
    """Before a row is read, of whichever task: the error has the parameter's name, and what it may be."""
    error = refused(served, model, {name: value})
    assert error.details["field"] == f"params.{name}"
    assert allowed in error.message
    assert error.message.startswith("params")


def test_rows_that_fail_alone_do_not_forgive_params(served: Served) -> None:
    """What concerns all rows fails the job under `on_error="row"` too."""
    refused(served, "fill-mask", {"top_k": 0}, on_error="row")


def test_pieces_have_to_be_longer_than_what_they_share(served: Served) -> None:
    """Of a sound in pieces, `stride_length_s` on both sides is less than `chunk_length_s`."""
    error = refused(served, "speech-ctc", {"chunk_length_s": 2, "stride_length_s": [1, 1.5]})
    assert error.details["field"] == "params.stride_length_s"


def test_parameters_that_do_not_go_together_are_named(served: Served) -> None:
    """Each is good alone: the error has them all, and says to leave one out."""
    error = refused(served, "token-classification", {"stride": 2, "aggregation_strategy": "none"})
    assert error.details["field"] == "params"
    assert "aggregation_strategy, stride; leave one out" in error.message


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("text-generation", "sequence_bias", [[1, 2]]),
        ("document-question-answering", "doc_stride", 1000),
        ("summarization", "guidance_scale", 1.5),
    ],
)
def test_what_no_check_knows_is_found_by_leaving_it_out(served: Served, model: str, name: str, value: Any) -> None:
    """A row that fails with params, and is answered without, fails by the params: they are named, their values not."""
    error = refused(served, model, {name: value})
    assert (error.details["field"], error.details["params"]) == (f"params.{name}", [name])
    assert str(value) not in error.message


def test_a_row_that_params_fail_is_told_so_in_its_place(served: Served) -> None:
    """Under `on_error="row"`, where only the rows show what is wrong."""
    job = PredictJob(model="text-generation", inputs=["a"], params={"sequence_bias": [[1, 2]]}, on_error="row")
    (answer,) = served.answer(job)
    assert answer["error"]["code"] == InvalidParams.code


def broken(*args: Any, **kwargs: Any) -> Any:
    raise ZeroDivisionError


def test_a_bug_stays_a_bug_whatever_the_params(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that fails without its job's params, too, is not put down to them."""
    pipeline = next(e for e in served.engine.cache.entries() if e.key.name == "text-classification").value.task.pipeline
    monkeypatch.setattr(pipeline, "postprocess", broken)
    with pytest.raises(InternalError, match="ZeroDivisionError"):
        served.answer(PredictJob(model="text-classification", inputs=["a", "b"], params={"top_k": 2}))


def test_a_row_without_params_is_asked_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to leave out."""
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        raise ZeroDivisionError

    served.predict("text-classification", "a")
    entries = served.engine.cache.entries()
    task: Any = next(entry for entry in entries if entry.key.name == "text-classification").value.task
    monkeypatch.setattr(task.pipeline, "postprocess", counted)
    with pytest.raises(ZeroDivisionError):
        served.predict("text-classification", "a")
    assert len(calls) == 1


def test_no_memory_is_nobodys_params(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that does not fit is not asked again."""
    calls: list[int] = []

    def full(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        raise torch.OutOfMemoryError

    served.predict("fill-mask", ROWS["fill-mask"])
    task: Any = next(entry for entry in served.engine.cache.entries() if entry.key.name == "fill-mask").value.task
    monkeypatch.setattr(task.pipeline, "postprocess", full)
    with pytest.raises(torch.OutOfMemoryError):
        served.predict("fill-mask", ROWS["fill-mask"], top_k=2)
    assert len(calls) == 1


def test_a_length_beyond_the_models_cuts_where_the_model_ends(served: Served) -> None:
    """`truncation` with a `max_length` that the model does not read cuts at what it reads."""
    long = "cat " * 500
    assert served.predict("text-classification", [long], truncation=True, max_length=1000)["truncated"] == [True]


def test_a_mask_that_is_cut_off_is_said_to_be(served: Served) -> None:
    """Of a text that is cut before its mask, the error says so and what to do."""
    with pytest.raises(InputTooLong, match="raise max_length"):
        served.predict("fill-mask", "cat " * 500 + "[MASK]", truncation=True)


def test_no_log_has_a_target_that_a_model_does_not_know(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """transformers would warn of it, and quote it: it is the caller's."""
    served.predict("fill-mask", ROWS["fill-mask"], targets=["zebra"])
    assert "zebra" not in caplog.text


def test_a_template_of_a_row_is_the_rows(served: Served) -> None:
    """What a row brings itself is refused as the row's."""
    with pytest.raises(SchemaError, match=r"a str with one \{\}"):
        served.predict("zero-shot-classification", {**ROWS["zero-shot-classification"], "hypothesis_template": "no"})


@pytest.mark.parametrize("model", ["text-generation", "summarization"])
def test_a_token_that_never_comes_may_end_an_answer(served: Served, model: str) -> None:
    """`eos_token_id` beyond the vocabulary, or below it: the text ends by its length, as the bare pipeline's does."""
    texts = [served.predict(model, ["the cat"], max_new_tokens=4, eos_token_id=end) for end in (-1, 10_000)]
    assert texts[0] == texts[1]


def test_texts_that_end_an_answer_end_a_summary(served: Served) -> None:
    """`stop_strings` of an encoder-decoder: its tokenizer is told, without which there would be an error."""
    assert len(served.predict("summarization", ["the cat"], stop_strings=["x"], max_new_tokens=3)) == 1


@pytest.mark.parametrize(
    ("config", "field"), [({"bogus": 2}, "model_config.bogus"), ({"top_k": "x"}, "model_config.top_k")]
)
@pytest.mark.parametrize("source", ["pipeline", "checkpoint"])
def test_a_save_refuses_what_no_predict_takes(tmp_path: Path, source: str, config: dict[str, Any], field: str) -> None:
    """As a load does, and nothing is written; of a checkpoint no weights are read for it."""
    if source == "pipeline":
        given: Any = tiny_native.pipeline("text-classification")
    else:
        given = tiny_native.checkpoint("text-classification", tmp_path / "source")
    with pytest.raises(InvalidParams, match=r"^model_config") as caught:
        save_model(given, tmp_path / "saved", task="text-classification", model_config=config)
    assert caught.value.details["field"] == field
    assert not (tmp_path / "saved").exists()


def test_a_save_that_checks_leaves_the_components_as_they_were(tmp_path: Path) -> None:
    """A task sets up its tokenizer; that of the save is another's."""
    given = tiny_native.pipeline("text-classification")
    before = given.tokenizer.model_max_length
    save_model(given, tmp_path / "saved", model_config={"top_k": 2})
    assert given.tokenizer.model_max_length == before


def test_a_configuration_that_fails_rows_is_named_as_such(served: Served) -> None:
    """Without params of the job's own it is that of the model, which the error says."""
    served.add(
        "configured",
        "text-generation",
        tiny_native.components("text-generation"),
        model_config={"sequence_bias": [[1]]},
    )
    with pytest.raises(InvalidParams, match="the model's configuration") as caught:
        served.predict("configured", "the cat")
    assert caught.value.details["field"] == "model_config.sequence_bias"
