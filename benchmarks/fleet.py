"""Routing for a fleet that nobody has at hand: 200 workers, 2,000 models, in virtual time, on the real scripts.

    python -m benchmarks.fleet [--workers 200 --models 2000 --jobs 60000]

Jobs come by chance and ask for models by Zipf's law. Each worker has room for some models (the least recently used
leaves), loads one in seconds and answers a job in milliseconds, one thing at a time; now and then an answer takes long.
Four ways to choose a worker see the same jobs: warmlane's lanes, the same where no worker takes from the lane of
another, one queue that all workers share, and chance. The choice and the taking are `warmlane.routing`,
`lua/submit.lua`, `lua/take.lua` and `lua/steal.lua` on an embedded server; only the time is made up, so that the
figures do not depend on the machine.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
import statistics
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from warmlane.embedded import EmbeddedServer
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.lanes import PATIENCE_S, Steal, Submit, Take
from warmlane.message import JobMessage
from warmlane.registry import Beat
from warmlane.results import WarmModel, WorkerInfo
from warmlane.routing import ANYWHERE, Registry, Route
from warmlane.store import RedisStore, connect

#: How long a load and an answer take, in seconds.
LOAD_S = 4.0
ANSWER_S = 0.1
#: A long answer, such as a generation's, and the share of answers that are.
LONG_S = 15.0
LONG_SHARE = 0.001
#: How often a worker without work looks into the lanes of others.
LOOK_S = 1.0
#: How old the picture is that clients have of the workers.
REGISTRY_S = 1.0
#: Share of the fleet's time that answering takes, without any load.
BUSY = 0.25
#: How often every worker says again that it lives, in seconds of the server, whose clock runs on: time here is made up.
BEAT_S = 3.0
POLICIES = ("lanes", "lanes, no help", "shared queue", "chance")


class Placed(Submit):
    """A submission that says where the job went: a worker's id, or "" for all."""

    def read(self, reply: Any) -> Any:
        return reply[1].decode()


@dataclass
class Simulated:
    """A worker in virtual time."""

    id: str
    room: int
    warm: OrderedDict[str, None] = field(default_factory=OrderedDict)
    loads: int = 0
    idle: bool = True
    answers_from: float = 0.0
    pace_ms: float = 1000 * ANSWER_S

    def work(self, now: float, model: str, answer_s: float) -> float:
        """Answer a job; how long it takes."""
        took = answer_s
        if model not in self.warm:
            took += LOAD_S
            self.loads += 1
            if len(self.warm) == self.room:
                self.warm.popitem(last=False)
        self.answers_from = now + took - answer_s
        self.warm[model] = None
        self.warm.move_to_end(model)
        self.pace_ms = 0.98 * self.pace_ms + 0.02 * 1000 * answer_s
        return took

    def pace(self, now: float) -> float:
        """As `warmlane_workers.pace` tells it: what goes on tells before its end, and a load does not count."""
        return self.pace_ms if self.idle else max(self.pace_ms, 1000 * (now - self.answers_from))

    def info(self) -> WorkerInfo:
        models = tuple(WarmModel(f"{name}/1", "fill-mask", None, "cpu", 1, False, 0.0) for name in self.warm)
        queues = (PREDICT_QUEUE,)
        said = {"pace_ms": self.pace_ms, "load_ms": 1000 * LOAD_S}
        return WorkerInfo(self.id, "node", 1, "cpu", "ready", 64, 0, self.room, queues, models, **said)


@dataclass
class Outcome:
    """What a policy came to: seconds from each job's coming to its answer, in order of coming, and all loads."""

    waits: list[float]
    loads: int


def arrivals(models: int, jobs: int, workers: int) -> Iterator[tuple[float, str, float]]:
    """When jobs come, for which model, and how long the answer takes: the same for every policy."""
    chance = random.Random(11)
    names = [f"model-{number}" for number in range(models)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(models)))
    now = 0.0
    for _ in range(jobs):
        now += chance.expovariate(BUSY * workers / ANSWER_S)
        answer_s = LONG_S if chance.random() < LONG_SHARE else ANSWER_S
        yield now, chance.choices(names, cum_weights=weights)[0], answer_s


class Simulation:
    """One policy's run.

    Args:
        room: models that a worker can hold.
    """

    def __init__(self, store: RedisStore, policy: str, workers: int, room: int) -> None:
        self._store = store
        self._policy = policy
        self._workers = {f"w-{number}": Simulated(f"w-{number}", room) for number in range(workers)}
        self._chance = random.Random(5)
        self._registry, self._registry_until = Registry(()), 0.0
        self._numbers: dict[str, int] = {}  # job id -> its place among the jobs
        self._jobs: list[tuple[float, str, float]] = []
        self._waits: list[float] = []
        self._open = 0  # jobs that have not ended
        self._events: list[tuple[float, str, str]] = []  # (time, worker, job that ends or "" for a look), a heap
        self._epoch_s = time.time()  # the server's time at which time here begins
        self._beat()
        for number, worker_id in enumerate(self._workers if policy == "lanes" else ()):
            self._events.append((number * LOOK_S / workers, worker_id, ""))
        heapq.heapify(self._events)

    def run(self, jobs: Iterable[tuple[float, str, float]]) -> Outcome:
        for now, model, answer_s in jobs:
            self._advance(now)
            if time.monotonic() >= self._beat_at:
                self._beat()
            self._submit(now, model, answer_s)
        self._advance(math.inf)
        return Outcome(self._waits, sum(worker.loads for worker in self._workers.values()))

    def _beat(self) -> None:
        for worker in self._workers.values():
            self._store.run(Beat(worker.info()))
        self._beat_at = time.monotonic() + BEAT_S

    def _submit(self, now: float, model: str, answer_s: float) -> None:
        job_id = f"{len(self._jobs):032x}"
        self._numbers[job_id] = len(self._jobs)
        self._jobs.append((now, model, answer_s))
        self._waits.append(math.nan)
        self._open += 1
        message = JobMessage.of(PredictJob(model=model, inputs="row"), job_id)
        place: Any = self._store.run(Placed(message, route=self._route(now, model)))
        if self._policy == "lanes":
            queued, names = int(1000 * (self._epoch_s + now)), self._store.names
            self._store.client.hset(names.job(job_id), "queued", queued)
            self._store.client.zadd(names.waiting(PREDICT_QUEUE), {place: queued}, lt=True)
        idle = [worker for worker in self._workers.values() if worker.idle and place in ("", worker.id)]
        if idle:
            self._take(now, self._chance.choice(idle))

    def _route(self, now: float, model: str) -> Route:
        if self._policy == "shared queue":
            return ANYWHERE
        if self._policy == "chance":
            return Route(model, warm=(self._chance.choice(list(self._workers)),))
        if now >= self._registry_until:
            self._registry = Registry(worker.info() for worker in self._workers.values())
            self._registry_until = now + REGISTRY_S
            self._store.client.hset(
                self._store.names.paces, mapping={worker.id: worker.pace(now) for worker in self._workers.values()}
            )
        return self._registry.route(PREDICT_QUEUE, model, 1)

    def _take(self, now: float, worker: Simulated) -> None:
        found = self._store.run(Take(PREDICT_QUEUE, worker.id, 1))
        if not found and self._policy == "lanes" and not worker.idle:
            found = self._store.run(self._steal(now, worker))
        self._begin(now, worker, found)

    def _look(self, now: float, worker: Simulated) -> None:
        """What a worker does once a second: without work, it looks into the lanes of others."""
        if worker.idle:
            self._begin(now, worker, self._store.run(self._steal(now, worker)))
        heapq.heappush(self._events, (now + LOOK_S, worker.id, ""))

    def _steal(self, now: float, worker: Simulated) -> Steal:
        """Its patience is for the server's clock, and so that it is right by the time here."""
        behind_ms = 1000 * (time.time() - self._epoch_s - now)
        op = Steal.by(worker.info(), PREDICT_QUEUE, 1)
        return replace(op, patience_ms=behind_ms + 1000 * PATIENCE_S)

    def _begin(self, now: float, worker: Simulated, found: list[bytes | None]) -> None:
        worker.idle = not found
        for data in found:
            job_id = JobMessage.decode(data or b"").message_id
            number = self._numbers[job_id]
            came, model, answer_s = self._jobs[number]
            done = now + worker.work(now, model, answer_s)
            self._waits[number] = done - came
            heapq.heappush(self._events, (done, worker.id, job_id))

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until and (self._open or until < math.inf):
            now, worker_id, job_id = heapq.heappop(self._events)
            if not job_id:
                self._look(now, self._workers[worker_id])
                continue
            self._open -= 1
            self._store.client.srem(self._store.names.acks(worker_id, PREDICT_QUEUE), job_id)
            self._take(now, self._workers[worker_id])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--room", type=int, default=14, help="models that a worker can hold")
    parser.add_argument("--jobs", type=int, default=60_000)
    arguments = parser.parse_args()
    table = Table("policy", "loads", "loads a job, second half", "p50 s", "p99 s", "p99 s, second half", "longest s")
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = EmbeddedServer(Path(home))
        server.attach()
        for policy in POLICIES:
            client = connect(server.url, retry_s=5)
            store = RedisStore(client, Keys(policy.replace(", ", "-").replace(" ", "-")), server.url)
            simulation = Simulation(store, policy, arguments.workers, arguments.room)
            jobs = list(arrivals(arguments.models, arguments.jobs, arguments.workers))
            half = len(jobs) // 2
            simulation.run(jobs[:half])
            table.add_row(*_row(policy, simulation, jobs[half:]))
            client.flushdb()
            client.close()
        server.detach()
    Console().print(table)
    Console().print(f"{arguments.workers} workers with room for {arguments.room} of {arguments.models} models each")


def _row(policy: str, simulation: Simulation, rest: list[tuple[float, str, float]]) -> Sequence[str]:
    """The figures of a run whose first half is over; its second half is warm."""
    before = sum(worker.loads for worker in simulation._workers.values())
    outcome = simulation.run(rest)
    warm = outcome.waits[-len(rest) :]
    return (
        policy,
        str(outcome.loads),
        f"{(outcome.loads - before) / len(rest):.4f}",
        f"{statistics.median(outcome.waits):.2f}",
        f"{_percentile(outcome.waits, 99):.1f}",
        f"{_percentile(warm, 99):.1f}",
        f"{max(outcome.waits):.1f}",
    )


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


if __name__ == "__main__":
    main()
