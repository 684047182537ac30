"""Tiny adapters of one base, served in this process, and asked all at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from peft import LoraConfig, get_peft_model

from tests import tiny
from tests.inprocess import Records, Served
from warmlane.budget import BatchBudget
from warmlane.jobs import LoadJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine.batcher import Lane, Row

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


def add(served: Served, name: str, task: str, checkpoint: Path, config: Any, seed: int = 0) -> None:
    """Save an adapter of a checkpoint; what it trains is moved, so that no two adapters answer alike."""
    pipeline: Any = transformers.pipeline
    base = pipeline(task, model=str(checkpoint), device="cpu").model
    served.add(name, task, {"model": moved(base, config, seed), "tokenizer": tiny.tokenizer(checkpoint)})


def moved(base: Any, config: Any, seed: int) -> Any:
    """A base with an adapter that is clearly not the one that PEFT starts with, and another for each seed."""
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


def at_once(served: Served, asks: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each answers; the device begins when the rows of all wait for it, so that they meet in batches."""
    go, batcher = threading.Event(), served.engine.batcher

    def hold(batch: list[Any]) -> list[Any]:
        assert go.wait(60)
        return batch

    def waiting() -> int:
        with batcher._changed:
            return sum(len(lane.by_length) for lane in batcher._lanes.values())

    for _ in range(served.engine.device.streams):
        batcher.submit(Lane(object(), hold, BatchBudget(1)), [Row(None, 1)])
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
