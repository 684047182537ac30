"""What the lane costs: jobs per second and latency through the queue, beside the bare pipeline in this process.

    python -m benchmarks.lane [--texts 512]

Everything is measured in one run on one machine, side by side and in rounds, because these machines are shared: read
the ratios. The direct runs see the same texts with the same number of torch threads; the best one sorts the 64 texts
that a queue with 64 callers sees and cuts them by padded tokens (it tries several budgets and keeps the best).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Run, call_all, cpu_seconds, quantile, texts
from tests.fleet import Fleet, minilm
from warmlane import AsyncClient

CALLERS = 64
#: How long a worker has nothing to do before a job comes, in seconds, and how often.
IDLE_S = 3.0
IDLE_JOBS = 5
BUDGETS = (256, 512, 1024)


async def queue_run(fleet: Fleet, model: str, rows: Sequence[str], callers: int, params: dict[str, Any]) -> Run:
    """So many callers, each sending the next row as soon as its last is answered."""
    pid = fleet.children()[0]
    async with AsyncClient(settings=fleet.settings) as client:

        async def ask(row: str) -> Any:
            return await client.predict(model, row, params=params).result(timeout=120)

        await ask(rows[0])  # connect, warm
        cpu, began = cpu_seconds(pid), time.perf_counter()
        latencies = await call_all(ask, rows, callers)
        wall = time.perf_counter() - began
    return Run(len(rows) / wall, latencies, len(rows) / max(1e-9, cpu_seconds(pid) - cpu))


async def after_idle(fleet: Fleet, jobs: int) -> Run:
    """One job after each pause: how long until a worker has taken it up, by the server's clock in whole ms."""
    pickups = []
    async with AsyncClient(settings=fleet.settings) as client:
        for _ in range(jobs):
            await asyncio.sleep(IDLE_S)
            job = client.predict("echo", "now")
            await job.result(timeout=60)
            status = await job.status()
            pickups.append(status.attempts[0].started - status.queued)
    return Run(0.0, pickups)


class Direct:
    """The bare pipeline, and the best that can be done with the model by hand."""

    def __init__(self) -> None:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.torch = torch
        self.pipe = pipeline("feature-extraction", model=str(minilm()))

    def _pool(self, hidden: Any, mask: Any) -> Any:
        summed = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # (batch, hidden)
        return self.torch.nn.functional.normalize(summed, dim=-1).numpy()

    def one_by_one(self, rows: Sequence[str]) -> Run:
        latencies = []
        for row in rows:
            began = time.perf_counter()
            hidden = self.pipe(row, return_tensors=True)  # (1, tokens, hidden)
            self._pool(hidden, self.torch.ones(hidden.shape[:2]))
            latencies.append(time.perf_counter() - began)
        return Run(len(rows) / sum(latencies), latencies)

    def batches_of_32(self, rows: Sequence[str]) -> None:
        for hidden in self.pipe(list(rows), batch_size=32, return_tensors=True):
            self._pool(hidden, self.torch.ones(hidden.shape[:2]))

    def sorted_windows(self, rows: Sequence[str], budget: int) -> None:
        """64 at a time: tokenise, sort by length, cut by padded tokens."""
        for at in range(0, len(rows), CALLERS):
            encoded = [self.pipe.tokenizer(row) for row in rows[at : at + CALLERS]]
            encoded.sort(key=lambda item: len(item["input_ids"]))
            batch: list[Any] = []
            for item in encoded:
                if batch and (len(batch) + 1) * len(item["input_ids"]) > budget:
                    self._forward(batch)
                    batch = []
                batch.append(item)
            self._forward(batch)

    def _forward(self, batch: list[Any]) -> None:
        inputs = self.pipe.tokenizer.pad(batch, return_tensors="pt")
        with self.torch.inference_mode():
            self._pool(self.pipe.model(**inputs)[0], inputs["attention_mask"])


def timed(work: Callable[[], None], rows: int) -> Run:
    began = time.perf_counter()
    work()
    return Run(rows / (time.perf_counter() - began))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = texts(options.texts)
    console = Console()
    runs: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(prefix="wl-") as home, Fleet(Path(home)) as fleet:
        fleet.start_worker()
        with fleet.client() as client:
            client.save("minilm", minilm()).result(timeout=60)
            client.load("minilm", pin=True).result(timeout=60)
        direct = Direct()
        pooled = {"pooling": "mean", "normalize": True}
        measures: dict[str, Callable[[], Run]] = {
            "no-op, 1 caller": lambda: asyncio.run(queue_run(fleet, "echo", rows, 1, {})),
            f"pickup after {IDLE_S:g} s": lambda: asyncio.run(after_idle(fleet, IDLE_JOBS)),
            "no-op, 64 callers": lambda: asyncio.run(queue_run(fleet, "echo", rows * 4, CALLERS, {})),
            "MiniLM, 1 caller": lambda: asyncio.run(queue_run(fleet, "minilm", rows, 1, pooled)),
            "MiniLM, 64 callers": lambda: asyncio.run(queue_run(fleet, "minilm", rows, CALLERS, pooled)),
            "bare pipeline, one by one": lambda: direct.one_by_one(rows),
            "bare pipeline, batches of 32": lambda: timed(lambda: direct.batches_of_32(rows), len(rows)),
            **{
                f"direct, sorted, {budget} tokens": lambda budget=budget: timed(
                    lambda: direct.sorted_windows(rows, budget), len(rows)
                )
                for budget in BUDGETS
            },
        }
        for _ in range(options.rounds):
            for name, measure in measures.items():
                runs.setdefault(name, []).append(measure())
    report(console, runs, options)


def report(console: Console, runs: dict[str, list[Run]], options: argparse.Namespace) -> None:
    rate = {name: statistics.median(run.rate for run in found) for name, found in runs.items()}
    bare = rate["bare pipeline, one by one"]
    table = Table(title=f"{options.texts} texts of 5 to 128 tokens, median of {options.rounds} rounds")
    for column in ("run", "rows/s", "p50 ms", "p99 ms", "rows per worker CPU s", "x bare pipeline"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, found in runs.items():
        latencies = [latency for run in found for latency in run.latencies]
        cpu = [run.cpu_rate for run in found if run.cpu_rate is not None]
        table.add_row(
            name,
            f"{rate[name]:.1f}" if rate[name] else "",
            quantile(latencies, 0.5),
            quantile(latencies, 0.99),
            f"{statistics.median(cpu):.1f}" if cpu else "",
            f"{rate[name] / bare:.2f}" if name.startswith(("MiniLM", "bare", "direct")) else "",
        )
    console.print(table)
    best = max(rate[f"direct, sorted, {budget} tokens"] for budget in BUDGETS)
    lane = rate["MiniLM, 64 callers"]
    later_ms = 1000 * (p50(runs["MiniLM, 1 caller"]) - p50(runs["bare pipeline, one by one"]))
    pickup_ms = 1000 * p50(runs[f"pickup after {IDLE_S:g} s"])
    console.print(f"64 callers / bare pipeline one by one: {lane / bare:.2f} (budget: at least 1)")
    console.print(f"64 callers / best direct run that sees the same 64: {lane / best:.2f} (budget: at least 0.95)")
    console.print(f"one caller, later than the bare call at p50: {later_ms:.1f} ms (budget: at most 5)")
    console.print(f"a job after {IDLE_S:g} s without any, taken up at p50 after: {pickup_ms:.0f} ms (budget: under 5)")


def p50(found: Sequence[Run]) -> float:
    """Of the latencies of all rounds, in seconds."""
    return statistics.median(latency for run in found for latency in run.latencies)


if __name__ == "__main__":
    main()
