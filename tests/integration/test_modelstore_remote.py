"""The model store behind a URL: uploads, the object that makes a version visible. On fsspec's memory."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.places import Place, heavy
from warmlane.errors import (
    ArtifactDamaged,
    ArtifactIncomplete,
    ArtifactTooNew,
    ConfigurationError,
    MissingExtra,
    ModelNotFound,
    StoreError,
    WarmlaneError,
)
from warmlane.model import ModelRef
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.modelstore.objects import Objects, describe
from warmlane_workers.modelstore.remote import UNREFERENCED_S


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_description_is_read_without_the_weights(place: Place) -> None:
    """Listing what there is downloads no weights, and leaves nothing in the cache."""
    _, artifact = place.store().publish("a", heavy)
    place.fs.rm_file(f"{place.root}/{place.object_of('model/weights')}")
    there = place.store("there")
    assert list(there.artifacts()) == [("a", 1, artifact)]
    assert place.cached("there") == []


def test_a_file_of_another_size_is_not_taken(place: Place) -> None:
    """Half an object is a store error that names the file; nothing of it stays in the cache."""
    place.store().publish("a", heavy)
    place.write(place.object_of("model/weights"), b"w" * 500)
    with pytest.raises(StoreError, match=r"model/weights.*another size"):
        place.store("there").path("a", 1)
    assert place.cached("there") == []


def test_a_file_that_is_gone_makes_the_version_incomplete(place: Place) -> None:
    """A missing object is told as such, and by its name in the model."""
    place.store().publish("a", heavy)
    place.fs.rm_file(f"{place.root}/{place.object_of('model/weights')}")
    with pytest.raises(ArtifactIncomplete, match="a/1: model/weights"):
        place.store("there").path("a", 1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\xff", ArtifactDamaged),
        (b"[]", ArtifactDamaged),
        (b'{"format": 1, "files": {"MLmodel": [3]}}', ArtifactDamaged),
        (b'{"format": 1, "files": {"../../outside": [3, "uploads/1-a/x"]}}', ArtifactDamaged),
        (b'{"format": 1, "files": {"/outside": [3, "uploads/1-a/x"]}}', ArtifactDamaged),
        (b'{"format": 1, "files": {"MLmodel": [3, "../b/uploads/1-a/x"]}}', ArtifactDamaged),
        (b'{"format": 2, "files": {}}', ArtifactTooNew),
    ],
    ids=["bytes", "list", "half", "above", "absolute", "another-model", "newer"],
)
def test_a_list_of_files_that_is_none_is_refused(place: Place, data: bytes, error: type[WarmlaneError]) -> None:
    """A garbled list, one that leads out of the directory, and one of a newer release; the others stay readable."""
    store = place.store()
    store.publish("a", heavy)
    store.publish("a", heavy)
    place.write("a/versions/1", data)
    with pytest.raises(error, match="a/1"):
        store.path("a", 1)
    assert [version for _, version, _ in place.store().artifacts()] == [2]


def test_what_was_just_listed_is_at_hand(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a second a reference is resolved without asking anybody; later, and where nobody has asked, it is not."""
    place.store().publish("a", heavy)
    store = place.store()
    assert store.at_hand(ModelRef.parse("a")) is None
    store.resolve(ModelRef.parse("a"))
    monkeypatch.setattr(Objects, "names", lambda objects, path: pytest.fail("it was asked"))
    assert store.at_hand(ModelRef.parse("a")) == 1
    assert store.at_hand(ModelRef.parse("a/2")) is None
    assert store.at_hand(ModelRef.parse("a@best")) is None
    monkeypatch.setattr("warmlane_workers.modelstore.remote.LISTED_S", -1.0)
    assert store.at_hand(ModelRef.parse("a")) is None


# -- publishing ------------------------------------------------------------------------------------------------------


def test_files_are_there_before_the_version_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object that makes a version visible is created when every file that it names can be read."""
    complete: list[bool] = []
    pipe_file = MemoryFileSystem.pipe_file

    def watched(self: MemoryFileSystem, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        if mode == "create":
            files = json.loads(value)["files"].values()
            complete.append(all(self.size(f"{place.root}/a/{at}") == size for size, at in files))
        pipe_file(self, path, value, mode, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", watched)
    place.store().publish("a", heavy)
    assert complete == [True]


def test_an_upload_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost in the middle is a store error, which a retry may mend; no object and no copy stays."""
    store = place.store()
    put_file = MemoryFileSystem.put_file

    def lost(self: MemoryFileSystem, lpath: str, rpath: str, **options: Any) -> None:
        if rpath.endswith("weights"):
            raise ConnectionResetError
        put_file(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", lost)
    with pytest.raises(StoreError, match=r"memory://.*reachable") as caught:
        store.publish("a", heavy)
    assert caught.value.retryable
    assert (place.objects(), place.cached(), store.versions("a")) == ([], [], [])


def test_a_request_that_was_sent_twice_creates_once(place: Place) -> None:
    """An object of the same content that is there already is our own; one of other content is somebody else's."""
    objects = Objects(f"memory:/{place.root}")
    assert objects.create("a/versions/1", b"mine")
    assert objects.create("a/versions/1", b"mine")
    assert not objects.create("a/versions/1", b"other")


def test_uploads_that_no_version_names_are_swept_when_they_are_old(place: Place) -> None:
    """What a killed save uploaded goes at a start a day later; a young upload and a version's stay."""
    now = time.time()
    place.store().publish("a", heavy)
    manifest = place.manifest()
    for stored in manifest["files"].values():  # as if the version had been published long ago
        data = place.fs.cat_file(f"{place.root}/a/{stored[1]}")
        place.fs.rm_file(f"{place.root}/a/{stored[1]}")
        stored[1] = f"uploads/1-old/{stored[1].split('/', 2)[2]}"
        place.write(f"a/{stored[1]}", data)
    place.write("a/versions/1", json.dumps(manifest).encode())
    dead, young = f"a/uploads/{int(now - UNREFERENCED_S - 60)}-dead/f", f"a/uploads/{int(now - 60)}-young/f"
    place.write(dead, b"x")
    place.write(young, b"x")
    store = place.store()
    assert dead not in place.objects()
    assert young in place.objects()
    assert (store.path("a", 1) / "model" / "weights").exists()
    assert place.object_of("MLmodel") in place.objects()


def test_nothing_is_swept_beside_a_list_that_cannot_be_read(place: Place) -> None:
    """What a garbled version names is not known, so old uploads of its model stay; the store opens all the same."""
    place.store().publish("a", heavy)
    place.write("a/versions/1", b"")
    place.write("a/uploads/1-old/f", b"x")
    place.store()
    assert "a/uploads/1-old/f" in place.objects()


# -- editing and deleting --------------------------------------------------------------------------------------------


def test_an_edit_uploads_what_changed_and_no_more(place: Place) -> None:
    """Unchanged files keep their objects; changed and new ones get new objects; removed ones are not named any more."""
    store = place.store()
    store.publish("a", heavy)
    before = place.manifest()["files"]
    with store.edit("a", 1) as directory:
        (directory / "new").write_text("new")
        (directory / "model" / "weights").write_bytes(b"v" * 1000)
    after = place.manifest()["files"]
    assert set(after) == {*before, "new"}
    assert {path for path in before if after[path] != before[path]} == {"model/weights"}
    with store.edit("a", 1) as directory:
        (directory / "new").unlink()
    assert set(place.manifest()["files"]) == set(before)


def test_a_failed_edit_changes_nothing(place: Place) -> None:
    """What an editor wrote before it raised is seen by nobody, on its own machine neither."""
    store = place.store()
    store.publish("a", heavy)
    before = place.objects()

    def edit() -> None:
        with store.edit("a", 1) as directory:
            (directory / "model" / "weights").write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        edit()
    assert place.objects() == before
    assert (store.path("a", 1) / "model" / "weights").read_bytes() == b"w" * 1000


def test_an_edit_does_not_bring_back_what_was_deleted(place: Place) -> None:
    """A version that is deleted while it is edited stays deleted, and the editor hears it."""
    store = place.store()
    store.publish("a", heavy)

    def edit() -> None:
        with store.edit("a", 1) as directory:
            (directory / "new").write_text("new")
            place.store("there").delete(ModelRef("a", 1))

    with pytest.raises(ModelNotFound, match="'a/1'"):
        edit()
    assert place.store("there").versions("a") == []


def test_a_deleted_version_leaves_two_small_objects(place: Place) -> None:
    """Its files are gone; what it was and that it is deleted keeps its number."""
    store = place.store()
    store.publish("a", heavy)
    store.delete(ModelRef("a", 1))
    assert place.objects() == ["a/versions/1", "a/versions/1.deleted"]


# -- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nosuch://user:secret@host/models", ConfigurationError, "nosuch://host/models"),
        ("hdfs3x://user:secret@host", ConfigurationError, "WARMLANE_STORE"),
        ("oci://user:secret@bucket/models", MissingExtra, "oci://bucket/models needs another package"),
    ],
)
def test_a_place_that_fsspec_cannot_reach_is_told_at_start(
    tmp_path: Path, url: str, error: type[ConfigurationError], message: str
) -> None:
    """An unknown protocol, and one whose package is missing; without the password."""
    with pytest.raises(error, match=message) as caught:
        ModelStore(url, tmp_path).open()
    assert "secret" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_refused_at_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker says at once what each save would stumble over."""

    def refuses(self: MemoryFileSystem, *args: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuses)
    with pytest.raises(ConfigurationError, match=r"WARMLANE_STORE.*Permission denied"):
        place.store()


def test_an_error_of_any_kind_is_the_stores(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file system has errors of its own: what is not the system's is told by its class, without its text."""
    store = place.store()

    class ClientError(Exception):
        pass

    def fails(self: MemoryFileSystem, *args: Any, **options: Any) -> None:
        raise ClientError("token=secret")

    monkeypatch.setattr(MemoryFileSystem, "ls", fails)
    with pytest.raises(StoreError, match="ClientError") as caught:
        store.versions("a")
    assert "secret" not in caught.value.message


def test_a_url_is_told_without_its_secrets() -> None:
    """Messages and logs have the protocol, the host and the path."""
    assert describe("sftp://user:secret@host:22/models?key=secret") == "sftp://host:22/models"
