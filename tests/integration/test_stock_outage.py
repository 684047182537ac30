"""What stock Dramatiq loses when the server is away for two seconds, and what ours keeps in the same outage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.results import ResultMissing

from tests.lane import LIMIT_S, Lane
from tests.server import Server
from tests.stock import DELAYED, Stock, until, watch, working
from warmlane.errors import InternalError
from warmlane.jobs import PredictJob
from warmlane_workers.context import JobContext


@dataclass
class Outage:
    """What stock and ours had in hand when the server was killed, and came back two seconds later."""

    stock: Stock
    worked: Message[Any]
    failed: Message[Any]
    delayed: Message[Any]
    lane: Lane
    ours: dict[str, str]


@pytest.fixture(scope="module")
def outage() -> Iterator[Outage]:
    """Both have a job under way that ends well and one that raises while the server is away; stock has a delayed one
    in its memory, ours one that waits for a thread."""
    with tempfile.TemporaryDirectory(prefix="wl-") as home, ExitStack() as stack:
        server = Server(Path(home))
        server.attach()
        stack.callback(server.detach)
        stock = stack.enter_context(closing(Stock(server.url)))
        lane = stack.enter_context(closing(Lane(server.url, "ours")))
        stack.callback(lane.stop)

        def handler(job: PredictJob, context: JobContext) -> Any:
            stock.begun.release()
            stock.go.wait()
            if job.inputs == "fail":
                raise ValueError("as it was told")
            return job.inputs

        lane.worker(threads=2, handler=handler)
        stack.enter_context(working(stock))
        ours = {word: lane.submit(word) for word in ("fail", "work", "held")}
        worked, failed = stock.work.send("done"), stock.fail.send()
        delayed = stock.note.send_with_options(args=("delayed",), delay=2000)
        for _ in range(4):
            assert stock.begun.acquire(timeout=LIMIT_S)
        until(lambda: stock.taken(DELAYED) == 1 and len(lane.acks()) == 3)
        server.kill()
        stock.go.set()
        for _ in range(2):
            assert stock.ended.count.acquire(timeout=LIMIT_S)
        watch(2.0)  # both of stock's consumers, which look once a second, have seen it
        server.attach()
        until(lambda: stock.taken() == 0)  # stock says again after 5 s what it could not say
        yield Outage(stock, worked, failed, delayed, lane, ours)


def test_stock_loses_a_job_that_raises_while_the_server_is_away(outage: Outage) -> None:
    """It is acknowledged, and the retry that was to follow could not be enqueued: nothing of it is left, not even among
    the dead letters.

    Ours: integration/test_stock_outage.py::test_ours_keeps_what_ends_in_an_outage
    """
    assert not outage.stock.keeps(outage.failed)


def test_stock_loses_a_result_that_comes_while_the_server_is_away(outage: Outage) -> None:
    """The job is done and acknowledged, and its result is nowhere.

    Ours: integration/test_stock_outage.py::test_ours_keeps_what_ends_in_an_outage
    """
    assert not outage.stock.keeps(outage.worked)
    with pytest.raises(ResultMissing):
        outage.stock.results.get_result(outage.worked)


def test_stock_strands_what_it_delays_at_a_lost_connection(outage: Outage) -> None:
    """A delayed message that its worker held in memory is forgotten there and still counted as taken: it does not run
    when its time has come, in a worker that lives and does other work.

    Ours: integration/test_stock_outage.py::test_ours_keeps_what_it_holds_in_an_outage
    """
    stock = outage.stock
    stock.note.send("next")
    until(lambda: "next" in [word for word, _ in stock.ran()])
    assert [word for word, _ in stock.ran()] == ["next"]
    assert (stock.taken(DELAYED), stock.keeps(outage.delayed)) == (1, True)


def test_ours_keeps_what_ends_in_an_outage(outage: Outage) -> None:
    """An outcome is offered until the server takes it: the result is there, and the error of the job that raised."""
    lane, ours = outage.lane, outage.ours
    assert lane.result(ours["work"]) == "work"
    with pytest.raises(InternalError, match="ValueError in the worker"):
        lane.result(ours["fail"])
    assert [len(lane.status(ours[word]).attempts) for word in ("work", "fail")] == [1, 1]


def test_ours_keeps_what_it_holds_in_an_outage(outage: Outage) -> None:
    """A message that waited in the worker's memory is run when the server is back. There is nothing else to be lost:
    we delay and retry nothing by messages."""
    assert outage.lane.result(outage.ours["held"]) == "held"
    outage.lane.until(outage.lane.nothing_is_left)
