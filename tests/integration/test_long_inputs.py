"""Inputs that are longer than their models read: refused with a remedy, cut and said to be, or read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import transformers as tf

from tests import tiny, tiny_native, tiny_seq2seq, tiny_text
from tests.inprocess import Records, Served
from tests.integration.test_native import DECISION, png, tone
from warmlane.errors import InputTooLong, InvalidParams
from warmlane.jobs import PredictJob
from warmlane.results import Table
from warmlane_workers.context import JobContext
from warmlane_workers.tasks import limits

RATE_HZ = 16_000
#: More tokens than any of the tiny models reads.
LONG = "cat dog " * 100
SILENCE = np.zeros(RATE_HZ * 8, np.float32)
WORDS = [["red", [0, 0, 9, 9]]] * 200
LINES = {"name": ["cat"] * 100, "colour": ["red"] * 100}
SEQ2SEQ = {
    "summarization": ("summarization", tiny_seq2seq.bart),
    "question-answering": ("question-answering", tiny_seq2seq.reader),
    "conversational": ("conversational", tiny_seq2seq.chatter),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("long")) as engine:
        yield engine


def ask(served: Served, kind: str, inputs: Any, **params: Any) -> tuple[Any, tuple[int, ...]]:
    """A job's result, and the rows that it says were cut."""
    if kind not in served.bare:
        if kind in SEQ2SEQ:
            task, make = SEQ2SEQ[kind]
            served.add(kind, task, dict(zip(("model", "tokenizer"), make(), strict=True)))
        else:
            served.add(kind, tiny_native.MAKERS[kind][0], tiny_native.components(kind))
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    return served.engine.predict(PredictJob(model=kind, inputs=inputs, params=params), context), context.truncated


#: What is cut: by its pipeline in silence, or because the params say so.
CUT: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "a text": ("text-classification", LONG, {"truncation": True}),
    "a pair": ("text-classification", {"text": LONG, "text_pair": LONG}, {"truncation": True}),
    "a text as params say": ("text-classification", "cat dog cat dog cat", {"truncation": True, "max_length": 5}),
    "a text as a length says": ("text-classification", "cat dog cat dog cat", {"max_length": 5}),
    "features as a length says": ("feature-extraction", "cat dog cat dog cat", {"max_length": 5}),
    "a mask as a length says": ("fill-mask", "[MASK] dog cat dog cat", {"max_length": 5}),
    "a prompt as a length says": ("text-generation", "cat dog cat dog cat", {"max_length": 3, "max_new_tokens": 2}),
    "features": ("feature-extraction", LONG, {"truncation": True}),
    "a text with a mask": ("fill-mask", "[MASK] " + LONG, {"truncation": True}),
    "tokens": ("token-classification", LONG, {}),
    "a sequence": ("zero-shot-classification", {"sequences": LONG, "candidate_labels": ["cat", "dog"]}, {}),
    "a prompt": ("text-generation", LONG, {"truncation": True}),
    "a text to summarize": ("summarization", LONG, {"truncation": True}),
    "a question": ("question-answering", {"question": LONG, "context": "a cat"}, {"max_question_len": 4}),
    "lines of a table": ("table-question-answering", {"table": LINES, "query": "what"}, {}),
    "a cell of a table": ("table-question-answering", {"table": {"name": [LONG]}, "query": "what"}, {}),
    "a sound": ("zero-shot-audio-classification", np.zeros(RATE_HZ * 60, np.float32), {"candidate_labels": ["cat"]}),
}


@pytest.mark.parametrize("what", CUT)
def test_what_was_cut_is_said(served: Served, what: str) -> None:
    """The job's record names the row of which not all was read."""
    kind, row, params = CUT[what]
    assert ask(served, kind, row, **params)[1] == (0,)


@pytest.mark.parametrize("kind", ["text-classification", "feature-extraction", "text-generation"])
def test_megabytes_are_refused_by_their_beginning(served: Served, kind: str) -> None:
    """Where a text is far too long, not all of it is made tokens to find that out."""
    with pytest.raises(InputTooLong, match="more than") as caught:
        ask(served, kind, "cat dog " * 500_000)
    assert caught.value.details["tokens"] < 100_000


#: What is as long, and read whole, in pieces that overlap; and what just fits.
WHOLE: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "a context": ("question-answering", {"question": "what", "context": LONG}, {}),
    "a context by strides": (
        "question-answering",
        {"question": "what", "context": LONG},
        {"doc_stride": 4, "max_seq_len": 20},
    ),
    "tokens by strides": ("token-classification", LONG, {"stride": 8, "aggregation_strategy": "simple"}),
    "speech by chunks": ("speech-ctc", SILENCE, {"chunk_length_s": 2}),
    "long speech": ("speech-whisper", np.zeros(RATE_HZ * 31, np.float32), {}),
    "a document": ("document-question-answering", {"image": png(), "question": "red?", "word_boxes": WORDS}, {}),
    "a text of the limit": ("text-classification", "cat " * (tiny.POSITIONS - 2), {"truncation": True}),
    "tokens of the limit": ("token-classification", "cat " * (tiny.POSITIONS - 2), {}),
    "a short table": ("table-question-answering", {"table": {"name": ["cat"]}, "query": "what"}, {}),
}


@pytest.mark.parametrize("what", WHOLE)
def test_what_is_read_in_pieces_or_just_fits_is_not_called_cut(served: Served, what: str) -> None:
    """Strides, chunks and rows of exactly the limit lose nothing, and no row is named."""
    kind, row, params = WHOLE[what]
    assert ask(served, kind, row, **params)[1] == ()


#: What is refused.
REFUSED: Mapping[str, tuple[str, Any, dict[str, Any]]] = {
    "a text": ("text-classification", LONG, {}),
    "a pair of which the long part stays": (
        "text-classification",
        {"text": "cat", "text_pair": LONG},
        {"truncation": "only_first"},
    ),
    "features": ("feature-extraction", LONG, {}),
    "a text with a mask": ("fill-mask", "[MASK] " + LONG, {}),
    "a label": ("zero-shot-classification", {"sequences": "cat", "candidate_labels": [LONG]}, {}),
    "a prompt": ("text-generation", LONG, {}),
    "an answer": ("text-generation", "cat", {"max_new_tokens": 500}),
    "a text to summarize": ("summarization", LONG, {}),
    "a message": ("conversational", LONG * 3, {}),
    "a question": ("question-answering", {"question": LONG, "context": "a cat"}, {}),
    "chunks": ("question-answering", {"question": "what", "context": LONG}, {"max_seq_len": 200}),
    "a query": ("table-question-answering", {"table": LINES, "query": LONG}, {}),
    "columns": ("table-question-answering", {"table": {f"n{n}": ["cat"] for n in range(300)}, "query": "what"}, {}),
    "a table to be read whole": (
        "table-question-answering",
        {"table": LINES, "query": "what"},
        {"truncation": "do_not_truncate"},
    ),
    "a state": ("decision", {**DECISION, "state": LONG}, {}),
    "a label of a picture": ("zero-shot-image-classification", {"image": png(), "candidate_labels": [LONG]}, {}),
    "a label of an object": ("zero-shot-object-detection", {"image": png(), "candidate_labels": [LONG]}, {}),
    "a label of a sound": ("zero-shot-audio-classification", tone(), {"candidate_labels": [LONG * 5]}),
    "a question of a document": (
        "document-question-answering",
        {"image": png(), "question": LONG, "word_boxes": WORDS},
        {},
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_remedy(served: Served, what: str) -> None:
    """No index error: the refusal says what to do, and never what the row said."""
    kind, row, params = REFUSED[what]
    with pytest.raises(InputTooLong, match=r"shorten|send fewer|lower ") as refused:
        ask(served, kind, row, **params)
    assert "cat dog" not in refused.value.message


def test_a_prompt_that_leaves_its_answer_no_room_is_refused(served: Served) -> None:
    """Where `max_length` counts both, the error says so and not that some parameter does not fit."""
    served.add("endless", "text-generation", tiny_text.endless_generation())
    with pytest.raises(InputTooLong, match="max_length is 3 and counts both"):
        ask(served, "endless", "cat dog cat dog cat", max_length=3)


@pytest.mark.parametrize("kind", ["summarization", "speech-whisper"])
def test_an_answer_longer_than_its_decoder_is_refused(served: Served, kind: str) -> None:
    """A decoder with a table of positions writes no more tokens than that has."""
    with pytest.raises(InvalidParams):
        ask(served, kind, tone() if kind == "speech-whisper" else "cat", max_new_tokens=1000)


def test_a_table_says_which_rows_were_cut(served: Served) -> None:
    """A column `truncated` stands in a table of which one row was cut, and in no other."""
    table, cut = ask(served, "text-classification", ["cat", LONG], truncation=True)
    assert cut == (1,)
    assert list(table.columns) == ["label", "score", "truncated"]
    assert table["truncated"] == [False, True]
    whole, _ = ask(served, "text-classification", ["cat", "dog"], truncation=True)
    assert list(whole.columns) == ["label", "score"]


def test_each_row_of_a_sequence_that_was_cut_says_so(served: Served) -> None:
    """A sequence stands in as many rows of the table as it has labels."""
    rows = [{"sequences": text, "candidate_labels": ["cat", "dog"]} for text in ("red", LONG)]
    table, cut = ask(served, "zero-shot-classification", rows)
    assert cut == (1,)
    assert table["truncated"] == [False, False, True, True]


def test_a_row_that_failed_was_not_cut(served: Served) -> None:
    """Beside rows that failed, a table has both columns; a failed row has no answer that could be a part's."""
    job = PredictJob(model="text-classification", inputs=["cat", LONG, 7], params={"truncation": True}, on_error="row")
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    ask(served, "text-classification", "cat")
    table = served.engine.predict(job, context)
    assert isinstance(table, Table)
    assert context.truncated == (1,)
    assert table["truncated"] == [False, True, None]
    assert [error and error["code"] for error in table["error"]] == [None, None, "schema_mismatch"]


def test_cut_is_where_the_pipeline_cuts(served: Served) -> None:
    """What is left of a text is answered as by the bare pipeline, at its tokenizer's limit."""
    answer, _ = ask(served, "token-classification", LONG)
    entities = served.bare["token-classification"](LONG)
    assert answer == [",".join(entity["entity"] for entity in entities)]


def test_positions_that_stand_for_padding_hold_no_token() -> None:
    """A model of RoBERTa's family begins to count after its padding token; BERT's does not."""
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    roberta = tf.RobertaConfig(vocab_size=9, max_position_embeddings=66, pad_token_id=1, **small)  # type: ignore[arg-type]
    bert = tf.BertConfig(vocab_size=9, max_position_embeddings=66, **small)  # type: ignore[arg-type]
    assert limits.positions(tf.RobertaModel(roberta)) == 64
    assert limits.positions(tf.BertModel(bert)) == 66


def test_extractors_that_leave_out_the_end_of_a_sound_are_known() -> None:
    """A spectrogram of so many frames, and Whisper's half a minute; one that takes all has no limit."""
    extractors: Any = tf  # whose classes have no types
    spectrogram, longer = (extractors.ASTFeatureExtractor(max_length=n, num_mel_bins=32) for n in (50, 51))
    most = limits.samples(spectrogram)
    assert most is not None
    sound = np.random.default_rng(0).normal(size=most + 160).astype(np.float32)

    def features(extractor: Any, samples: int) -> Any:
        return extractor(sound[:samples], sampling_rate=RATE_HZ)["input_values"]

    assert np.array_equal(features(spectrogram, most), features(spectrogram, most + 160))
    assert not np.array_equal(features(longer, most), features(longer, most + 160))
    assert limits.samples(extractors.WhisperFeatureExtractor()) == 30 * RATE_HZ
    assert limits.samples(extractors.Wav2Vec2FeatureExtractor()) is None
