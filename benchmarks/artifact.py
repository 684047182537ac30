"""What a save and a load cost, beside the plain file copy and the bare transformers calls that they cannot go below.

    python -m benchmarks.artifact [--rounds 5]

Each measurement is a child process, so that its peak memory is its own; the two of a pair take turns, in one run on one
machine. Read the ratios. The large checkpoint is a GPT-2 of 124 million random weights, 498 MB of float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import tiny

MIB = 1024 * 1024


@dataclass(frozen=True)
class Cost:
    """Seconds, and the peak of resident memory above what the process held before, in bytes."""

    seconds: float
    bytes: int


def peak() -> int:
    """The most resident memory since `forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measured(call: Callable[[], Any]) -> Cost:
    forget_peak()
    before, started = peak(), time.perf_counter()
    kept = call()
    cost = Cost(time.perf_counter() - started, peak() - before)
    del kept
    return cost


def child(what: str, source: Path, target: Path) -> Cost:
    """One measurement, in this process: everything that it needs is imported and warm before the clock starts."""
    import transformers

    from warmlane_workers import flavor

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    warm = target.with_name("warm")
    if what in ("save tiny", "bare save tiny"):
        pipeline = transformers.pipeline("text-classification", model=str(source), tokenizer=str(source))
        flavor.save_model(pipeline, warm)

        def bare() -> None:
            pipeline.model.save_pretrained(target / "model")
            pipeline.tokenizer.save_pretrained(target / "components")

        return measured(bare if what == "bare save tiny" else lambda: flavor.save_model(pipeline, target))
    if what == "copytree":
        return measured(lambda: shutil.copytree(source, target))
    if what == "save large":
        return measured(lambda: flavor.save_model(source, target))
    if what == "bare load":
        kind, tokenizer = transformers.GPT2LMHeadModel, transformers.AutoTokenizer
        model, words = source / "model", source / "components" / "tokenizer"
        return measured(lambda: (kind.from_pretrained(model), tokenizer.from_pretrained(words)))
    return measured(lambda: flavor.load_model(source, return_type="components", device="cpu"))


def run(what: str, source: Path, scratch: Path) -> Cost:
    target = scratch / "target"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.artifact", "--child", what, str(source), str(target)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for made in (target, target.with_name("warm")):
        shutil.rmtree(made, ignore_errors=True)
    return Cost(**json.loads(done.stdout))


def make_large(directory: Path) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config()).save_pretrained(directory, max_shard_size="5GB")
    tiny.byte_tokenizer().save_pretrained(directory)
    return directory


#: (measured, its baseline, source, the budget as a ratio)
PAIRS = (
    ("save large", "copytree", "large", 1.2),
    ("save tiny", "bare save tiny", "tiny", 2.0),
    ("load", "bare load", "artifact", 1.1),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        what, source, target = options.child
        print(json.dumps(vars(child(what, Path(source), Path(target)))))
        return
    with tempfile.TemporaryDirectory() as name:
        report(Path(name), options.rounds)


def report(scratch: Path, rounds: int) -> None:
    from warmlane_workers import flavor

    sources = {"large": make_large(scratch / "large"), "tiny": tiny.save("text-classification", scratch / "tiny")}
    flavor.save_model(sources["large"], scratch / "artifact")
    sources["artifact"] = scratch / "artifact"
    table = Table(title=f"median of {rounds} rounds, taking turns")
    for column in ("", "s", "peak MiB", "beside", "s", "peak MiB", "ratio", "budget"):
        table.add_column(column, justify="left" if column in ("", "beside") else "right")
    for what, baseline, source, budget in PAIRS:
        found: dict[str, list[Cost]] = {what: [], baseline: []}
        for _ in range(rounds):
            for one in (what, baseline):
                found[one].append(run(one, sources[source], scratch))
        seconds = {one: statistics.median(cost.seconds for cost in costs) for one, costs in found.items()}
        memory = {one: statistics.median(cost.bytes for cost in costs) / MIB for one, costs in found.items()}
        figures = [text for one in (what, baseline) for text in (one, f"{seconds[one]:.3f}", f"{memory[one]:.0f}")]
        table.add_row(*figures, f"{seconds[what] / seconds[baseline]:.2f}", f"{budget}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
