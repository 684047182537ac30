"""Blobs: written whole, read with size and digest checked, swept when nobody knows their jobs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warmlane import Settings, codec
from warmlane.blobs import BlobRef, Blobs, StoredJob, is_reference, job_of, opened
from warmlane.blobs.places import Remote, place
from warmlane.errors import (
    BlobChanged,
    BlobMissing,
    BlobStoreUnavailable,
    CodecError,
    ConfigurationError,
    PayloadTooLarge,
)
from warmlane.jobs import PredictJob, new_id
from warmlane.message import JobMessage

JOB_ID = new_id()


@pytest.fixture(params=["directory", "file", "fsspec"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory by its path, by its URL, and a place that only fsspec knows."""
    places = {"directory": str(tmp_path / "blobs"), "file": f"file://{tmp_path}/blobs"}
    return places.get(request.param, f"memory://blobs-{uuid.uuid4().hex}")


def made(where: str, **settings: Any) -> Blobs:
    blobs = Blobs.of(Settings(blobs=where, **settings))
    assert blobs is not None
    return blobs


def test_what_was_written_is_read(where: str) -> None:
    """The same bytes, under a name that tells the job; a removed one is missing, and removing twice is nothing."""
    blobs = made(where)
    ref = blobs.write(JOB_ID, b"x" * 100_000)
    assert (ref.name[:32], ref.size) == (JOB_ID, 100_000)
    assert made(where).read(ref) == b"x" * 100_000
    blobs.remove(ref)
    blobs.remove(ref)
    with pytest.raises(BlobMissing, match="WARMLANE_BLOBS") as caught:
        blobs.read(ref)
    assert caught.value.details == {"blob": ref.name}


def test_what_is_not_what_was_written_is_refused(where: str) -> None:
    """Another size, or other bytes of the same size."""
    blobs = made(where)
    ref = blobs.write(JOB_ID, b"x" * 1000)
    for data in (b"x" * 999, b"y" * 1000):
        place(where).write(ref.name, data)
        with pytest.raises(BlobChanged):
            blobs.read(ref)


def test_a_reference_to_too_much_is_refused_before_anything_is_read(where: str) -> None:
    """By the size that it says; one that lies about it is found out by the size of the file."""
    blobs = made(where)
    ref = blobs.write(JOB_ID, b"x" * 1000)
    with pytest.raises(PayloadTooLarge, match="WARMLANE_BLOB_BYTES"):
        made(where, blob_bytes=999).read(ref)
    with pytest.raises(BlobChanged):
        made(where, blob_bytes=999).read(BlobRef(ref.name, 10, ref.sha256))


def test_a_store_that_is_not_there_says_so(tmp_path: Path) -> None:
    """A file where the directory should be: neither read nor written, with the remedy, and worth another try."""
    (tmp_path / "blobs").write_text("")
    blobs = made(str(tmp_path / "blobs"))
    acts: list[Callable[[], object]] = [
        lambda: blobs.write(JOB_ID, b"x"),
        lambda: blobs.read(BlobRef(f"{JOB_ID}-00000000-00000000", 1, "0" * 64)),
    ]
    for act in acts:
        with pytest.raises(BlobStoreUnavailable, match="is it mounted") as caught:
            act()
        assert caught.value.retryable


def test_a_url_that_nobody_knows_is_a_wrong_setting() -> None:
    """Said when the store is made, without what may be secret in it."""
    with pytest.raises(ConfigurationError, match="WARMLANE_BLOBS") as caught:
        made("nowhere://user:secret@host/blobs")
    assert "secret" not in caught.value.message


def test_no_half_written_blob_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle: no file of that name, and none beside it."""
    blobs = made(str(tmp_path))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlobStoreUnavailable, match="No space left"):
        blobs.write(JOB_ID, b"x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A blob is a file of ours; what somebody links there is not read."""
    blobs = made(str(tmp_path / "blobs"))
    ref = blobs.write(JOB_ID, b"x" * 10)
    (tmp_path / "secret").write_bytes(b"x" * 10)
    path = tmp_path / "blobs" / ref.name[:2] / ref.name
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises((BlobChanged, BlobStoreUnavailable)):
        blobs.read(ref)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"name": "../../etc/passwd", "size": 1, "sha256": "0" * 64},
        {"name": f"{JOB_ID}-00000000-00000000/..", "size": 1, "sha256": "0" * 64},
        {"name": f"{JOB_ID}-00000000-00000000", "size": -1, "sha256": "0" * 64},
        {"name": f"{JOB_ID}-00000000-00000000", "size": True, "sha256": "0" * 64},
        {"name": f"{JOB_ID}-00000000-00000000", "size": 1, "sha256": "0"},
        {"name": f"{JOB_ID}-00000000-00000000", "size": 1, "sha256": "0" * 64, "place": "/etc"},
    ],
)
def test_a_reference_that_we_would_not_make_is_none(body: Any) -> None:
    """No name leads out of the store, and no size is other than a whole number."""
    with pytest.raises(CodecError):
        BlobRef.from_dict(body)


def test_a_job_in_a_blob_travels_as_its_reference(tmp_path: Path) -> None:
    """The message is small, tells kind and model, and is the job again where it is opened."""
    blobs = made(str(tmp_path))
    job = PredictJob(model="m/3", inputs=["a text"] * 10_000, params={"top_k": 2})
    stored = StoredJob("predict", "m/3", blobs.write(JOB_ID, blobs.encode("fields", job.fields())))
    data = JobMessage.of(stored, JOB_ID).encode()
    assert len(data) < 500
    arrived = JobMessage.decode(data).kwargs["job"]
    assert (arrived, arrived.kind, arrived.subject) == (stored, "predict", "m/3")
    assert opened(blobs, arrived) == job
    with pytest.raises(BlobStoreUnavailable, match="set WARMLANE_BLOBS"):
        opened(None, arrived)


def test_a_result_is_told_from_the_reference_to_one(tmp_path: Path) -> None:
    """Whatever a result holds, even what looks like a reference."""
    blobs = made(str(tmp_path))
    ref = blobs.write(JOB_ID, blobs.encode("result", ["answer"]))
    assert is_reference(ref.frame())
    assert blobs.open_result(ref.frame()) == ["answer"]
    assert not is_reference(codec.encode("result", ["blob", ref.to_dict()]))


def test_fields_that_only_look_like_a_reference_are_refused() -> None:
    """A job's own fields never are `blob` and `subject`."""
    with pytest.raises(CodecError):
        job_of("predict", {"blob": "somewhere", "subject": "m"})


def test_a_sweep_removes_what_is_old_and_nobodys(where: str) -> None:
    """Neither the blobs of known jobs, nor young ones, nor what is not a blob."""
    blobs, lost, known = made(where), new_id(), new_id()
    refs = [blobs.write(lost, b"x"), blobs.write(known, b"x"), blobs.write(lost, b"y")]
    place(where).write("not-ours", b"x")
    asked: list[set[str]] = []

    def keep(ids: set[str]) -> set[str]:
        asked.append(ids)
        return {known}

    assert blobs.sweep(keep, 3600) == 0
    assert asked == []
    assert blobs.sweep(keep, -1) == 2
    assert asked == [{lost, known}]
    assert sorted(place(where).names()) == sorted([refs[1].name, "not-ours"])


def test_an_empty_store_is_swept_too(where: str) -> None:
    """Nothing was ever written there."""
    assert made(where).sweep(lambda ids: set(), 0) == 0


@pytest.mark.parametrize("url", ["file://", "file://blobs"])
def test_a_files_url_without_a_path_is_refused(url: str) -> None:
    """It would mean the working directory, which is another one for each process."""
    with pytest.raises(ConfigurationError, match="three slashes"):
        place(url)


def test_a_places_password_is_not_told() -> None:
    """The errors of a store name it without user and password."""
    remote = Remote("memory://user:secret@blobs")
    with pytest.raises(BlobMissing) as caught:
        remote.read(f"{JOB_ID}-00000000-00000000")
    assert "secret" not in caught.value.message


def test_the_embedded_server_brings_a_store(tmp_path: Path) -> None:
    """Below home; with a server of one's own there is none, unless it is set."""
    assert Settings(home=tmp_path).blob_store == str(tmp_path / "blobs")
    assert Blobs.of(Settings("redis://somewhere")) is None
    assert Settings("redis://somewhere", blobs="/blobs").blob_store == "/blobs"
