"""Adapters of one base in memory: they share its weights, come and go by themselves, and answer as if they were alone.

Each answer is compared with that of the pipeline that the adapter was saved from, which shares nothing with the others.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers.models.bert.modeling_bert import BertIntermediate

from tests import tiny, tiny_seq2seq
from tests.inprocess import Records, Served
from tests.tiny_peft import METHODS
from warmlane.jobs import LoadJob
from warmlane_workers.engine import device, mixing
from warmlane_workers.engine.batcher import Lane, Row
from warmlane_workers.flavor import reading
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.pipelines.build import build_pipeline

CLASSIFIER, FEATURES, WRITER = tiny.TASKS
TEXTS = tiny.texts(12, longest=20, seed=3)
PROMPTS = tiny.texts(6, longest=8, seed=5)


def lora(rank: int = 4, targets: tuple[str, ...] = ("query", "value"), **options: Any) -> LoraConfig:
    return LoraConfig(r=rank, target_modules=list(targets), init_lora_weights=False, **options)


#: Adapters of each task that differ in rank, in what they change, and in whether they bring a head.
KINDS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    CLASSIFIER: {
        "narrow": lambda: lora(2, task_type="SEQ_CLS"),
        "wide": lambda: lora(8, task_type="SEQ_CLS"),
        "elsewhere": lambda: lora(4, ("key", "dense")),
        "headless": lambda: lora(4),
    },
    FEATURES: {"narrow": lambda: lora(2), "wide": lambda: lora(8), "elsewhere": lambda: lora(4, ("key", "dense"))},
    WRITER: {
        "narrow": lambda: lora(2, ("c_attn",), fan_in_fan_out=True, task_type="CAUSAL_LM"),
        "elsewhere": lambda: lora(8, ("c_fc",), fan_in_fan_out=True, task_type="CAUSAL_LM"),
    },
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {task: tiny.save(task, tmp_path_factory.mktemp(task)) for task in tiny.TASKS}


@pytest.fixture
def served(tmp_path: Path, checkpoints: dict[str, Path]) -> Iterator[Served]:
    with Served(tmp_path, roots=tuple(checkpoints.values())) as made:
        yield made


def add(served: Served, name: str, task: str, checkpoint: Path, config: Any, seed: int = 0) -> None:
    """Save an adapter of a checkpoint; what it trains is moved, so that no two adapters answer alike."""
    pipeline: Any = transformers.pipeline
    base = pipeline(task, model=str(checkpoint), device="cpu").model
    served.add(name, task, {"model": moved(base, config, seed), "tokenizer": tiny.tokenizer(checkpoint)})


def moved(base: Any, config: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    model: Any = get_peft_model(base, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def add_all(served: Served, task: str, checkpoint: Path) -> list[str]:
    for seed, (name, config) in enumerate(KINDS[task].items()):
        add(served, name, task, checkpoint, config(), seed)
    return list(KINDS[task])


def load(served: Served, name: str, **options: Any) -> Any:
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    return served.engine.load(LoadJob(model=name, dtype="float32", **options), context)


def close(answer: Any, expected: Any) -> bool:
    """Whether two answers are the same: texts letter by letter, numbers within 1e-5."""
    if isinstance(expected, dict):
        return set(answer) == set(expected) and all(close(answer[key], expected[key]) for key in expected)
    if isinstance(expected, str):
        return bool(answer == expected)
    if isinstance(expected, list) and expected and isinstance(expected[0], dict | str):
        return len(answer) == len(expected) and all(map(close, answer, expected))
    return numpy.allclose(numpy.asarray(answer), numpy.asarray(expected), atol=1e-5)


def answer(served: Served, task: str, name: str, text: str) -> Any:
    if task == WRITER:
        return served.predict(name, text, max_new_tokens=8, do_sample=False)[0]
    if task == FEATURES:
        return served.predict(name, text)
    return served.predict(name, text, top_k=3).rows()[0]


def alone(served: Served, task: str, name: str, text: str) -> Any:
    bare = served.bare[name]
    if task == WRITER:
        return bare(text, max_new_tokens=8, do_sample=False)[0]["generated_text"].strip()
    if task == FEATURES:
        return bare(text)[0]
    labels = bare(text, top_k=3)
    return {key: [label[key] for label in labels] for key in ("label", "score")}


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models the rows of each batch were of, where they were of several."""
    counts: list[int] = []
    together = mixing._together

    def counted(batch: Any, task: Any) -> Any:
        found = together(batch, task)
        counts.append(len({part.owner for part in batch}))
        return found

    monkeypatch.setattr(mixing, "_together", counted)
    return counts


def at_once(served: Served, asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each answers; the device begins when the rows of all wait for it, so that they meet in batches."""
    go, batcher = threading.Event(), served.engine._batcher

    def hold(batch: list[Any]) -> list[Any]:
        assert go.wait(60)
        return batch

    def waiting() -> int:
        with batcher._changed:
            return sum(len(lane.by_length) for lane in batcher._lanes.values())

    for _ in range(served.engine.device.streams):
        batcher.submit(Lane(object(), hold, 1), [Row(None, 1)])
    with ThreadPoolExecutor(len(asks)) as pool:
        jobs = [pool.submit(ask) for ask in asks]
        while waiting() < len(asks) and not any(job.done() for job in jobs):
            threading.Event().wait(0.001)
        go.set()
        return [job.result(60) for job in jobs]


def ask_together(served: Served, task: str, names: list[str], texts: list[str]) -> dict[tuple[str, str], Any]:
    """Every text to every model at the same time."""
    keys = [(name, text) for text in texts for name in names]
    found = at_once(served, [functools.partial(answer, served, task, *key) for key in keys])
    return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("task", tiny.TASKS)
def test_adapters_answer_in_any_mix_as_alone(
    served: Served, checkpoints: dict[str, Path], task: str, mixed: list[int]
) -> None:
    """Of different ranks, different layers, with heads and without, beside their bare base."""
    names = add_all(served, task, checkpoints[task])
    served.add_directory("bare", checkpoints[task], task)
    served.bare["bare"] = transformers.pipeline(task, model=str(checkpoints[task]), device="cpu")  # type: ignore[call-overload]
    names.append("bare")
    texts = PROMPTS if task == WRITER else TEXTS
    for name in names:
        load(served, name)
    found = ask_together(served, task, names, texts)
    wrong = [key for key, got in found.items() if not close(got, alone(served, task, *key))]
    assert not wrong
    assert max(mixed) > 1


def test_a_base_is_read_once_and_counts_once(
    served: Served, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many adapters: each has its own bytes, and all tell the same base with the others that share it."""
    names = add_all(served, FEATURES, checkpoints[FEATURES])
    read, calls = reading.read_model, itertools.count()
    monkeypatch.setattr(reading, "read_model", lambda *args, **options: (next(calls), read(*args, **options))[1])
    reports = [load(served, name) for name in names]
    assert next(calls) == 1
    assert len({report["base"] for report in reports}) == 1
    assert reports[-1]["shared_with"] == sorted(f"{name}/1" for name in names[:-1])
    whole = reports[0]["base_bytes"]
    assert all(0 < report["bytes"] < whole / 3 for report in reports)
    assert sum(entry.bytes for entry in served.engine.cache.entries()) == whole + sum(
        report["bytes"] for report in reports
    )
    assert {(warm.model, warm.base, warm.base_bytes) for warm in served.engine.warm()} == {
        (report["model"], report["base"], whole) for report in reports
    }


def test_adapters_share_their_tokenizer(served: Served, checkpoints: dict[str, Path]) -> None:
    """Where its files say the same: a vocabulary takes more than an adapter does."""
    for name in add_all(served, FEATURES, checkpoints[FEATURES]):
        load(served, name)
    entries = [entry for entry in served.engine.cache.entries() if entry.below]
    assert len({id(entry.value.components["tokenizer"]) for entry in entries}) == 1


def test_an_adapter_stands_on_a_stored_model_that_is_its_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """The same files under a name of the store: they are told as the base, and unloaded by their name."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    load(served, "bare")
    assert load(served, "adapter")["base"] == "bare/1"
    assert [warm.base for warm in served.engine.warm()] == ["", "bare/1"]


def test_a_stored_model_stands_on_the_base_that_adapters_brought(served: Served, checkpoints: dict[str, Path]) -> None:
    """It takes nothing of its own then."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    base = load(served, "adapter")["base"]
    report = load(served, "bare")
    assert (report["base"], report["bytes"], report["shared_with"]) == (base, 0, ["adapter/1"])


def test_unloading_the_last_adapter_unloads_its_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """Nobody could unload it by a name; until then it stays for the others."""
    for name in add_all(served, FEATURES, checkpoints[FEATURES])[:2]:
        size = load(served, name)["base_bytes"]
    assert served.engine.unload("narrow") < size
    assert served.engine.unload("wide") > size
    assert served.engine.cache.entries() == []


def test_another_type_is_another_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """Weights of two types share nothing."""
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    single = load(served, "adapter")
    half = served.engine.load(LoadJob(model="adapter", dtype="bfloat16"), context)
    assert single["base"] != half["base"]


def test_a_base_returns_from_host_memory(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is parked when its last adapter has left; these are read again, and answer as before."""
    size = sum(path.stat().st_size for path in checkpoints[FEATURES].glob("*.safetensors"))
    place = dataclasses.replace(device.find("cpu"), cache_bytes=size * 3 // 2, host_bytes=9 * size)
    monkeypatch.setattr(device, "find", lambda name: place)
    with Served(tmp_path, roots=tuple(checkpoints.values())) as served:
        names = add_all(served, FEATURES, checkpoints[FEATURES])[:2]
        served.add_directory("other", checkpoints[CLASSIFIER], CLASSIFIER)
        before = {key: answer(served, FEATURES, *key) for key in [(name, TEXTS[0]) for name in names]}
        load(served, "other")
        assert [warm.model for warm in served.engine.warm()] == ["other/1"]
        monkeypatch.setattr(reading, "read_model", lambda *args, **options: pytest.fail("it was read"))
        assert all(close(answer(served, FEATURES, *key), expected) for key, expected in before.items())


def test_beams_are_mixed_too(served: Served, checkpoints: dict[str, Path], mixed: list[int]) -> None:
    """Where each row stands for several inside the model."""
    names = add_all(served, WRITER, checkpoints[WRITER])
    options: Any = {"num_beams": 3, "do_sample": False, "max_new_tokens": 6}
    keys = [(name, text) for text in PROMPTS[:3] for name in names]
    found = at_once(served, [functools.partial(served.predict, *key, **options) for key in keys])
    assert [texts[0] for texts in found] == [
        served.bare[name](text, **options)[0]["generated_text"].strip() for name, text in keys
    ]
    assert max(mixed) > 1


def test_an_encoder_decoder_mixes(served: Served, tmp_path: Path, mixed: list[int]) -> None:
    """Its encoder sees each row once, its decoder once a beam."""
    model, tokenizer = tiny_seq2seq.t5()
    checkpoint = tmp_path / "t5"
    model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    served.engine._loader._source_roots += (tmp_path,)
    names = ["one", "two"]
    for seed, name in enumerate(names):
        base = transformers.T5ForConditionalGeneration.from_pretrained(checkpoint)
        adapted = moved(base, lora(4, ("q", "v", "wo"), task_type="SEQ_2_SEQ_LM"), seed)
        components = {"model": adapted, "tokenizer": tokenizer}
        served.add_pipeline(name, build_pipeline({"task": "text2text-generation", **components}, None))
    keys = [(name, text) for text in TEXTS[:4] for name in names]
    options: Any = {"num_beams": 2, "max_new_tokens": 6}
    found = at_once(served, [functools.partial(served.predict, *key, **options) for key in keys])
    assert [texts[0] for texts in found] == [
        served.bare[name](text, **options)[0]["generated_text"].strip() for name, text in keys
    ]
    assert max(mixed) > 1


# -- methods that share less ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dora", "ia3", "prompt tuning", "prefix tuning"])
def test_other_methods_share_their_base_and_no_batches(
    served: Served, checkpoints: dict[str, Path], method: str, mixed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, and they answer as alone beside others."""
    add(served, "lora", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS"))
    add(served, "other", CLASSIFIER, checkpoints[CLASSIFIER], METHODS[method](), seed=1)
    with caplog.at_level(logging.INFO):
        assert load(served, "lora")["base"] == load(served, "other")["base"]
    assert [record.action for record in caplog.records if hasattr(record, "action")].count("unmixed") == 1
    found = ask_together(served, CLASSIFIER, ["lora", "other"], TEXTS[:6])
    assert all(close(got, alone(served, CLASSIFIER, *key)) for key, got in found.items())
    assert mixed == []


def test_an_adapter_that_writes_into_its_base_gets_one_of_its_own(
    served: Served, checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """LoRA that trained biases keeps them in the base's place: the log says so, and the others answer as before."""
    add(served, "lora", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS"))
    add(served, "biased", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS", bias="all"), seed=1)
    load(served, "lora")
    assert "base" not in load(served, "biased")
    assert "bias changes its base" in caplog.text
    for name in ("lora", "biased"):
        assert close(answer(served, CLASSIFIER, name, TEXTS[0]), alone(served, CLASSIFIER, name, TEXTS[0]))


def test_rows_that_a_model_lays_out_otherwise_are_run_by_adapter(
    served: Served, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a layer sees tokens before rows nobody can tell whose they are; the answers are right all the same."""

    def sideways(self: Any, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.intermediate_act_fn(self.dense(states.transpose(0, 1)))  # (tokens, rows, hidden)
        return found.transpose(0, 1)

    monkeypatch.setattr(BertIntermediate, "forward", sideways)
    names = ["narrow", "elsewhere"]
    for seed, name in enumerate(names):
        add(served, name, FEATURES, checkpoints[FEATURES], KINDS[FEATURES][name](), seed)
        load(served, name)
    found = ask_together(served, FEATURES, names, TEXTS)
    assert all(close(got, alone(served, FEATURES, *key)) for key, got in found.items())
    assert "no longer mixed" in caplog.text
