"""Snapshots and papers from the hub: what is fetched, what is told, and what the cache is good for without a hub."""

from __future__ import annotations

import os
import time
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub import Fault, Hub
from warmlane.errors import HubUnavailable, JobCancelled
from warmlane_workers.flavor import hub as door

REPO = "acme/model"
MB = 1_000_000
ALL = ["*"]


# -- what comes ------------------------------------------------------------------------------------------------------


def test_a_snapshot_has_the_files_of_the_patterns(commit: str, repository: Path) -> None:
    """The directory goes by the commit, and has the files that were asked for, byte for byte."""
    directory = door.snapshot(REPO, None, ["*.json", "*.safetensors"])
    assert directory.name == commit
    assert {path.name for path in directory.iterdir()} == {"config.json", "model.safetensors"}
    assert (directory / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()


def test_a_commit_that_was_fetched_is_not_asked_for_again(hub: Hub, commit: str) -> None:
    """By its commit a snapshot in the cache costs no request, also where it was fetched by its branch."""
    door.snapshot(REPO, "main", ALL)
    hub.requests.clear()
    door.snapshot(REPO, commit, ALL)
    assert list(hub.requests) == []


def test_progress_is_told_in_bytes(hub: Hub, repository: Path) -> None:
    """A report has the fraction and `downloading <done>/<all> MB`; it never goes back, and ends at the whole."""
    (repository / "model.safetensors").write_bytes(os.urandom(25 * MB))
    hub.push(REPO, repository)
    told: list[tuple[float, str]] = []
    door.snapshot(REPO, None, ALL, report=lambda fraction, phase: told.append((fraction, phase)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1] == (1.0, "downloading 25.0/25.0 MB")


def test_what_is_in_the_cache_is_not_in_the_progress(hub: Hub, commit: str) -> None:
    """Progress counts what is fetched now; with everything there, nothing is told."""
    door.snapshot(REPO, None, ["*.safetensors"])
    told: list[str] = []
    door.snapshot(REPO, None, ALL, report=lambda fraction, phase: told.append(phase))
    assert told[-1] == "downloading 0.0/0.0 MB"
    told.clear()
    door.snapshot(REPO, None, ALL, report=lambda fraction, phase: told.append(phase))
    assert told == []


def test_nothing_is_drawn(commit: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A download draws no bars."""
    door.snapshot(REPO, None, ALL)
    assert capfd.readouterr() == ("", "")


def test_a_cancelled_job_stops_its_download(hub: Hub, commit: str) -> None:
    """An error of whoever is told ends the download; the hub may be silent meanwhile."""
    hub.script("GET .*safetensors", Fault(silent=True))

    def cancel(fraction: float, phase: str) -> None:
        raise JobCancelled("cancelled")

    with pytest.raises(JobCancelled):
        door.snapshot(REPO, None, ALL, report=cancel)


# -- without a hub ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", [None, "main", "commit"])
def test_the_cache_serves_while_the_hub_is_down(hub: Hub, commit: str, revision: str | None) -> None:
    """What was fetched is there by its branch and by its commit."""
    door.snapshot(REPO, None, ALL)
    with hub.down():
        assert door.snapshot(REPO, commit if revision == "commit" else revision, ALL).name == commit


@pytest.mark.parametrize("revision", [None, "commit"])
def test_half_a_snapshot_is_not_taken_for_a_whole_one(hub: Hub, commit: str, revision: str | None) -> None:
    """Files that were never fetched are missed, not left out, while the hub is down."""
    door.snapshot(REPO, None, ["*.json"])
    with hub.down():
        began = time.monotonic()
        with pytest.raises(HubUnavailable):
            door.snapshot(REPO, revision and commit, ALL)
        assert time.monotonic() - began < 3


def test_what_another_program_fetched_is_served(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that `huggingface_hub` itself filled is enough when there is no network."""
    huggingface_hub.snapshot_download(REPO, endpoint=hub.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert door.snapshot(REPO, "main", ALL).name == commit
    assert list(hub.requests) == []


def test_a_commit_is_known_without_the_hub(hub: Hub, commit: str) -> None:
    """`commit_of` asks, remembers the answer for when the hub is down, and says so where it has none."""
    assert door.commit_of(REPO, "main") == commit
    with hub.down():
        assert door.commit_of(REPO, None) == commit
        assert door.commit_of("acme/other", commit) == commit
        with pytest.raises(HubUnavailable):
            door.commit_of(REPO, "v1")


# -- papers ----------------------------------------------------------------------------------------------------------


def test_small_files_are_the_card_and_the_licences(hub: Hub, repository: Path) -> None:
    """Nothing else is fetched, nothing from directories, and nothing that is too large to be one of them."""
    (repository / "license.txt").write_text("another")
    (repository / "MODEL_LICENSE.md").write_bytes(bytes(door.SMALL_FILE_BYTES + 1))
    (repository / "licensed.json").write_text("{}")
    (repository / "parts").mkdir()
    (repository / "parts" / "LICENSE").write_text("of parts")
    hub.push(REPO, repository)
    assert door.small_files(REPO, None) == {
        "README.md": b"a card",
        "LICENSE": b"a licence",
        "license.txt": b"another",
    }
    assert sorted(hub.paths) == [f"{REPO}/{name}" for name in ("LICENSE", "README.md", "license.txt")]


def test_small_files_without_a_hub_are_those_of_the_cache(hub: Hub, commit: str) -> None:
    """While the hub is down the cache's are taken, and none where it has none; nothing is raised."""
    assert door.small_files(REPO, None)
    with hub.down():
        assert door.small_files(REPO, None).keys() == {"README.md", "LICENSE"}
        assert door.small_files("acme/other", None) == {}


@pytest.mark.parametrize("where", ["/api/", "/resolve/"])
def test_a_silent_hub_delays_a_save_by_seconds(
    hub: Hub, commit: str, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that never answers costs the time that is allowed, in all, and one line in the log."""
    monkeypatch.setattr(door, "SMALL_FILES_S", 0.5)
    hub.script(where, Fault(silent=True), times=None)
    began = time.monotonic()
    assert door.small_files(REPO, None) == {}
    assert time.monotonic() - began < 1.5
    assert [record.action for record in caplog.records if hasattr(record, "action")] == ["no_papers"]


def test_offline_nobody_is_asked_for_small_files(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `HF_HUB_OFFLINE=1` the cache is all there is."""
    door.small_files(REPO, None)
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert door.small_files(REPO, None).keys() == {"README.md", "LICENSE"}
    assert door.small_files("acme/other", None) == {}
    assert list(hub.requests) == []
