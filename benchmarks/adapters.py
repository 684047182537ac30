"""Many LoRA adapters over one base: what they take of memory, how fast they load, what a mixed batch costs.

    python -m benchmarks.adapters [--adapters 100] [--rounds 9]

MiniLM, rank 8 on query and value. Memory is resident bytes of this process, after the adapters are loaded, beside that
of as many full copies (computed from one). A mixed batch is 32 texts of 16 adapters, run beside the same texts of one
adapter; the two take turns, round by round, each by the device's own path, with one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table

from benchmarks.cache import MB, resident
from tests import tiny
from tests.fleet import minilm
from tests.inprocess import Records, Served
from warmlane.jobs import LoadJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine.mixing import Part

TEXTS = 32
MIXED = 16


def store_adapters(served: Served, count: int) -> None:
    """Save adapters that differ, each as a model of its own, over the same checkpoint."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm())
    base = transformers.AutoModel.from_pretrained(minilm())
    model: Any = get_peft_model(base, LoraConfig(r=8, target_modules=["query", "value"], init_lora_weights=False))
    for number in range(count):
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.02)
        served.add(f"adapter-{number}", "feature-extraction", {"model": model, "tokenizer": tokenizer})


def load(served: Served, name: str) -> tuple[dict[str, Any], float]:
    """The report of a load, and its seconds."""
    began = time.perf_counter()
    report = served.engine.load(LoadJob(model=name), JobContext(Records(), "0" * 32, 1))  # type: ignore[arg-type]
    return report, time.perf_counter() - began


def parts(served: Served, texts: list[str], adapters: int) -> list[Part]:
    """The texts as rows of so many adapters, in turns, by ascending length."""
    loaded = [entry.value for entry in served.engine.cache.entries() if entry.below][:adapters]
    made: list[Part] = []
    for number, text in enumerate(texts):
        owner = loaded[number % adapters]
        task = owner.task
        assert task is not None
        plan = task.plan({})
        made += [Part(owner, task, plan, prepared) for prepared in task.prepare(text, plan)]
    return sorted(made, key=lambda part: part.prepared.length)


def compare(served: Served, rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of a batch of one adapter and of many, round by round."""
    texts = tiny.texts(TEXTS, longest=40, seed=1)
    one, many = parts(served, texts, 1), parts(served, texts, MIXED)
    mix, make = many[0].owner.mix, served.engine._make_task
    assert mix is not None
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for times, batch in zip(seconds, (one, many), strict=True):
            began = time.process_time()
            mix.run(batch, make)
            if turn:  # the first makes what the others find made
                times.append(time.process_time() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wl-") as home, Served(Path(home), roots=(minilm(),)) as served:
        store_adapters(served, options.adapters)
        torch.set_num_threads(1)
        first, cold_s = load(served, "adapter-0")
        before = resident(os.getpid())
        loads = [load(served, f"adapter-{number}") for number in range(1, options.adapters)]
        grown = resident(os.getpid()) - before
        one, many = compare(served, options.rounds)
    table = Table(title=f"{options.adapters} adapters of MiniLM", show_header=False)
    copy = first["base_bytes"]
    table.add_row("the base, MB", f"{copy / MB:.1f}")
    table.add_row("an adapter: weights, MB", f"{first['bytes'] / MB:.2f}")
    table.add_row("an adapter: resident, MB", f"{grown / len(loads) / MB:.2f}")
    table.add_row("all adapters and the base, MB", f"{(copy + grown * options.adapters / len(loads)) / MB:.0f}")
    table.add_row("as many full copies, MB (computed)", f"{options.adapters * (copy + first['bytes']) / MB:.0f}")
    times = sorted(seconds for _, seconds in loads)
    table.add_row("load with the base, ms", f"{cold_s * 1e3:.0f}")
    table.add_row(
        "load on the warm base, ms: median, most", f"{statistics.median(times) * 1e3:.0f}, {times[-1] * 1e3:.0f}"
    )
    ratios = [b / a for a, b in zip(one, many, strict=True)]
    table.add_row(f"{TEXTS} texts of one adapter, CPU ms", f"{statistics.median(one) * 1e3:.1f}")
    table.add_row(f"{TEXTS} texts of {MIXED} adapters, CPU ms", f"{statistics.median(many) * 1e3:.1f}")
    table.add_row(
        "ratio: median, least, most", f"{statistics.median(ratios):.2f}, {min(ratios):.2f}, {max(ratios):.2f}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
