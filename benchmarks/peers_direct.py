"""The model without any server: one text at a time, and the best that can be done with 64 texts at a time.

Run by `benchmarks.peers` as a process of its own. A line of JSON in: `{"how": "one" or "best", "rows": [...]}`; a line
out: `{"wall_s", "cpu_s", "budget"}`. Batches run on as many threads as there are cores, each with one torch thread.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.peers_model import Model

#: Texts that are seen at a time.
WINDOW = 64
#: Padded tokens of a batch that are tried.
BUDGETS = (128, 256, 512, 1024, 2048, 4096)


def batches(model: Model, rows: Sequence[str], budget: int) -> Iterator[list[Any]]:
    """The texts of a window tokenised, sorted by length and cut by padded tokens."""
    encoded = [model.pipe.tokenizer(row) for row in rows]
    encoded.sort(key=lambda item: len(item["input_ids"]))
    batch: list[Any] = []
    for item in encoded:
        if batch and (len(batch) + 1) * len(item["input_ids"]) > budget:
            yield batch
            batch = []
        batch.append(item)
    yield batch


class Direct:
    def __init__(self, directory: str, task: str) -> None:
        self.model = Model(directory, task)
        self.pool = ThreadPoolExecutor(os.cpu_count(), initializer=self._alone)
        self.budget = 0

    def _alone(self) -> None:
        self.model.torch.get_num_threads()  # a thread's first operation takes over what any thread set last
        self.model.torch.set_num_threads(1)

    def sorted_windows(self, rows: Sequence[str], budget: int) -> None:
        for at in range(0, len(rows), WINDOW):
            list(self.pool.map(self.model.forward, batches(self.model, rows[at : at + WINDOW], budget)))

    def best(self, rows: Sequence[str]) -> None:
        """With the budget that costs the least CPU, found at the first call."""
        if not self.budget:
            self.sorted_windows(rows[:WINDOW], BUDGETS[0])
            costs = {}
            for budget in BUDGETS:
                began = time.process_time()
                self.sorted_windows(rows[: 2 * WINDOW], budget)
                costs[budget] = time.process_time() - began
            self.budget = min(costs, key=lambda budget: costs[budget])
        self.sorted_windows(rows, self.budget)

    def one(self, rows: Sequence[str]) -> None:
        for row in rows:
            self.model.one(row)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    direct = Direct(*sys.argv[1:3])
    for line in sys.stdin:
        request = json.loads(line)
        work = getattr(direct, request["how"])
        if request["how"] == "best" and not direct.budget:
            work(request["rows"])
        wall, cpu = time.perf_counter(), time.process_time()
        work(request["rows"])
        said = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "budget": direct.budget}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
