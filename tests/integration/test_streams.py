"""Text that is told while it is generated, in process: its pieces are the answer's text, whatever the task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests import tiny_seq2seq, tiny_text
from tests.inprocess import Records, Served, seeded
from warmlane.errors import InvalidParams, JobCancelled, UnsupportedTask
from warmlane.jobs import PredictJob
from warmlane_workers import tasks
from warmlane_workers.engine import rows, telling
from warmlane_workers.tasks.base import Watch
from warmlane_workers.tasks.writing import settled

TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12}


def parts(made: tuple[Any, Any]) -> dict[str, Any]:
    return dict(zip(("model", "tokenizer"), made, strict=True))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("streams")
    with Served(root) as served:
        served.add("text-generation", "text-generation", seeded(tiny_text.text_generation))
        served.add("long", "text-generation", seeded(tiny_text.endless_generation))
        served.add("text2text-generation", "text2text-generation", parts(tiny_seq2seq.bart()))
        served.add("summarization", "summarization", parts(tiny_seq2seq.t5()))
        served.add("translation", "translation_en_to_fr", parts(tiny_seq2seq.bart()))
        served.add("conversational", "conversational", parts(tiny_seq2seq.chatter()))
        served.add("classify", "text-classification", seeded(tiny_text.text_classification))
        for task in ("completions", "chat"):
            made = seeded(tiny_text.endless_generation)
            made["tokenizer"].chat_template = TEMPLATE
            for part in made.values():
                part.save_pretrained(root / task)
            served.add_directory(task, root / task, f"llm/v1/{task}")
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


@pytest.mark.parametrize("output", ["pyfunc", "native"])
@pytest.mark.parametrize(
    "name", ["text-generation", "text2text-generation", "summarization", "translation", "conversational"]
)
def test_the_pieces_are_the_text_of_the_answer(served: Served, name: str, output: str | None) -> None:
    """For each task and mode, put together they are the result's text; and there are several."""
    pieces, result = told(served, job(name, "the cat sat on", output, **GREEDY, num_beams=1))
    assert "".join(pieces) == text(result)
    assert len(pieces) > 2


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("completions", {"prompt": "the cat", "max_tokens": 20, "temperature": 0}),
        ("chat", {"messages": [{"role": "user", "content": "the cat"}], "max_tokens": 20, "temperature": 0}),
    ],
)
def test_a_stop_is_no_part_of_the_pieces(served: Served, model: str, row: dict[str, Any]) -> None:
    """Answers in OpenAI's shape come in pieces up to their stop, wherever in the text that is."""
    whole = text(served.answer(PredictJob(model=model, inputs=row, dtype="float32")))
    for begin in (4, len(whole) // 2):
        pieces, result = told(served, job(model, {**row, "stop": [whole[begin : begin + 9], "never"]}))
        assert "".join(pieces) == text(result)
        assert text(result) == whole[: whole.index(whole[begin : begin + 9])]


@pytest.mark.parametrize("prompt", ["the cat", "very"])
def test_no_piece_has_half_a_character(served: Served, prompt: str) -> None:
    """Tokens that are single bytes, at random: what is told is never taken back, and all of it is the answer."""
    pieces, result = told(served, job("long", prompt, do_sample=False, max_new_tokens=80))
    assert "".join(pieces) == text(result)
    assert len(pieces) > 10


@pytest.mark.parametrize(
    ("so_far", "stops", "told_of_it"),
    [
        ("One and tw", (), "One and"),
        ("One and ", (), "One and"),
        ("One \ufffd", (), "One"),
        ("One", (), ""),
        ("\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341", (), "\u4e00\u4e8c"),
        ("One, END of it", ("of it all",), "One, END"),
        ("One, stop here: a stop here", ("a stop here, please",), "One, stop here:"),
        ("One and two ", ("never",), "One and two"),
    ],
)
def test_what_may_change_is_held_back(so_far: str, stops: tuple[str, ...], told_of_it: str) -> None:
    """The last word, half a character, and what may be the beginning of a stop; of a long word only its end."""
    assert settled(so_far, stops) == told_of_it


@pytest.mark.parametrize("prompt", ["the  cat\n sat", " a dog "])
def test_white_space_that_is_collapsed_is_told_so(served: Served, prompt: str) -> None:
    """Parameters that trim the answer trim the pieces."""
    asked = job("text-generation", prompt, collapse_whitespace=True, **GREEDY)
    pieces, result = told(served, asked)
    assert "".join(pieces) == text(result)
    assert "  " not in text(result)


# -- rows that are told beside rows that are not ----------------------------------------------------------------------


def test_rows_that_are_told_share_batches(served: Served) -> None:
    """Eight jobs at once, every other one told: each has the answer, and the pieces, that it has alone."""
    prompts = ["the cat sat", "a dog ran", "the big red bird", "a tree"] * 2

    def ask(number: int) -> tuple[str, str]:
        asked = replace(job("text-generation", prompts[number], **GREEDY), stream=number % 2 == 0)
        if not asked.stream:
            return text(served.answer(asked)), ""
        pieces, result = told(served, asked)
        return text(result), "".join(pieces)

    alone = [ask(number) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert together == alone * 2


# -- an end between two tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_cancelled_generation_leaves_the_device(
    served: Served, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Of 8,000 tokens hardly any are generated: the job ends, and both device threads answer others."""
    monkeypatch.setattr(rows, "_WATCH_S", 0.02)
    long = replace(job("long", "the cat", do_sample=False, max_new_tokens=8000), stream=stream)
    whole = replace(long, params={"do_sample": False, "max_new_tokens": 100})
    started = time.monotonic()
    served.answer(whole)
    a_hundred = time.monotonic() - started
    started = time.monotonic()
    for _ in range(4):
        with pytest.raises(JobCancelled):
            served.told(long, Records(cancel_at=2 if stream else 0))
    served.answer(whole)
    assert time.monotonic() - started < 20 * a_hundred + 2


@pytest.mark.parametrize("name", ["text-generation", "text2text-generation", "conversational"])
@pytest.mark.parametrize("beams", [1, 2])
def test_a_row_that_ends_leaves_its_neighbours(served: Served, name: str, beams: int) -> None:
    """In a batch of three the middle one's job stops: the others' answers are those that they have alone."""
    bare = served.bare[name]
    task: Any = tasks.implementation(name, {"task": name, "model": bare.model, "tokenizer": bare.tokenizer})
    plan = task.plan({"do_sample": False, "max_new_tokens": 12, "num_beams": beams})
    parts = [task.prepare(row, plan)[0] for row in ("the cat", "a dog", "a bird")]

    def answers(batch: list[Any]) -> list[str]:
        return [text(task.assemble([task.finish([output], plan)], True)) for output in task.forward(batch, plan)]

    alone = [answers([part])[0] for part in (task.prepare(row, plan)[0] for row in ("the cat", "a dog", "a bird"))]
    parts[1] = replace(parts[1], watch=Watch(stopped=True))
    together = answers(parts)
    assert (together[0], together[2]) == (alone[0], alone[2])
    assert len(together[1]) < len(alone[1])


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (job("classify", "good"), UnsupportedTask),
        (job("text-generation", "the cat", num_beams=2), InvalidParams),
        (job("summarization", "the cat"), InvalidParams),  # its checkpoint says two beams
        (job("completions", {"prompt": "the cat", "n": 2, "max_tokens": 2}), InvalidParams),
    ],
    ids=["no text", "beams", "the checkpoint's beams", "n"],
)
def test_what_has_no_text_to_tell_is_refused(served: Served, asked: PredictJob, error: type[Exception]) -> None:
    """Other tasks, beams and several answers: the message says what to leave out."""
    with pytest.raises(error, match="stream"):
        told(served, asked)
