"""What a bad network, a bad hub and a full disk do to a snapshot."""

from __future__ import annotations

import hashlib
import os
import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import huggingface_hub
import pytest

from tests.disks import largest_file
from tests.hub import Fault, Hub
from warmlane.errors import (
    ArtifactChanged,
    ArtifactDamaged,
    HubUnavailable,
    SourceError,
    StoreError,
    WarmlaneError,
)
from warmlane_workers.flavor import hub as door
from warmlane_workers.flavor.hub import tries

REPO = "acme/model"
MB = 1_000_000
ALL = ["*"]
#: A longer pause than anybody waits for within a job.
LONG = {"Retry-After": "3600"}


def refused(repo: str = REPO, revision: str | None = None, patterns: list[str] = ALL) -> WarmlaneError:
    with pytest.raises(WarmlaneError) as caught:
        door.snapshot(repo, revision, patterns)
    return caught.value


def asked(hub: Hub, where: str) -> int:
    """How often; the client has questions of its own, once a process."""
    return len([request for request in hub.requests if re.search(where, request)])


# -- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["GET /api/models/acme/model$", "GET .*safetensors"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_passes_is_tried_again(hub: Hub, commit: str, impatient: None, where: str, status: int) -> None:
    """A hub that is overloaded for a moment, at a look-up or at a file, costs a wait and no job."""
    hub.script(where, Fault(status), times=3)
    assert (door.snapshot(REPO, None, ALL) / "model.safetensors").stat().st_size == 2 * MB


def test_a_hub_may_ask_for_a_pause(hub: Hub, commit: str, impatient: None) -> None:
    """After 429 the hub is asked again as late as it wants."""
    hub.script("/api/models/", Fault(429, {"Retry-After": "1"}))
    began = time.monotonic()
    door.snapshot(REPO, None, ALL)
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("where", ["/api/models/", "/api/models/.*tree", "HEAD .*json", "GET .*safetensors"])
def test_a_long_pause_is_the_callers(hub: Hub, commit: str, where: str) -> None:
    """Nobody waits an hour within a job: it fails at once, says what was asked for, and may be tried again."""
    hub.script(where, Fault(429, LONG), times=None)
    began = time.monotonic()
    error = refused()
    assert isinstance(error, HubUnavailable)
    assert error.retryable
    assert "asks to wait 3600 s" in error.message
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("words", ["limit", "date"])
def test_a_pause_is_asked_for_in_other_words_too(hub: Hub, commit: str, words: str) -> None:
    """A limit that is used up tells when it begins anew, and a date is a wait."""
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1))
    headers = {"RateLimit": '"resolvers";r=0;t=3600'} if words == "limit" else {"Retry-After": in_an_hour}
    hub.script("/api/models/", Fault(429, headers), times=None)
    assert re.search(r"asks to wait (36|35)\d+ s", refused().message)
    assert asked(hub, "/api/models/") == 1


def test_pauses_end_together(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that asks for one short pause after the other is waited for no longer than for one long pause."""
    monkeypatch.setattr(tries, "PATIENCE_S", 1.5)
    hub.script("GET .*safetensors", Fault(429, {"Retry-After": "1"}), times=None)
    began = time.monotonic()
    assert isinstance(refused(), HubUnavailable)
    assert 1 <= time.monotonic() - began < 3


def test_a_long_pause_for_a_file_blocks_nobody(hub: Hub, commit: str) -> None:
    """The next who wants the file gets it: nothing sleeps on and holds its lock."""
    hub.script("GET .*safetensors", Fault(429, LONG))
    assert isinstance(refused(), HubUnavailable)
    assert (door.snapshot(REPO, None, ALL) / "model.safetensors").stat().st_size == 2 * MB


def test_the_client_keeps_its_patience_for_others(hub: Hub, commit: str) -> None:
    """Who calls the client in the same process, also after a call of ours, has its own way of trying again."""
    door.snapshot(REPO, None, ["*.json"])
    hub.script("GET .*safetensors", Fault(429))
    path = huggingface_hub.hf_hub_download(REPO, "model.safetensors", endpoint=hub.url)
    assert Path(path).stat().st_size == 2 * MB


@pytest.mark.parametrize("where", ["/api/models/", "HEAD .*safetensors", "GET .*safetensors"])
@pytest.mark.parametrize("status", [429, 503])
def test_patience_ends(hub: Hub, commit: str, impatient: None, where: str, status: int) -> None:
    """A hub that says "later" five times is unavailable; the client's own five times do not multiply ours."""
    hub.script(where, Fault(status), times=None)
    began = time.monotonic()
    error = refused()
    assert isinstance(error, HubUnavailable)
    assert ("asks to wait" if status == 429 else "answers HTTP 503") in error.message
    assert time.monotonic() - began < 2
    assert asked(hub, where) <= 10


def test_a_dropped_connection_resumes(hub: Hub, repository: Path) -> None:
    """A file whose connection ended in its midst is asked for from where it ended."""
    (repository / "model.safetensors").write_bytes(os.urandom(12 * MB))
    hub.push(REPO, repository)
    hub.script("GET .*safetensors", Fault(drop_after=11 * MB))
    directory = door.snapshot(REPO, None, ALL)
    assert (directory / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()
    parts = [request.rpartition(" ")[2] for request in hub.requests if "bytes=" in request]
    assert parts == [f"bytes={10 * 1024 * 1024}-"]  # the client writes ten mebibytes at a time


def test_a_reset_connection_is_tried_again(hub: Hub, commit: str, repository: Path, impatient: None) -> None:
    """A hub, or a proxy, that dies in the midst of a file costs the file's beginning."""
    hub.script("GET .*safetensors", Fault(drop_after=MB, reset=True))
    directory = door.snapshot(REPO, None, ALL)
    assert (directory / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()


def test_what_is_whole_is_not_fetched_again(hub: Hub, commit: str) -> None:
    """A download that failed goes on from the files that it has."""
    hub.script("GET .*safetensors", Fault(507))
    assert isinstance(refused(), HubUnavailable)
    door.snapshot(REPO, None, ALL)
    assert len(hub.paths) == len(set(hub.paths)) == 4


@pytest.mark.parametrize("where", ["/api/models/acme/model(/rev.*)?$", "/tree/", "GET .*resolve"])
def test_bodies_that_never_come_are_no_empty_model(
    hub: Hub, commit: str, impatient: None, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody in between who drops every body is the hub's absence; an empty directory in the cache is no snapshot."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    (door.cache_root() / "models--acme--model" / "snapshots" / commit).mkdir(parents=True)
    hub.script(where, Fault(drop_after=0), times=None)
    assert isinstance(refused(), HubUnavailable)
    assert isinstance(refused(revision=commit), HubUnavailable)


# -- what does not pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repo", "revision", "field", "remedy"),
    [
        ("acme/nobody", None, "source", "HF_TOKEN"),
        (REPO, "no-such-branch", "revision", "a branch, a tag or a commit"),
        (REPO, "0" * 40, "revision", "a branch, a tag or a commit"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    commit: str, repo: str, revision: str | None, field: str, remedy: str
) -> None:
    """A repository and a revision that are not there are told apart, and each has its remedy."""
    error = refused(repo, revision)
    assert type(error) is SourceError
    assert error.details["field"] == field
    assert repo in error.message
    assert remedy in error.message


def test_who_has_no_such_address_is_no_hub(hub: Hub, commit: str) -> None:
    """A 404 that says nothing of repositories does not pass: the address may be wrong."""
    hub.script("/api/models/", Fault(404), times=None)
    error = refused()
    assert type(error) is SourceError
    assert "HF_ENDPOINT" in error.message
    assert asked(hub, "/api/models/") == 1


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("where", ["/api/models/", "/resolve/"])
def test_a_refusal_names_the_token(hub: Hub, commit: str, status: int, where: str) -> None:
    """Who may not read a repository, or its files, is told of the token, and not to try again."""
    hub.script(where, Fault(status), times=None)
    error = refused()
    assert type(error) is SourceError
    assert error.details["status"] == status
    assert "HF_TOKEN" in error.message


def test_terms_that_nobody_accepted_are_named(hub: Hub, commit: str) -> None:
    """A gated repository says that its terms are to be accepted."""
    hub.repositories[REPO].gated = True
    assert "accept its terms" in refused().message


def test_a_hub_that_is_down_is_told_soon(hub: Hub, commit: str) -> None:
    """A refused connection is `HubUnavailable` within two seconds; the client alone would try for twenty-three."""
    with hub.down():
        began = time.monotonic()
        assert isinstance(refused(), HubUnavailable)
        assert time.monotonic() - began < 2


def test_a_silent_hub_is_told_soon(hub: Hub, commit: str, impatient: None) -> None:
    """A hub that takes the connection and never answers is `HubUnavailable` after two time-outs."""
    hub.script("/api/models/", Fault(silent=True), times=None)
    began = time.monotonic()
    assert isinstance(refused(), HubUnavailable)
    assert time.monotonic() - began < 2


def test_who_answers_and_is_no_hub_is_unavailable(hub: Hub, commit: str, impatient: None) -> None:
    """A page of somebody in between is no answer."""
    hub.script("/api/models/", Fault(200), times=None)
    assert isinstance(refused(), HubUnavailable)


def test_a_full_disk_is_a_store_error(hub: Hub, commit: str) -> None:
    """The cache's disk is no error of the hub: the message says to free space, and where."""
    with largest_file(MB):
        error = refused()
    assert isinstance(error, StoreError)
    assert error.retryable
    assert "free space" in error.message
    assert str(door.cache_root()) in error.message
    door.snapshot(REPO, None, ALL)


def test_a_cache_that_cannot_be_written_is_a_store_error(
    hub: Hub, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local error is told apart from the network's."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    error = refused()
    assert isinstance(error, StoreError)
    assert "HF_HOME" in error.message


# -- what is wrong ---------------------------------------------------------------------------------------------------


def test_wrong_bytes_are_refused_and_not_kept(hub: Hub, commit: str, repository: Path) -> None:
    """A file whose SHA-256 is not the hub's is refused, and nothing of it stays to be taken for good later."""
    hub.script("GET .*safetensors", Fault(wrong=True))
    error = refused()
    assert isinstance(error, ArtifactChanged)
    assert error.details["file"] == "model.safetensors"
    digest = hashlib.sha256((repository / "model.safetensors").read_bytes()).hexdigest()
    assert not [path for path in door.cache_root().rglob("*") if path.name in (digest, "model.safetensors")]
    door.snapshot(REPO, None, ALL)


def test_a_file_of_another_length_is_refused(hub: Hub, commit: str, repository: Path) -> None:
    """A file that has not the length of the listing is damaged."""
    files = hub.repositories[REPO].commits[commit]
    door.snapshot(REPO, None, ["config.json"])  # the listing is known from now on
    files["README.md"] = b"a longer card"
    error = refused()
    assert isinstance(error, ArtifactDamaged)
    assert "13 bytes, the hub says 6" in error.message


def test_a_cut_file_in_the_cache_is_fetched_again(hub: Hub, commit: str) -> None:
    """The cache is believed as far as lengths go."""
    path = door.snapshot(REPO, None, ALL) / "model.safetensors"
    os.truncate(path, MB)
    assert (door.snapshot(REPO, commit, ALL) / "model.safetensors").stat().st_size == 2 * MB


def test_a_changed_file_in_the_cache_is_found_by_its_hash(hub: Hub, commit: str, repository: Path) -> None:
    """With `verify`, what the cache has is read, and fetched again where it is not the hub's."""
    path = door.snapshot(REPO, None, ALL) / "model.safetensors"
    path.resolve().write_bytes(bytes(2 * MB))
    found = door.snapshot(REPO, commit, ALL, verify=True) / "model.safetensors"
    assert found.read_bytes() == (repository / "model.safetensors").read_bytes()
