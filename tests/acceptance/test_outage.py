"""The server is away for a while, gone or silent: callers are told or wait as they asked, and nothing is lost."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet import START_S, Fleet, minilm
from tests.server import Server
from warmlane import Client, State
from warmlane.errors import ServerUnreachable

#: Rows in a job that takes long enough to be met by the outage.
ROWS = ["a text of some length to be embedded, again and again"] * 8
#: How long a hasty client tries to reach the server, in seconds.
HASTY_S = 1.0
#: How soon after its return the server has a worker again, in seconds; it tries once a second, and Dramatiq each third.
BACK_S = 15.0


@pytest.fixture(scope="module")
def served() -> Iterator[Fleet]:
    """One worker, and a server that can be taken away."""
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with (
        tempfile.TemporaryDirectory(prefix="wl-") as home,
        Fleet(Path(home), server=Server(Path(home) / "server")) as fleet,
        fleet.client() as client,
    ):
        fleet.start_worker("--threads", "16")
        client.save("minilm", minilm()).result(timeout=START_S)
        yield fleet


def told(ask: Callable[[], object]) -> float:
    """Seconds after which a call says that the server is away."""
    began = time.monotonic()
    with pytest.raises(ServerUnreachable) as caught:
        ask()
    assert caught.value.code == "server_unreachable"
    return time.monotonic() - began


def gone(server: Server) -> Callable[[], None]:
    """Killed; returns how it comes back."""
    server.kill()
    return server.attach


def silent(server: Server) -> Callable[[], None]:
    """Stopped: it takes calls and answers none."""
    server.freeze()
    return server.thaw


def check_an_outage(fleet: Fleet, leave: Callable[[Server], Callable[[], None]], away_s: float) -> None:
    server = fleet.server
    assert isinstance(server, Server)
    hasty = replace(fleet.settings, connect_timeout_s=HASTY_S)
    with fleet.client() as client, Client(settings=hasty) as asking, ThreadPoolExecutor(128) as pool:
        jobs = [client.predict("minilm", ROWS, params={"pooling": "mean"}) for _ in range(100)]
        first = asking.job(jobs[10].id)
        assert len(first.result(timeout=START_S)) == len(ROWS)
        waiting = [pool.submit(job.result, away_s + START_S) for job in jobs]
        came_back = leave(server)
        calls: list[Callable[[], object]] = [
            lambda: asking.predict("echo", "now"),
            first.status,
            asking.job(jobs[99].id).result,
            lambda: asking.job(jobs[99].id).result(timeout=HASTY_S),
        ]
        refused = [pool.submit(told, call) for call in calls]
        threading.Event().wait(away_s)
        came_back()
        back = time.monotonic()
        assert max(call.result() for call in refused) < away_s
        client.predict("echo", "after").result(timeout=START_S)
        assert time.monotonic() - back < BACK_S
        assert [len(job.result()) for job in waiting] == [len(ROWS)] * len(jobs)
        statuses = [job.status() for job in jobs]
    assert {status.state for status in statuses} == {State.SUCCEEDED}
    assert {len(status.attempts) for status in statuses} == {1}


@pytest.mark.parametrize("leave", [gone, silent])
def test_an_outage_of_five_seconds_is_told_to_who_asks_and_waited_for_by_who_waits(
    served: Fleet, leave: Callable[[Server], Callable[[], None]]
) -> None:
    """The server is killed, or stopped, in the middle of 100 jobs. Calls hear `server_unreachable` soon, those who wait
    for a result longer than the outage get it, the worker is back a little after the server, no job is lost or run
    twice."""
    check_an_outage(served, leave, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize("leave", [gone, silent])
def test_an_outage_of_thirty_seconds(served: Fleet, leave: Callable[[Server], Callable[[], None]]) -> None:
    """The same at length: longer than a worker's heartbeat, and than any time-out of a socket."""
    check_an_outage(served, leave, 30.0)
