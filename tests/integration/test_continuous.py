"""Texts that join and leave batches that run: transformers' continuous batching beside plain `generate`, in process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny_text
from tests.inprocess import Records, Served, seeded
from warmlane.errors import JobCancelled, JobExpired
from warmlane.jobs import PredictJob
from warmlane_workers.engine import continuous, running, steady, telling
from warmlane_workers.engine.device import measure
from warmlane_workers.engine.loaded import Loaded
from warmlane_workers.engine.running import RunningBatch
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.observer import Batch, Observer
from warmlane_workers.tasks.text_generation import TextGeneration

GREEDY: dict[str, Any] = {"do_sample": False}
PROMPTS = ["the cat", "a", "very big red bird under the old tree", "one stone " * 9, "dog", "the night and the river"]


class Seen(Observer):
    """What the engine told."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.steady: list[bool] = []

    def batch(self, batch: Batch) -> None:
        self.batches.append(batch)

    def began_running(self, model: str, *, steady: bool) -> None:
        self.steady.append(steady)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved once: `gpt2` with a table of positions, `llama` without, and a chat."""
    root = tmp_path_factory.mktemp("continuous")
    with Served(root) as served:
        served.add("gpt2", "text-generation", seeded(tiny_text.text_generation))
        served.add("llama", "text-generation", seeded(tiny_text.endless_generation))
        made = seeded(tiny_text.endless_generation)
        for part in made.values():
            part.save_pretrained(root / "completions")
        served.add_directory("completions", root / "completions", "llm/v1/completions")
        made["tokenizer"].chat_template = "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
        served.add("chat", "conversational", made)
    return root


@pytest.fixture(scope="module")
def watcher() -> Seen:
    return Seen()


@pytest.fixture(scope="module")
def served(models: Path, watcher: Seen) -> Iterator[Served]:
    """Most tests share it; of the batches that run in it, all are seen to be steady."""
    with Served(models, observer=watcher) as served:
        yield served
    assert all(watcher.steady)


@pytest.fixture
def seen(watcher: Seen) -> Seen:
    """What the shared one has told since the test began."""
    watcher.batches.clear()
    return watcher


@pytest.fixture
def news() -> Seen:
    return Seen()


@pytest.fixture
def fresh(models: Path, news: Seen) -> Iterator[Served]:
    """For a test that changes it: nothing is in memory, and what happens is in `news`."""
    with Served(models, observer=news) as served:
        yield served


def job(model: str, row: Any, *, stream: bool = False, **params: Any) -> PredictJob:
    return PredictJob(model=model, inputs=row, params=params, dtype="float32", stream=stream)


def loaded(served: Served, model: str) -> Loaded:
    """What is in memory of a model."""
    entry = served.engine.cache.newest(lambda key: key.name == model)
    assert entry is not None
    return entry.value


def batch_of(served: Served, model: str, *, sampled: bool = False) -> RunningBatch:
    """The batch that a model's texts run in."""
    return loaded(served, model).running[sampled]


def alone(served: Served, model: str, prompt: str, **settings: Any) -> str:
    """What plain `generate` makes of a prompt, with nobody else there."""
    value = loaded(served, model)
    ids = value.components["tokenizer"](prompt, return_tensors="pt")
    found = value.components["model"].generate(**ids, **settings)
    return str(value.components["tokenizer"].decode(found[0], skip_special_tokens=True))


def asked_for(count: int) -> list[tuple[str, int]]:
    """Prompts of all lengths, with as many lengths of answers."""
    return [(PROMPTS[number % len(PROMPTS)], 3 + 5 * number % 23) for number in range(count)]


# -- the same answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_texts_that_come_and_go_are_those_of_generate(served: Served, seen: Seen, model: str) -> None:
    """Greedy, sixteen at a time, each with a length of its own: they meet in one batch, and nobody can tell."""
    rows = asked_for(24)

    def ask(row: tuple[str, int]) -> str:
        (text,) = served.answer(job(model, row[0], max_new_tokens=row[1], **GREEDY))
        return str(text)

    with ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(ask, rows))
    assert texts == [alone(served, model, prompt, max_new_tokens=most, **GREEDY) for prompt, most in rows]
    assert max(batch.rows for batch in seen.batches) > 4


def test_rows_of_one_job_share_a_batch(served: Served, seen: Seen) -> None:
    """A list of prompts is answered in order."""
    texts = served.answer(job("llama", PROMPTS, max_new_tokens=9, **GREEDY))
    assert texts == [alone(served, "llama", prompt, max_new_tokens=9, **GREEDY) for prompt in PROMPTS]
    assert max(batch.rows for batch in seen.batches) == len(PROMPTS)


def test_a_token_that_ends_an_answer_ends_its_row_alone(served: Served) -> None:
    """Whichever token is the end: it is the last of the answer, as `generate` has it."""
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    for end in range(60, 65):
        settings = {"max_new_tokens": 30, "eos_token_id": [end, end + 100, end + 200], **GREEDY}
        texts = served.answer(job("llama", PROMPTS[:3], **settings))
        assert texts == [alone(served, "llama", prompt, pad_token_id=0, **settings) for prompt in PROMPTS[:3]]


def test_forwards_of_others_leave_a_running_batch_alone(served: Served) -> None:
    """Beams run in the device threads, over the same weights, while a batch runs: neither changes the other."""
    beams = {"num_beams": 2, "max_new_tokens": 12, **GREEDY}
    rows = [beams if number % 2 else {"max_new_tokens": 40, **GREEDY} for number in range(12)]
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda params: served.answer(job("llama", "the cat", **params))[0], rows))
    wanted = [alone(served, "llama", "the cat", **params) for params in rows[:2]]
    assert texts == wanted * 6


def test_tokens_are_drawn_as_each_row_says(served: Served, seen: Seen) -> None:
    """Of one batch, who draws among one token has the likeliest; who draws hot among all has something else."""
    certain, wild = {"top_k": 1}, {"temperature": 50.0, "top_k": 0}
    rows = [{**(wild if number % 2 else certain), "do_sample": True, "max_new_tokens": 20} for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        texts = list(pool.map(lambda params: served.answer(job("llama", "the cat", **params))[0], rows))
    assert set(texts[::2]) == {alone(served, "llama", "the cat", max_new_tokens=20, **GREEDY)}
    assert len(set(texts[1::2])) == 6
    assert max(batch.rows for batch in seen.batches) > 4


def test_a_conversation_runs(served: Served) -> None:
    """Its answer is the bare pipeline's."""
    answer = served.answer(job("chat", "the cat", max_new_tokens=8, **GREEDY))
    said = served_bare(served, "chat", "the cat", max_new_tokens=8, **GREEDY)
    assert answer == said
    assert batch_of(served, "chat").runs


def served_bare(served: Served, model: str, prompt: str, **settings: Any) -> str:
    """What a model's own task says with static batches."""
    value = loaded(served, model)
    task: Any = value.task
    plan = task.plan(settings)
    (part,) = task.prepare(prompt, plan)
    return str(task.assemble([task.finish(task.forward([part], plan), plan)], True))


def test_a_stop_text_ends_a_row_of_a_running_batch(served: Served) -> None:
    """In OpenAI's shape: the text before it, the tokens that it took, and why it ended."""
    served.answer(job("completions", {"prompt": "the cat", "max_tokens": 40, "temperature": 0}))
    request = {"prompt": "the cat", "max_tokens": 40, "temperature": 0}
    (whole,) = served.answer(job("completions", request))
    text = whole["choices"][0]["text"]
    stop = text[len(text) // 2 :][:6]
    (answer,) = served.answer(job("completions", {**request, "stop": [stop]}))
    assert answer["choices"][0]["text"] == text[: text.index(stop)]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"] == 40
    assert batch_of(served, "completions").runs


# -- coming and going ------------------------------------------------------------------------------------------------


class Listening(Records):
    """A job that streams, and says when its first piece is there."""

    def __init__(self, cancel_at: int | None = None) -> None:
        super().__init__(cancel_at)
        self.began = threading.Event()

    def run(self, op: Any) -> bool:
        cancelled = super().run(op)
        if self.pieces:
            self.began.set()
        return cancelled


def test_a_short_text_does_not_wait_for_a_long_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes later and ends first; the long one's pieces are its answer."""
    monkeypatch.setattr(telling, "PACE_S", 0.0)
    long, records = job("llama", "the cat", stream=True, max_new_tokens=600, **GREEDY), Listening()
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    with ThreadPoolExecutor(1) as pool:
        telling_long = pool.submit(served.told, long, records)
        assert records.began.wait(30)
        served.answer(job("llama", "a dog", max_new_tokens=3, **GREEDY))
        assert not telling_long.done()
        (text,) = telling_long.result(120)
    assert "".join(piece.text for piece in records.pieces) == text


def test_a_cancelled_row_leaves_and_its_room_is_free(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that each want most of the room: the second comes in when the first was cancelled between two tokens."""
    monkeypatch.setattr(telling, "PACE_S", 0.0)
    most = job("llama", "the cat", stream=True, max_new_tokens=3900, **GREEDY)
    short = replace(most, params={"max_new_tokens": 20, **GREEDY}, stream=False)
    first, second = Listening(cancel_at=3), Listening(cancel_at=2)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(served.told, most, records) for records in (first, second)]
        assert first.began.wait(30)
        for ended in both:
            with pytest.raises(JobCancelled):
                ended.result(60)
    assert served.answer(short) == [alone(served, "llama", "the cat", max_new_tokens=20, **GREEDY)]


def test_a_deadline_ends_a_row_between_two_tokens(served: Served) -> None:
    """The job is expired when its time is up, and the batch goes on for others."""
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    context = JobContext(Records(), "0" * 32, 1, left_s=0.3)  # type: ignore[arg-type]
    with pytest.raises(JobExpired):
        served.engine.predict(job("llama", "the cat", max_new_tokens=3900, **GREEDY), context)
    assert len(served.answer(job("llama", PROMPTS, max_new_tokens=3, **GREEDY))) == len(PROMPTS)


# -- where it does not run --------------------------------------------------------------------------------------------


def test_a_model_that_answers_otherwise_there_has_static_batches(
    fresh: Served, news: Seen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A twin with other weights gives other tokens: it is seen before anybody has them, and said once."""

    def shifted(model: Any) -> Any:
        other = running_twin(model)
        other.lm_head = torch.nn.Linear(other.lm_head.in_features, other.lm_head.out_features, bias=False)
        return other

    running_twin = running.twin
    monkeypatch.setattr(running, "twin", shifted)
    rows = asked_for(6)
    with caplog.at_level(logging.WARNING):
        texts = [fresh.answer(job("llama", prompt, max_new_tokens=most, **GREEDY))[0] for prompt, most in rows]
    assert texts == [alone(fresh, "llama", prompt, max_new_tokens=most, **GREEDY) for prompt, most in rows]
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["unsteady"]
    assert (news.steady, loaded(fresh, "llama").running) == ([False], {})


def test_rows_of_a_batch_that_breaks_go_elsewhere(
    fresh: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After some steps its forward fails: whoever is in it, or waits, has his answer all the same."""
    steps = iter(range(40))

    def fragile(model: Any) -> Any:
        other = running_twin(model)
        forward = other.forward

        def step(*args: Any, **kwargs: Any) -> Any:
            if next(steps, None) is None:
                raise ZeroDivisionError("a step that fails")
            return forward(*args, **kwargs)

        other.forward = step
        return other

    running_twin = running.twin
    monkeypatch.setattr(running, "twin", fragile)
    texts = fresh.answer(job("llama", PROMPTS, max_new_tokens=40, **GREEDY))
    assert texts == [alone(fresh, "llama", prompt, max_new_tokens=40, **GREEDY) for prompt in PROMPTS]
    assert next(steps, None) is None
    assert loaded(fresh, "llama").unsteady


def test_one_row_that_cannot_be_told_fails_alone(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of a row's tokens raises: the error is its job's, and the next row runs."""
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))

    def fails(*args: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(TextGeneration, "so_far", fails)
    with pytest.raises(ZeroDivisionError):
        served.answer(job("llama", "the cat", max_new_tokens=3, **GREEDY))
    monkeypatch.undo()
    served.answer(job("llama", "the cat", max_new_tokens=3, **GREEDY))
    assert batch_of(served, "llama").runs


def test_a_text_too_long_for_the_batch_is_generated_beside_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tokens than the whole batch has room for: a static batch has no such bound."""
    monkeypatch.setattr(continuous, "_LEAST", 64)
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    rows = dict.fromkeys((250, 270), "the cat")
    texts = [served.answer(job("llama", prompt, max_new_tokens=most, **GREEDY))[0] for most, prompt in rows.items()]
    assert texts == [alone(served, "llama", prompt, max_new_tokens=most, **GREEDY) for most, prompt in rows.items()]


def test_the_operator_can_do_without(models: Path, news: Seen) -> None:
    """Switched off, there is no batch that runs, and the same texts."""
    with Served(models, observer=news, continuous_batching=False) as served:
        texts = served.answer(job("llama", PROMPTS, max_new_tokens=9, **GREEDY))
        assert texts == [alone(served, "llama", prompt, max_new_tokens=9, **GREEDY) for prompt in PROMPTS]
        assert (news.steady, loaded(served, "llama").running) == ([], {})


# -- memory ----------------------------------------------------------------------------------------------------------


def test_its_keys_and_values_count_while_it_runs(fresh: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is told to be larger by them; when nobody has come for a while, the batch is gone and so are they."""
    fresh.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    (entry,) = fresh.engine.cache.entries()
    weights, batch = measure(entry.value.components["model"]), batch_of(fresh, "llama")
    config = entry.value.components["model"].config
    assert entry.bytes - weights > 2 * config.num_hidden_layers * config.hidden_size * 4 * 4000
    monkeypatch.setattr(running, "LINGER_S", 0.0)
    batch.wait(30)
    assert (batch.runs, entry.bytes) == (False, weights)
    monkeypatch.undo()
    fresh.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    assert batch_of(fresh, "llama").runs


def test_without_room_in_the_budget_there_is_none(fresh: Served, news: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model itself takes the cache's budget, nothing is promised twice: static batches."""
    monkeypatch.setattr(continuous, "_SHARE", 1.0)
    fresh.answer(job("llama", "a", num_beams=2, max_new_tokens=2, **GREEDY))
    fresh.engine.cache.budget = measure(loaded(fresh, "llama").components["model"]) + 100_000
    fresh.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    assert (news.steady, loaded(fresh, "llama").running) == ([], {})


def test_a_model_that_leaves_takes_its_batch_along(fresh: Served) -> None:
    """Unloaded, no thread goes on with its weights; loaded again it has a batch of its own, looked at anew."""
    others = set(threading.enumerate())
    fresh.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    batch = batch_of(fresh, "llama")
    fresh.engine.unload("llama")
    assert not batch.runs
    assert "warmlane-running-llama" not in {thread.name for thread in set(threading.enumerate()) - others}
    fresh.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    assert batch_of(fresh, "llama") is not batch


def test_a_check_takes_the_likeliest_but_for_rounding(models: Path, served: Served) -> None:
    """The second likeliest token is another answer, in whichever type."""
    served.answer(job("llama", "a", max_new_tokens=2, **GREEDY))
    model = loaded(served, "llama").components["model"]
    ids = [5, 6, 7]
    with torch.inference_mode():
        first, second = model(torch.tensor([ids])).logits[0, -1].topk(2).indices.tolist()
    assert steady.likeliest(model, ids, [first])
    assert not steady.likeliest(model, ids, [second])
