"""More models than fit: what a worker's memory does for minutes, while callers ask for ten of them by Zipf's law.

    python -m benchmarks.cache [--minutes 10]

Ten BERT models of 80 MB in a budget of 300 MB. Five have files in the type that they are served in, which are mapped;
five are converted as they load, into memory of their own. Resident memory must stay under what the worker took before
the first model, the budget, one model (room is made for what a file says) and a margin for batches and for what a load
takes on its way. The slope is that of a line through the samples of each half: a heap that fills its holes settles in
the first, a leak goes on in the second.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fleet import Fleet
from warmlane import AsyncClient
from warmlane.errors import WarmlaneError

MB = 1_000_000
BUDGET = 300 * MB
MODELS = 10
CALLERS = 8
#: What batches, and a load on its way, may take beside the budget and one model.
MARGIN = 100 * MB
SAMPLE_S = 0.25


@dataclass
class Traffic:
    """What the callers saw, and the worker's resident bytes by the second."""

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    resident: list[tuple[float, int]] = field(default_factory=list)


def resident(pid: int) -> int:
    """Bytes that a process has in memory, of its own and mapped."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def make_checkpoints(root: Path) -> tuple[Path, Path]:
    """An 80 MB model in float32, and the same as a file of half that size."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from tests import tiny

    tokenizer = tiny.word_tokenizer()
    config = BertConfig(
        vocab_size=20_000, hidden_size=512, num_hidden_layers=3, num_attention_heads=8, intermediate_size=2048
    )
    model = BertForSequenceClassification(config)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model.to(dtype).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root / "float32", root / "bfloat16"


async def drive(fleet: Fleet, pid: int, names: list[str], seconds: float) -> Traffic:
    """Callers that ask one after the other, each the next model by chance; the first of the list the most often."""
    found, chance = Traffic(), random.Random(7)
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    end = time.monotonic() + seconds

    async def call(client: AsyncClient) -> None:
        while time.monotonic() < end:
            [name] = chance.choices(names, weights)
            began = time.perf_counter()
            try:
                text = " ".join(chance.choices(("river", "stone", "house"), k=chance.randint(1, 60)))
                await client.predict(name, text, dtype="float32").result(timeout=120)
                found.latencies.append(time.perf_counter() - began)
            except WarmlaneError as exc:
                found.errors[exc.code] += 1

    async def watch() -> None:
        while time.monotonic() < end:
            found.resident.append((time.monotonic(), resident(pid)))
            await asyncio.sleep(SAMPLE_S)

    async with AsyncClient(settings=fleet.settings) as client:
        await asyncio.gather(watch(), *(call(client) for _ in range(CALLERS)))
    return found


def slope(samples: list[tuple[float, int]]) -> float:
    """Bytes a minute, of a straight line through samples of (seconds, bytes)."""
    times, sizes = zip(*samples, strict=True)
    return statistics.linear_regression(times, sizes).slope * 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        settings = {"WARMLANE_CACHE_BYTES": str(BUDGET)}
        with Fleet(Path(home), env=settings) as fleet:
            kinds = make_checkpoints(Path(home))
            fleet.start_worker()
            names = [f"model-{number}" for number in range(MODELS)]
            with fleet.client() as client:
                for number, name in enumerate(names):
                    client.save(name, kinds[number % 2]).result(timeout=120)
                # What torch takes at the first forward is the worker's, and not a model's.
                client.predict(names[0], "warm up", dtype="float32").result(timeout=120)
                client.unload(names[0]).result(timeout=60)
            [pid] = fleet.children()
            before = resident(pid)
            found = asyncio.run(drive(fleet, pid, names, options.minutes * 60))
            loads = fleet.log.read_text(errors="replace").count("loading model-")
    report(Console(), found, before, loads)


def report(console: Console, found: Traffic, before: int, loads: int) -> None:
    most = max(size for _, size in found.resident)
    half = len(found.resident) // 2
    slopes = [slope(found.resident[:half]) / MB, slope(found.resident[half:]) / MB]
    allowed = before + BUDGET + 80 * MB + MARGIN
    found.latencies.sort()
    table = Table(title=f"{MODELS} models of 80 MB in {BUDGET // MB} MB, {CALLERS} callers", show_header=False)
    table.add_row("jobs, of which failed", f"{len(found.latencies)}, {dict(found.errors) or 0}")
    table.add_row("loads", f"{loads}")
    table.add_row(
        "p50, p99 ms", ", ".join(f"{found.latencies[int(len(found.latencies) * q)] * 1e3:.0f}" for q in (0.5, 0.99))
    )
    table.add_row("resident before, MB", f"{before / MB:.0f}")
    table.add_row("resident at most, MB", f"{most / MB:.0f} (allowed: {allowed / MB:.0f})")
    table.add_row("slope in each half, MB a minute", "{:+.2f}, {:+.2f}".format(*slopes))
    console.print(table)
    if most > allowed or found.errors:
        raise SystemExit("resident memory left its bound, or jobs failed")


if __name__ == "__main__":
    main()
