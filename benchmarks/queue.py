"""Whether a job costs more when much waits, much is stored or many live: it must not.

    python -m benchmarks.queue [--most 1000000]

One job's operations are timed on an embedded server, one after the other: to enqueue it, to read its record, to take
it, to start it and to commit its outcome; at 0, 10,000 and a million jobs that wait, then with 10,000 models and with
200 workers in the registry. CPU time is the server's and this process's; a p50 is what a caller waits. Then the
commands that a job costs are counted by the server itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from warmlane import Client, Settings, codec
from warmlane.embedded import EmbeddedServer
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.lanes import Take
from warmlane.ops import Finish, Start, Watch
from warmlane.records import Outcome
from warmlane.registry import Beat, PublishModel
from warmlane.results import ModelInfo, State, WarmModel, WorkerInfo
from warmlane.store import RedisStore, connect

JOBS = 400
#: Jobs that wait, made by the server itself: a job's message and its place, and its record.
_FILL = """
for number = ARGV[1], ARGV[2] do
  local id = string.format('%032x', number)
  redis.call('HSET', KEYS[2], id, ARGV[3])
  redis.call('RPUSH', KEYS[1], id)
  redis.call('HSET', ARGV[4] .. id, 'state', 'QUEUED', 'queued', '1', 'kind', 'predict', 'model', 'm', 'inboxes', '')
end
return 1
"""


@dataclass(frozen=True)
class Cost:
    """What one operation costs, each figure of one job."""

    p50_us: float
    own_cpu_us: float
    server_cpu_us: float


class Bench:
    """A server, a client of it, and a worker that is played."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(redis_url=url, namespace="bench", queue_jobs=2**40, queue_bytes=2**50)
        self.names = Keys("bench")
        self.redis: Any = connect(url, retry_s=30)
        self.store = RedisStore(self.redis, self.names, url)
        self.client = Client(settings=self.settings)

    def fill(self, first: int, last: int) -> None:
        """Let jobs wait, numbered."""
        keys = [self.names.queue(PREDICT_QUEUE), self.names.messages(PREDICT_QUEUE)]
        for start in range(first, last, 10_000):
            end = min(start + 10_000, last) - 1
            self.redis.eval(_FILL, 2, *keys, start, end, b"x" * 200, self.names.job(""))

    def publish(self, models: int) -> None:
        for number in range(models):
            info = ModelInfo(f"model-{number}", (1,), "fill-mask", "float32", 1000, None)
            self.store.run(PublishModel(info, 1))

    def beat(self, workers: int) -> None:
        for number in range(workers):
            warm = tuple(
                WarmModel(f"model-{number + step}/1", "fill-mask", "", "cpu", 1, False, 0.0) for step in range(20)
            )
            info = WorkerInfo(f"w-{number}", "node", 1, "cpu", "ready", 64, 0, 100, (PREDICT_QUEUE,), warm)
            self.store.run(Beat(info))

    def costs(self) -> dict[str, Cost]:
        """Of each step in a job's life."""
        ids: list[str] = []
        ids_taken: list[str] = []
        done = Outcome(State.SUCCEEDED, codec.encode("result", ["POSITIVE"]))

        def enqueue() -> None:
            ids.append(self.client.submit(PredictJob(model="model-0", inputs="a row of text"), priority="high").id)

        def take() -> None:
            ids_taken.extend(["x"] * len(self.store.run(Take(PREDICT_QUEUE, "w-0", 1))))

        def finish() -> None:
            self.store.run(Finish(ids.pop(), done, 3600, PREDICT_QUEUE, "w-0"))

        found = {"enqueue": self._cost(enqueue), "poll": self._cost(lambda: self.store.run(Watch(ids[-1])))}
        found["take"] = self._cost(take)
        each = iter(list(ids))
        found["start"] = self._cost(lambda: self.store.run(Start(next(each), "w-0")))
        found["finish"] = self._cost(finish)
        return found

    def _cost(self, step: Callable[[], Any]) -> Cost:
        times: list[float] = []
        server, own = self._server_cpu(), time.process_time()
        for _ in range(JOBS):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        own, server = time.process_time() - own, self._server_cpu() - server
        return Cost(statistics.median(times) * 1e6, own / JOBS * 1e6, server / JOBS * 1e6)

    def _server_cpu(self) -> float:
        used = self.redis.info("cpu")
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    def commands(self) -> dict[str, float]:
        """Commands a job from the enqueuing to the outcome, as the server counts those that come over a connection."""
        self.redis.config_resetstat()
        self.costs()
        found = self.redis.info("commandstats")
        return {name.removeprefix("cmdstat_"): counted["calls"] / JOBS for name, counted in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=1_000_000, help="jobs that wait in the end")
    options = parser.parse_args()
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = EmbeddedServer(Path(home))
        server.attach()
        bench = Bench(server.url)
        rows: list[tuple[str, dict[str, Cost]]] = []
        bench.publish(1)
        bench.beat(1)
        bench.costs()  # scripts loaded, connections made
        filled = 0
        for waiting in (0, 10_000, options.most):
            bench.fill(filled, waiting)
            filled = waiting
            bench.beat(1)
            rows.append((f"{waiting:,} jobs wait", bench.costs()))
        bench.publish(10_000)
        rows.append(("and 10,000 models are stored", bench.costs()))
        bench.beat(200)
        rows.append(("and 200 workers live", bench.costs()))
        calls = bench.commands()
        bench.client.close()
        bench.redis.close()
        server.detach()
    report(console, rows)
    most = sorted(calls.items(), key=lambda item: -item[1])[:8]
    console.print(
        "commands a job, scripts' own among them: " + ", ".join(f"{name} {count:.1f}" for name, count in most)
    )


def report(console: Console, rows: list[tuple[str, dict[str, Cost]]]) -> None:
    steps = list(rows[0][1])
    table = Table("", *steps, title="p50 µs (own CPU µs, server's CPU µs) of one job")
    for name, costs in rows:
        cells = (f"{cost.p50_us:.0f} ({cost.own_cpu_us:.0f}, {cost.server_cpu_us:.0f})" for cost in costs.values())
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
