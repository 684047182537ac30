"""What is lost when everything dies: jobs through two workers, while workers and the server are killed.

    python -m benchmarks.faults [--jobs 2000 --kills 20 --restarts 5]

Two supervisors with a worker each, and a server whose file is synced at each write. 64 callers send one job after the
other: no-ops, a tiny classifier with an answer that is known, and saves of it. A kill is SIGKILL from outside, of a
worker's process that serves; a restart is SIGKILL of the server, which comes back a little later. Faults come by what
is done, so that each meets jobs under way, however fast the machine is.

A caller does what an application would: it sends under an idempotency key, and sends and asks again when it is told
`server_unreachable`. Other errors are failures. Lost is a job without a result. Doubled is one whose end was told
twice, or whose result a second client reads otherwise. A save must have published one version.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from tests import tiny
from tests.ears import Ears
from tests.fleet import START_S, Fleet
from tests.server import Server
from warmlane import Client, State
from warmlane.client import Job
from warmlane.errors import ServerUnreachable, WarmlaneError
from warmlane.keys import Keys

CALLERS = 64
#: A job that has no result after this time counts as lost, in seconds.
LOST_S = 300.0
#: The server is away for up to so many seconds.
AWAY_S = 2.0
#: Pause before a caller that was told that the server is away asks again, in seconds.
_AGAIN_S = 0.2
#: Two forwards of one text in different batches may differ by so much.
_CLOSE = 1e-4

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is to be done and to be survived. Of the jobs, `saves` are saves."""

    jobs: int = 2000
    kills: int = 20
    restarts: int = 5
    saves: int = 20

    def faults(self) -> list[str]:
        """In the order in which they come, the same each time."""
        kinds = ["kill"] * self.kills + ["restart"] * self.restarts
        random.Random(3).shuffle(kinds)
        return kinds


@dataclass
class Found:
    """What became of it.

    Attributes:
        lost: what callers heard instead of a result.
        wrong: answers that are not those of their question.
        doubled: jobs with more than one end.
        saved_twice: saves that published another number of versions than one.
        attempts: attempts -> jobs.
        faults: those that were done.
        seconds: from the first job to the last result.
        gap: the longest time in which no job ended, in seconds.
    """

    lost: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    doubled: int = 0
    saved_twice: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    gap: float = 0.0

    @property
    def failures(self) -> int:
        return self.lost.total() + self.wrong + self.doubled + self.saved_twice


class Callers:
    """Send the jobs, a thread each that waits for its result, and keep what they heard."""

    def __init__(self, client: Client, plan: Plan, source: Path, found: Found) -> None:
        self._client = client
        self._source = source
        self._found = found
        self._pause = threading.Event()
        self._lock = threading.Condition()
        self._ended = [time.monotonic()]
        every = plan.jobs // plan.saves if plan.saves else plan.jobs + 1
        self.saves = {number: f"saved-{number}" for number in range(every // 2, plan.jobs, every)}
        self.texts = tiny.texts(16, longest=20)
        self.known = [rows(client.predict("tiny", text).result(timeout=START_S)) for text in self.texts]
        self.jobs: dict[int, tuple[Job, Any]] = {}

    def call(self, number: int) -> None:
        """One job, from its submission to its result."""
        try:
            job = self._insist(lambda: self._send(number))
            result = rows(self._insist(lambda: job.result(timeout=LOST_S)))
        except WarmlaneError as exc:
            with self._lock:
                self._found.lost[f"{exc.code}: {exc.message}"] += 1
            return
        right = number in self.saves or close(result, self._answer(number))
        with self._lock:
            self.jobs[number] = job, result
            self._found.wrong += not right
            self._ended.append(time.monotonic())
            self._lock.notify_all()

    def _insist(self, ask: Callable[[], T]) -> T:
        deadline = time.monotonic() + LOST_S
        while True:
            try:
                return ask()
            except ServerUnreachable:
                if time.monotonic() > deadline:
                    raise
                self._pause.wait(_AGAIN_S)

    def _send(self, number: int) -> Job:
        key = f"job {number}"
        if number in self.saves:
            return self._client.save(self.saves[number], self._source, idempotency_key=key)
        if number % 3 == 0:
            return self._client.predict("echo", f"text {number}", idempotency_key=key)
        return self._client.predict("tiny", self.texts[number % len(self.texts)], idempotency_key=key)

    def _answer(self, number: int) -> Any:
        return f"text {number}" if number % 3 == 0 else self.known[number % len(self.texts)]

    def wait_for(self, count: int) -> bool:
        """Return when so many jobs have ended; False when it takes so long that they are lost."""
        with self._lock:
            return self._lock.wait_for(lambda: len(self._ended) > count, LOST_S)

    def gap(self) -> float:
        return max((later - earlier for earlier, later in zip(self._ended, self._ended[1:], strict=False)), default=0.0)


def rows(result: Any) -> Any:
    """A result as lists and dicts, which can be compared."""
    return list(result) if type(result).__name__ == "Table" else result


def close(one: Any, other: Any) -> bool:
    """Whether two answers of a classifier are the same but for rounding; other answers whether they are equal."""
    if not isinstance(one, list) or not isinstance(other, list):
        return bool(one == other)
    return len(one) == len(other) and all(
        a["label"] == b["label"] and abs(a["score"] - b["score"]) < _CLOSE for a, b in zip(one, other, strict=True)
    )


class Faults:
    """Does the faults, each when its share of the jobs has ended."""

    def __init__(self, fleet: Fleet, server: Server, callers: Callers, plan: Plan, found: Found) -> None:
        self._fleet = fleet
        self._server = server
        self._callers = callers
        self._plan = plan
        self._found = found
        self._pause = threading.Event()
        self._chance = random.Random(5)
        self._killed: set[int] = set()

    def run(self) -> None:
        kinds = self._plan.faults()
        for number, kind in enumerate(kinds, start=1):
            if not self._callers.wait_for(number * self._plan.jobs // (len(kinds) + 1)):
                return
            if kind == "kill":
                self._kill()
            else:
                self._server.kill()
                self._pause.wait(self._chance.uniform(0, AWAY_S))
                self._server.attach()
            self._found.faults[kind] += 1

    def _kill(self) -> None:
        """SIGKILL of a worker's process that serves."""
        while True:
            with contextlib.suppress(ServerUnreachable):
                serving = set(self._fleet.children()) - self._killed
                for pid in sorted(serving, key=lambda pid: self._chance.random()):
                    self._killed.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        return
            self._pause.wait(_AGAIN_S)


def compare(callers: Callers, ears: Ears, settings: Any, found: Found) -> None:
    """Read all again by a second client, as nobody who waited."""
    with Client(settings=settings) as second:
        for number, (job, result) in callers.jobs.items():
            status = second.job(job.id).status()
            found.attempts[len(status.attempts)] += 1
            again = rows(second.job(job.id).result(timeout=START_S))
            same = status.state is State.SUCCEEDED and again == result
            if not same or ears.counts[job.id] > 1:
                found.doubled += 1
            if number in callers.saves and result["model"] != f"{callers.saves[number]}/1":
                found.saved_twice += 1
        versions = {info.name: info.versions for info in second.models()}
    found.saved_twice += sum(versions.get(name) != (1,) for name in callers.saves.values())


def run(plan: Plan) -> Found:
    """All of it, in a directory of its own."""
    found = Found()
    # Short: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = Server(Path(home) / "server")
        with Fleet(Path(home), server=server) as fleet, fleet.client() as client:
            source = tiny.save("text-classification", Path(home) / "source")
            for _ in range(2):
                fleet.start_worker(ready=False)
            for name, what in (("echo", "warmlane:echo"), ("tiny", source)):
                client.save(name, what).result(timeout=START_S)
            callers = Callers(client, plan, source, found)
            ears = Ears(server.url, Keys().inbox(client._transport.slots.id))
            faults = threading.Thread(target=Faults(fleet, server, callers, plan, found).run, name="faults")
            began = time.monotonic()
            faults.start()
            with ThreadPoolExecutor(CALLERS) as pool:
                list(pool.map(callers.call, range(plan.jobs)))
            found.seconds, found.gap = time.monotonic() - began, callers.gap()
            faults.join()
            compare(callers, ears, fleet.settings, found)
            ears.close()
    return found


def report(console: Console, plan: Plan, found: Found) -> None:
    faults = ", ".join(f"{count} {kind}s" for kind, count in sorted(found.faults.items()))
    table = Table(title=f"{plan.jobs} jobs over 2 workers, {faults}", show_header=False)
    table.add_row("lost", f"{dict(found.lost) or 0}")
    table.add_row("answers of another question", f"{found.wrong}")
    table.add_row("with two visible ends", f"{found.doubled}")
    table.add_row(f"of {plan.saves} saves not published once", f"{found.saved_twice}")
    table.add_row("attempts: jobs", ", ".join(f"{count}: {jobs}" for count, jobs in sorted(found.attempts.items())))
    table.add_row("to the last result, s", f"{found.seconds:.0f}")
    table.add_row("longest time without a result, s", f"{found.gap:.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("jobs", "kills", "restarts", "saves"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    plan = Plan(**vars(parser.parse_args()))
    found = run(plan)
    report(Console(), plan, found)
    if found.failures:
        raise SystemExit("jobs were lost or doubled")


if __name__ == "__main__":
    main()
