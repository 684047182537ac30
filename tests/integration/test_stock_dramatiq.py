"""What stock Dramatiq loses or strands, shown on its own broker, and what ours makes of the same.

Each test of stock runs Dramatiq's broker with its default settings; where one is changed, the test says so and it is
changed in its favour. Its docstring names the test that shows the same situation with our broker. What an outage of
the server costs is in `test_stock_outage.py`, for both in the same one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis

from tests import mortal
from tests.fleet import ROOT
from tests.lane import LIMIT_S, Lane
from tests.server import Server
from tests.stock import QUEUE, Stock, until, watch, working
from warmlane.errors import ResultTimeout
from warmlane.results import State
from warmlane_workers.consumer import HEARTBEAT_TIMEOUT_MS

#: Longer than one of Dramatiq's consumers rests after an error, in seconds.
WATCH_S = 3.5
#: Look for dead workers at each command, in millionths; Dramatiq's default looks at each thousandth.
ALWAYS = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        server = Server(Path(home))
        server.attach()
        yield server
        server.detach()


@pytest.fixture
def stock(server: Server, request: pytest.FixtureRequest) -> Iterator[Stock]:
    with closing(Stock(server.url, request.node.name[-40:], maintenance_chance=ALWAYS)) as stock:
        yield stock


@pytest.fixture
def lane(server: Server, request: pytest.FixtureRequest) -> Iterator[Lane]:
    with closing(Lane(server.url, request.node.name[-40:])) as lane:
        yield lane
        lane.stop()


def test_the_cures_that_are_named_here_are_there() -> None:
    """Each test that a docstring of these files points to exists."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_stock_*.py"))
    named = re.findall(r"(\w+/test_\w+\.py)::\s*(test_\w+)", text)
    assert len(named) == 9
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()


# -- dead workers ----------------------------------------------------------------------------------------------------


def test_stock_leaves_a_dead_workers_messages_for_a_minute(stock: Stock) -> None:
    """What a worker held that was last heard of 20 s ago lies there, though a living one looks at each command, and
    not at one in a thousand as by default. After a minute it is taken over.

    Ours takes it over after 15 s: integration/test_broker.py::test_a_dead_workers_messages_are_taken_over
    """
    assert (stock.broker.heartbeat_timeout, dramatiq.brokers.redis.DEFAULT_MAINTENANCE_CHANCE) == (60_000, 1000)
    with closing(Stock(stock.redis_url, stock.namespace)) as dead:
        stock.note.send("held")
        assert len(dead.broker.do_fetch(QUEUE, 1)) == 1
        dead_id = dead.broker.broker_id
    stock.age(dead_id, 20)
    assert HEARTBEAT_TIMEOUT_MS < 20_000
    with working(stock):
        watch(1.5)
        assert stock.ran() == []
        stock.age(dead_id, 41)
        until(lambda: stock.ran() != [])


def test_stock_delivers_a_job_that_kills_its_worker_for_ever(stock: Stock) -> None:
    """Ten workers take it and are not heard of again; the eleventh gets it as if nothing had been.

    Ours: integration/test_poison.py::test_a_job_that_gets_its_worker_killed_for_memory_is_poison_in_the_end
    """
    stock.note.send("deadly")
    with ExitStack() as stack:
        for _ in range(11):
            victim = stack.enter_context(closing(Stock(stock.redis_url, stock.namespace, maintenance_chance=ALWAYS)))
            assert len(victim.broker.do_fetch(QUEUE, 1)) == 1
            stock.age(victim.broker.broker_id, 61)


@contextmanager
def command(stock: Stock, *flags: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command `dramatiq` on the same namespace, in processes of one thread."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dramatiq", "tests.stock", "--threads", "1", *flags],
        env={**os.environ, "STOCK_URL": stock.redis_url, "STOCK_NAMESPACE": stock.namespace, **env},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_stock_stops_all_its_processes_when_one_is_killed(stock: Stock) -> None:
    """SIGKILL of one of the two processes of the command: it ends with status 1, and a job that comes then waits.

    Ours: unit/test_supervisor.py::test_a_dead_child_is_restarted_with_back_off_while_the_other_lives_on
    """
    with command(stock, "--processes", "2") as process:
        stock.note.send("first")
        until(lambda: stock.ran() != [])
        [(_, pid)] = stock.ran()
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=LIMIT_S * 2) == 1
    stock.note.send("second")
    assert (stock.waiting(), len(stock.ran())) == (1, 1)


def test_stock_runs_a_job_of_a_stopped_process_twice(server: Server) -> None:
    """A process that is stopped (SIGSTOP) for longer than the heartbeat time-out, here a second, and then goes on: its
    job has run in two, and both ends are as good.

    Ours: integration/test_stock_dramatiq.py::test_a_job_of_a_stopped_process_has_one_end
    """
    with closing(Stock(server.url, "twice", maintenance_chance=ALWAYS, heartbeat_timeout=1000)) as stock:
        with command(stock, "--processes", "1", STOCK_HEARTBEAT_MS="1000"):
            stock.note.send("slow", 0.5)
            until(lambda: stock.ran() != [])
            [(_, pid)] = stock.ran()
            os.kill(pid, signal.SIGSTOP)
            with working(stock):
                until(lambda: len(stock.ran()) == 2)
        assert stock.ran() == [("slow", pid), ("slow", os.getpid())]


def test_a_job_of_a_stopped_process_has_one_end(lane: Lane) -> None:
    """A worker is stopped in the middle of its jobs, another takes them over when its heartbeat is old, and the first
    goes on: what it finishes late changes no outcome."""
    jobs = [lane.submit(number) for number in range(400)]
    with mortal.fleet(lane.url, lane.names.namespace, "0,1"):
        pid = lane.result(jobs[40])
        os.kill(pid, signal.SIGSTOP)
        stopped = lane.status(jobs[40]).attempts[0].worker
        held = lane.acks(stopped)
        assert held
        lane.silence(stopped)
        answers = [lane.result(job) for job in jobs]
        ends = [lane.status(job).finished for job in jobs]
        os.kill(pid, signal.SIGCONT)
        late = lane.submit("late")
        assert lane.result(late)
        lane.until(lambda: lane.nothing_is_left(stopped))
    assert {lane.status(job).state for job in jobs} == {State.SUCCEEDED}
    assert [lane.status(job).finished for job in jobs] == ends
    assert [lane.client.job(job).result(timeout=LIMIT_S) for job in jobs] == answers
    assert max(len(lane.status(job).attempts) for job in held) == 2


# -- waits, replies, and bytes ---------------------------------------------------------------------------------------


def test_a_wait_for_a_result_ends_at_its_own_time_with_ours_only(stock: Stock, lane: Lane) -> None:
    """Dramatiq's wait of 10 s, its default, ends after 5 s by a time-out of redis-py's sockets, which says that the
    server is lost; ours of 6 s ends after 6 s and says that the job goes on."""
    message, job = stock.work.send("later"), lane.submit("later")

    def wait(ask: Callable[[], Any]) -> tuple[type[BaseException] | None, float]:
        began = time.monotonic()
        try:
            ask()
        except Exception as exc:  # noqa: BLE001 - which one it is, is the question
            return type(exc), time.monotonic() - began
        return None, time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        stocks = pool.submit(wait, lambda: stock.results.get_result(message, block=True))
        ours = pool.submit(wait, lambda: lane.jobs[job].result(timeout=6))
        kind, seconds = stocks.result()
        assert (kind, 4.5 < seconds < 9) == (redis.TimeoutError, True)
        kind, seconds = ours.result()
        assert (kind, 6 <= seconds < 9) == (ResultTimeout, True)


def test_stock_strands_a_fetch_whose_reply_was_lost_and_the_good_messages_behind_a_bad_one(server: Server) -> None:
    """Two ways in which a worker that lives has messages that it does not know of, and never runs them: the reply of a
    fetch is lost on its way; or one message of a fetch does not decode, and the six behind it are dropped with it. Both
    look for dead workers at each command, which helps nobody whose worker is alive.

    Ours: integration/test_broker.py::test_a_fetch_whose_reply_was_lost_comes_back_in_a_live_worker
    and integration/test_broker.py::test_a_message_that_is_none_goes_to_the_dead_letters_and_the_others_are_done
    """
    with ExitStack() as stack:
        lost, bad = (
            stack.enter_context(closing(Stock(server.url, name, maintenance_chance=ALWAYS))) for name in ("lost", "bad")
        )
        lost.note.send("lost")
        assert len(lost.broker.do_fetch(QUEUE, 1)) == 1  # a reply that nobody reads
        bad.redis.hset(f"{bad.namespace}:{QUEUE}.msgs", "noise", b"\xff")
        bad.redis.rpush(f"{bad.namespace}:{QUEUE}", "noise")
        for _ in range(6):
            bad.note.send("good")
        for stock in (lost, bad):
            stack.enter_context(working(stock, threads=4))
        until(lambda: bad.taken() == 7)
        watch(WATCH_S)
        assert (lost.ran(), lost.taken()) == ([], 1)
        assert (bad.ran(), bad.taken()) == ([], 7)
        for stock in (lost, bad):  # they live, and do what comes
            stock.note.send("next")
            until(lambda stock=stock: stock.ran() != [])  # type: ignore[misc]
            assert [word for word, _ in stock.ran()] == ["next"]
