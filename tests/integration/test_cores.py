"""Who computes on how many cores: a lone job on all, jobs beside each other on one each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.inprocess import Served

CORES = 4


@pytest.fixture
def computed_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of cores that each batch had, in order, on a machine of four."""
    seen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: CORES)
    monkeypatch.setattr("warmlane_workers.engine.device.set_own_threads", seen.append)
    return seen


@pytest.fixture
def echo(tmp_path: Path, computed_on: list[int]) -> Iterator[Served]:
    with Served(tmp_path) as served:
        served.add_directory("echo", Path("warmlane:echo"))
        yield served


def test_a_lone_job_has_all_cores(echo: Served, computed_on: list[int]) -> None:
    """Nobody else needs one."""
    echo.predict("echo", "a")
    assert computed_on == [CORES]


def test_a_job_beside_others_has_one_core(echo: Served, computed_on: list[int]) -> None:
    """Others are made ready or written meanwhile: helpers that spin between two operations would take their cores."""
    echo.predict("echo", "a")
    (entry,) = echo.engine.cache.entries()
    with echo.engine.cache.lease(entry.key, lambda room: pytest.fail("it is warm")):
        echo.predict("echo", "b")
    assert computed_on == [CORES, 1]
