"""Text that is told while it is generated, in process: its pieces are the answer's text, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transformers as tf

from tests import tiny_seq2seq, tiny_text
from tests.inprocess import Records, Served, seeded
from warmlane.jobs import PredictJob
from warmlane_workers.engine import telling

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 24}


def long_llama() -> dict[str, Any]:
    """A decoder that computes its positions: it can write for seconds."""
    tokenizer = tiny_text.byte_pairs()
    tokenizer.chat_template = TEMPLATE
    config = tf.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=64,
        max_position_embeddings=8192,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=None,
    )
    return {"model": tf.LlamaForCausalLM(config), "tokenizer": tokenizer}


def parts(made: tuple[Any, Any]) -> dict[str, Any]:
    return dict(zip(("model", "tokenizer"), made, strict=True))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("streams")
    with Served(root) as served:
        served.add("text-generation", "text-generation", seeded(tiny_text.text_generation))
        served.add("long", "text-generation", seeded(long_llama))
        served.add("text2text-generation", "text2text-generation", parts(tiny_seq2seq.bart()))
        served.add("summarization", "summarization", parts(tiny_seq2seq.t5()))
        served.add("translation", "translation_en_to_fr", parts(tiny_seq2seq.bart()))
        served.add("conversational", "conversational", parts(tiny_seq2seq.chatter()))
        served.add("classify", "text-classification", seeded(tiny_text.text_classification))
        for task in ("completions", "chat"):
            made = seeded(long_llama)
            directory = root / f"saved-{task}"
            made["model"].save_pretrained(directory)
            made["tokenizer"].save_pretrained(directory)
            served.add_directory(task, directory, f"llm/v1/{task}")
        yield served


@pytest.fixture(autouse=True)
def every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models are fast: each piece goes out when it is there."""
    monkeypatch.setattr(telling, "PACE_S", 0.0)


def job(model: str, inputs: Any, output: str | None = None, **params: Any) -> PredictJob:
    return PredictJob(model=model, inputs=inputs, params=params, dtype="float32", output=output, stream=True)


def told(served: Served, asked: PredictJob) -> tuple[list[str], Any]:
    """The pieces of a job, each of which goes on from those before, and its result."""
    records = Records()
    result = served.told(asked, records)
    text = ""
    for piece in records.pieces:
        assert piece.at == len(text), "a text was begun again"
        text += piece.text
    assert [piece.last for piece in records.pieces] == [False] * (len(records.pieces) - 1) + [True]
    return [piece.text for piece in records.pieces], result


def text(result: Any) -> str:
    """The text of a result of any task and mode."""
    while isinstance(result, list):
        result = result[-1]
    if isinstance(result, dict) and "choices" in result:
        (result,) = result["choices"]
        result = result.get("message", result)
    if isinstance(result, dict):
        result = next(value for name, value in result.items() if name.endswith(("text", "content")))
    assert isinstance(result, str)
    return result


# -- the pieces are the text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [None, "pyfunc", "native"])
@pytest.mark.parametrize(
    "name", ["text-generation", "text2text-generation", "summarization", "translation", "conversational"]
)
def test_the_pieces_are_the_text_of_the_answer(served: Served, name: str, output: str | None) -> None:
    """For each task and mode, put together they are the result's text; and there are several."""
    pieces, result = told(served, job(name, "the cat sat on", output, **GREEDY, num_beams=1))
    assert "".join(pieces) == text(result)
    assert len(pieces) > 2


@pytest.mark.parametrize(
    "model, row",
    [
        ("completions", {"prompt": "the cat", "max_tokens": 40, "temperature": 0}),
        ("chat", {"messages": [{"role": "user", "content": "the cat"}], "max_tokens": 40, "temperature": 0}),
    ],
)
def test_a_stop_is_no_part_of_the_pieces(served: Served, model: str, row: dict[str, Any]) -> None:
    """Answers in OpenAI's shape come in pieces up to their stop, wherever in the text that is."""
    whole = text(served.answer(PredictJob(model=model, inputs=row, dtype="float32")))
    for begin in range(4, len(whole) - 12, 5):
        pieces, result = told(served, job(model, {**row, "stop": [whole[begin : begin + 9], "never"]}))
        assert "".join(pieces) == text(result)
        assert text(result) == whole[: whole.index(whole[begin : begin + 9])]
