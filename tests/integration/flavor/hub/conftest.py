"""A small repository on the hub, and a process that does not wait long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hub import Hub
from warmlane_workers.flavor.hub import listing, tries


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """What the repository holds: three small files and one of two megabytes."""
    directory = tmp_path / "repository"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "README.md").write_text("a card")
    (directory / "LICENSE").write_text("a licence")
    (directory / "model.safetensors").write_bytes(os.urandom(2_000_000))
    return directory


@pytest.fixture
def commit(hub: Hub, repository: Path) -> str:
    """The commit of `acme/model`."""
    return hub.push("acme/model", repository)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of a hundredth of those that a worker has."""
    monkeypatch.setattr(tries, "WAITS_S", tuple(wait / 100 for wait in tries.WAITS_S))
    monkeypatch.setattr(tries, "UNHEARD_WAITS_S", tuple(wait / 100 for wait in tries.UNHEARD_WAITS_S))
    monkeypatch.setattr(listing, "ANSWER_S", 0.2)
