"""Text told by a real worker while it generates it: to those who asked, to other processes, to a shell."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import tiny_text
from tests.fleet import Fleet
from tests.inprocess import seeded
from warmlane import AsyncClient, Client, State
from warmlane.errors import JobCancelled

GREEDY: dict[str, Any] = {"do_sample": False}
WAIT_S = 60


@pytest.fixture(scope="module")
def writer(warm_fleet: Fleet) -> Iterator[Client]:
    """A client of a fleet that holds `writer`, which writes for as long as it is told to."""
    directory = warm_fleet.home / "writer"
    for part in seeded(tiny_text.endless_generation).values():
        part.save_pretrained(directory)
    with warm_fleet.client() as client:
        client.save("writer", directory, task="text-generation").result(timeout=WAIT_S)
        client.load("writer").result(timeout=WAIT_S)
        yield client
        client.unload("writer").result(timeout=WAIT_S)


def test_pieces_come_while_the_job_runs(writer: Client) -> None:
    """The first piece is there before the last token; all of them are the text of the result."""
    job = writer.predict("writer", "the cat", params={**GREEDY, "max_new_tokens": 100}, stream=True)
    pieces = iter(job)
    first = next(pieces)
    assert job.status().state is State.RUNNING
    assert [first + "".join(pieces)] == job.result(timeout=WAIT_S)


def test_another_process_reads_the_text_from_its_beginning(warm_fleet: Fleet, writer: Client) -> None:
    """A job that is done is followed by its id, in an event loop too."""
    job = writer.predict("writer", "a dog", params={**GREEDY, "max_new_tokens": 20}, stream=True)
    whole = job.result(timeout=WAIT_S)

    async def follow() -> str:
        async with AsyncClient(settings=warm_fleet.settings) as client:
            return "".join([piece async for piece in client.job(job.id)])

    assert [asyncio.run(follow())] == whole


def test_a_cancelled_generation_makes_room(writer: Client) -> None:
    """A job of minutes is cancelled: whoever follows it is told so, and the next job is answered at once."""
    long = writer.predict("writer", "the cat", params={**GREEDY, "max_new_tokens": 8000}, stream=True)
    pieces = iter(long)
    next(pieces)
    started = time.monotonic()
    long.cancel()
    with pytest.raises(JobCancelled):
        list(pieces)
    assert long.status().state is State.CANCELLED
    writer.predict("writer", "a dog", params={**GREEDY, "max_new_tokens": 2}).result(timeout=WAIT_S)
    assert time.monotonic() - started < 10


def test_a_shell_prints_the_text_as_it_comes(warm_fleet: Fleet, writer: Client) -> None:
    """`warmlane predict --stream` prints the text of the answer, and nothing else."""
    params = '{"do_sample": false, "max_new_tokens": 12}'
    shown = subprocess.run(
        [sys.executable, "-m", "warmlane.cli", "predict", "writer", "a dog", "--stream", "--params", params],
        env=warm_fleet.env,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    job = writer.predict("writer", "a dog", params={**GREEDY, "max_new_tokens": 12})
    assert shown.stdout == job.result(timeout=WAIT_S)[0] + "\n"


@pytest.mark.slow
def test_a_worker_that_dies_is_no_end_of_the_text(fleet: Fleet) -> None:
    """The job is done again by the worker that comes next; its reader goes on where the first attempt broke off."""
    directory = fleet.home / "writer"
    for part in seeded(tiny_text.endless_generation).values():
        part.save_pretrained(directory)
    fleet.start_worker()
    with fleet.client() as client:
        client.save("writer", directory, task="text-generation").result(timeout=WAIT_S)
        job = client.predict("writer", "the cat", params={**GREEDY, "max_new_tokens": 300}, stream=True)
        pieces = iter(job)
        text = next(pieces)
        (child,) = fleet.children()
        os.kill(child, signal.SIGKILL)
        assert [text + "".join(pieces)] == job.result(timeout=WAIT_S)
        assert len(job.status().attempts) == 2
