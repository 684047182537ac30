"""warmlane beside its peers: 64 callers, one text a job, the same model, in one run and in rounds.

    python -m benchmarks.peers --peers DIR [--mlflow PYTHON] [--models minilm distilbert tiny] [--rounds 3]

Beside it: a plain Dramatiq actor that calls the pipeline for each message, LitServe and Ray Serve with batches of 32,
MLflow's scoring server, each with as many workers as there are cores and one torch thread a worker; the bare pipeline
one text at a time; and the best that can be done by hand with 64 texts at a time. The machine is shared, so read rows
per CPU second of a system's own processes (Redis apart, callers never), and ratios. The peers are installed into
`DIR/env`; what does not install, start or answer is left out, and told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.measure import call_all, cpu_seconds, peak_bytes, quantile, texts
from benchmarks.peers_cases import CASES, Case
from benchmarks.peers_env import ROOT, interpreter
from benchmarks.peers_systems import System, start

CALLERS = 64
DIRECT = {"bare pipeline": "one", "direct, sorted": "best"}
NAMES = {"dramatiq": "Dramatiq", "litserve": "LitServe", "ray": "Ray Serve"}
SERVERS = ("warmlane", "Dramatiq", "LitServe", "Ray Serve", "MLflow")


@dataclass
class Found:
    """What was measured of one system: rows per CPU second and per second, a round each; Redis' CPU milliseconds a row;
    latencies of all rounds in seconds; peak memory in bytes."""

    cpu_rates: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    redis_ms: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    peak: int = 0
    note: str = ""

    @property
    def cpu_rate(self) -> float:
        return statistics.median(self.cpu_rates)


class ByHand:
    """`benchmarks.peers_direct` in a process of its own."""

    def __init__(self, case: Case, directory: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.peers_direct", str(directory), case.task]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, how: str, rows: Sequence[str], found: Found) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"how": how, "rows": list(rows)}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        found.cpu_rates.append(len(rows) / said["cpu_s"])
        found.rates.append(len(rows) / said["wall_s"])
        found.peak = peak_bytes(self.process.pid)
        found.note = f" {said['budget']} tokens" if how == "best" else ""

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


async def measure(system: System, rows: Sequence[str], found: Found) -> None:
    """One round of a server."""
    async with system.asking() as ask:
        await call_all(ask, rows[:CALLERS], CALLERS)  # connected, and warm
        cpu, began = cpu_seconds(system.root), time.perf_counter()
        queue = cpu_seconds(system.redis) if system.redis else 0.0
        found.latencies += await call_all(ask, rows, CALLERS)
        found.rates.append(len(rows) / (time.perf_counter() - began))
        found.cpu_rates.append(len(rows) / (cpu_seconds(system.root) - cpu))
        if system.redis:
            found.redis_ms.append(1000 * (cpu_seconds(system.redis) - queue) / len(rows))
    found.peak = peak_bytes(system.root)


def run_case(case: Case, options: argparse.Namespace, python: Path, console: Console) -> dict[str, Found]:
    """All systems with one model."""
    rows = texts(case.rows)
    found: dict[str, Found] = {name: Found() for name in DIRECT}
    with tempfile.TemporaryDirectory(prefix="wlp-") as home:
        directory = case.make(Path(home))
        by_hand = ByHand(case, directory)
        systems: list[System] = []
        try:
            for name in options.systems:
                own = Path(home) / name.replace(" ", "")
                own.mkdir()
                try:
                    systems.append(start(name, case, directory, own, python, options.mlflow))
                except RuntimeError as exc:
                    console.print(f"{name} is left out: {exc}")
            for number in range(options.rounds):
                for name, how in DIRECT.items():
                    by_hand.measure(how, rows, found[name])
                for system in systems[number % len(systems) :] + systems[: number % len(systems)]:
                    try:
                        asyncio.run(measure(system, rows, found.setdefault(system.name, Found())))
                    except httpx.HTTPError as exc:  # of a peer; it counts by the rounds that it has answered
                        console.print(f"{system.name} gives up in round {number + 1}: {type(exc).__name__}")
                        systems.remove(system)
                        system.stop()
        finally:
            by_hand.stop()
            for system in systems:
                system.stop()
    return {name: one for name, one in found.items() if one.rates}


def report(console: Console, case: Case, found: dict[str, Found], rounds: int) -> None:
    ours = found["warmlane"]
    title = f"{case.name}: {CALLERS} callers, {case.rows} texts of 5 to 128 tokens, median of {rounds} rounds"
    table = Table(title=title)
    for column in ("system", "rows/CPU s", "rows/s", "p50 ms", "p99 ms", "Redis ms", "MB", "ours/", "aim"):
        table.add_column(column, justify="left" if column == "system" else "right", no_wrap=True)
    for name, one in found.items():
        aim = case.aims.get(name)
        table.add_row(
            name + one.note,
            f"{one.cpu_rate:.1f}",
            f"{statistics.median(one.rates):.1f}",
            quantile(one.latencies, 0.5),
            quantile(one.latencies, 0.99),
            f"{statistics.median(one.redis_ms):.2f}" if one.redis_ms else "",
            f"{one.peak / 1e6:.0f}",
            "" if one is ours else f"{ours.cpu_rate / one.cpu_rate:.2f}",
            "" if aim is None else f"{aim:g}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="where the peers' environment is, or is made")
    parser.add_argument("--mlflow", type=Path, help="a Python that has MLflow, as `make interop` makes one")
    parser.add_argument("--models", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--systems", nargs="+", default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=120)
    python, lacking = interpreter(options.peers)
    left_out = {NAMES[package]: why for package, why in lacking.items()}
    if options.mlflow is None:
        left_out["MLflow"] = "no --mlflow was given"
    for name, why in left_out.items():
        console.print(f"{name} is left out: {why}")
    options.systems = [name for name in options.systems if name not in left_out]
    for case in CASES:
        if case.name in options.models:
            report(console, case, run_case(case, options, python, console), options.rounds)


if __name__ == "__main__":
    main()
