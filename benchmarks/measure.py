"""What benchmarks measure with: texts of mixed length, many callers, and what a tree of processes has used."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_WORDS = ("the", "river", "runs", "past", "old", "stone", "houses", "while", "children", "play", "near", "markets")


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes:
        rate: rows per second of wall time.
        latencies: of each row in seconds; empty for direct runs.
        cpu_rate: rows per CPU second of whatever answers them.
    """

    rate: float
    latencies: Sequence[float] = ()
    cpu_rate: float | None = None


def texts(count: int) -> list[str]:
    """Texts of mixed length, 5 to 128 tokens, the same in each run."""
    chance = random.Random(7)
    return [" ".join(chance.choices(_WORDS, k=chance.randint(3, 120))) for _ in range(count)]


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that descend from it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its descendants have used, also those that have ended and were waited for."""
    total = 0.0
    for process in tree(pid):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_bytes(pid: int) -> int:
    """The sum of the largest resident memory that each process of a tree ever had; what they share counts for each."""
    total = 0
    for process in tree(pid):
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
        total += int(peak.split()[1]) * 1024
    return total


async def call_all(ask: Callable[[str], Awaitable[object]], rows: Sequence[str], callers: int) -> list[float]:
    """So many callers, each sending the next row as soon as its last is answered; each row's latency in seconds."""
    waiting, latencies = iter(rows), []

    async def call() -> None:
        for row in waiting:
            began = time.perf_counter()
            await ask(row)
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(call() for _ in range(callers)))
    return latencies


def quantile(values: Sequence[float], share: float) -> str:
    """In milliseconds, as text; "" of nothing."""
    return f"{sorted(values)[min(len(values) - 1, int(share * len(values)))] * 1000:.1f}" if values else ""
