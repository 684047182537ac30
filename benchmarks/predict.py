"""What a predict job costs over the bare pipeline's call, task by task, beside MLflow's pyfunc on the same directory.

    python -m benchmarks.predict [--mlflow PYTHON] [--rounds 3] [--only TASK]

CPU time, not wall time: these machines are shared. Each process computes with one thread, so that none is counted that
only waits for the others. The bare pipeline answers one row at a time, as a caller does who has one; in process is the
worker's engine without a queue; through the queue is what the worker's process uses for a job from Redis and back. All
take turns, round by round. PYTHON is an interpreter with MLflow (`make interop` makes one); without it MLflow is left
out.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read once, when torch is imported

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.predict_cases import Case, cases
from tests.fleet import ROOT, Fleet
from tests.inprocess import Served
from warmlane import Client
from warmlane_workers.flavor import save_model

#: Rows of a job -> jobs in a measurement.
JOBS = {1: 8, 64: 1}


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all its threads, in nanosecond steps: the number of Linux' clock of a process."""
    return time.clock_gettime((~pid << 3) | 2)


def each(call: Callable[[], Any], calls: int, clock: Callable[[], float] = time.process_time) -> float:
    """CPU seconds of one call."""
    started = clock()
    for _ in range(calls):
        call()
    return (clock() - started) / calls


class MLflow:
    """A process of an interpreter that has MLflow."""

    def __init__(self, python: str, console: Console) -> None:
        script = str(ROOT / "benchmarks" / "predict_mlflow.py")
        self._process = subprocess.Popen(
            [python, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"},
        )
        self._console = console

    def each(self, case: Case, directory: Path, rows: Sequence[Any], calls: int) -> float | None:
        """CPU seconds of one call; None where MLflow fails, which is said."""
        assert case.pyfunc is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "directory": str(directory),
            "inputs": [case.pyfunc(row) for row in rows],
            "sound": case.signature is not None,
            "each": not case.takes_lists,
            "calls": calls,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            self._console.print(f"MLflow, {case.name}, {len(rows)} rows: {answer['error']}", markup=False)
        return answer.get("cpu_s")

    def __enter__(self) -> MLflow:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._process.communicate(timeout=60)  # it ends with its input


@dataclass
class Cost:
    """CPU seconds of a job, a figure a round."""

    bare: list[float] = field(default_factory=list)
    process: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    mlflow: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """Everything that is asked."""

    served: Served
    client: Client
    worker: int  #: process id
    mlflow: MLflow | None
    pipelines: dict[str, Any]
    directories: dict[str, Path]

    def add(self, case: Case, number: int, scratch: Path) -> None:
        """One saved directory, for all three."""
        self.pipelines[case.name] = case.make()
        self.directories[case.name] = scratch / f"model-{number}"
        save_model(self.pipelines[case.name], self.directories[case.name], signature=case.signature)
        self.served.add_directory(f"m{number}", self.directories[case.name])
        self.client.save(f"m{number}", self.directories[case.name]).result(timeout=60)
        self.measure(case, number, 1, Cost())  # everything is loaded and warm

    def measure(self, case: Case, number: int, rows: int, cost: Cost) -> None:
        """One round of one number of rows."""
        name, calls = f"m{number}", JOBS[rows]
        some = list(case.rows[:rows])
        inputs = some[0] if rows == 1 else some
        pipeline = self.pipelines[case.name]
        cost.bare.append(each(lambda: [case.bare(pipeline, row) for row in some], calls))
        cost.process.append(each(lambda: self.served.predict(name, inputs), calls))
        ask = lambda: self.client.predict(name, inputs, dtype="float32").result(timeout=120)  # noqa: E731
        cost.queue.append(each(ask, calls, lambda: cpu_s(self.worker)))
        if self.mlflow is not None and case.pyfunc is not None:
            found = self.mlflow.each(case, self.directories[case.name], some, calls)
            cost.mlflow += [] if found is None else [found]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def report(console: Console, costs: dict[tuple[str, int], Cost], rounds: int) -> None:
    table = Table(title=f"ms of CPU for a job: the bare pipeline's calls, and what comes on top; median of {rounds}")
    columns = ("bare", "+ in process", "+ queue", "+ MLflow", "MLflow / process", "MLflow / queue", "rows/CPU s")
    for column in ("task", "rows", *columns):
        table.add_column(column, justify="left" if column == "task" else "right")
    for (name, rows), cost in costs.items():
        bare, process, queue = map(statistics.median, (cost.bare, cost.process, cost.queue))
        theirs = statistics.median(cost.mlflow) if cost.mlflow else None
        beside = ("-", "-", "-")
        if theirs is not None:
            beside = (ms(theirs - bare), f"{theirs / process:.1f}", f"{theirs / queue:.1f}")
        over = (ms(bare), ms(process - bare), ms(queue - bare))
        table.add_row(name, str(rows), *over, *beside, f"{rows / queue:.0f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlflow", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", metavar="TASK")
    options = parser.parse_args()
    console = Console(width=140)
    chosen = [case for case in cases() if options.only in (None, case.name)]
    costs: dict[tuple[str, int], Cost] = {(case.name, rows): Cost() for case in chosen for rows in JOBS}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wl-")))
        served = stack.enter_context(Served(scratch / "served"))
        fleet = stack.enter_context(Fleet(scratch))
        fleet.start_worker()
        client = stack.enter_context(fleet.client())
        mlflow = stack.enter_context(MLflow(options.mlflow, console)) if options.mlflow else None
        if mlflow is None:
            console.print("MLflow is left out: give an interpreter that has it, --mlflow PYTHON")
        bench = Bench(served, client, fleet.children()[0], mlflow, {}, {})
        for number, case in enumerate(chosen):
            bench.add(case, number, scratch)
        for _ in range(options.rounds):
            for number, case in enumerate(chosen):
                for rows in JOBS:
                    bench.measure(case, number, rows, costs[case.name, rows])
    report(console, costs, options.rounds)


if __name__ == "__main__":
    main()
