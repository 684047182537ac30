"""Fleets for acceptance tests: real processes, a real server, real signals."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, free_port, minilm
from warmlane import Client


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A server without workers, for tests that start and kill their own."""
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home, Fleet(Path(home)) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def warm_fleet() -> Iterator[Fleet]:
    """A server and one worker that holds MiniLM, shared by the tests that leave it as it is."""
    watched = {"WARMLANE_METRICS_PORT": str(free_port()), "WARMLANE_LOG_LEVEL": "DEBUG"}
    with tempfile.TemporaryDirectory(prefix="wl-") as home, Fleet(Path(home), env=watched) as fleet:
        fleet.start_worker()
        with fleet.client() as client:
            client.save("minilm", minilm(), task="feature-extraction").result(timeout=60)
            client.load("minilm", dtype="float32", pin=True).result(timeout=60)
        yield fleet


@pytest.fixture
def client(warm_fleet: Fleet) -> Iterator[Client]:
    with warm_fleet.client() as client:
        yield client
