"""The copies that a machine keeps of what lies behind a URL: fetched once, mended, swept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.places import Place, heavy
from warmlane.errors import StoreError
from warmlane.model import ModelRef

#: Longer than any step here takes.
LIMIT_S = 20


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_version_is_fetched_once_and_then_read_from_the_cache(place: Place) -> None:
    """Another machine fetches a copy; after that neither it nor its other processes need the uploaded files."""
    place.store().publish("a", heavy)
    path = place.store("there").path("a", 1)
    assert (path / "model" / "weights").read_bytes() == b"w" * 1000
    place.fs.rm(f"{place.root}/a/uploads", recursive=True)
    assert place.store("there").path("a", 1) == path


def test_the_machine_that_saved_has_a_copy_already(place: Place) -> None:
    """What was written aside for the upload becomes the copy."""
    store = place.store()
    store.publish("a", heavy)
    assert len(place.cached()) == 1
    place.fs.rm(f"{place.root}/a/uploads", recursive=True)
    assert (store.path("a", 1) / "model" / "weights").exists()


def test_readers_at_the_same_time_fetch_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads of two processes that want one version download its weights once, and get one directory."""
    place.store().publish("a", heavy)
    weights = place.object_of("model/weights")
    fetched: list[str] = []
    get_file = MemoryFileSystem.get_file

    def counted(self: MemoryFileSystem, rpath: str, lpath: Any = None, **options: Any) -> None:
        fetched.append(rpath)
        get_file(self, rpath, lpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", counted)
    stores = [place.store("there"), place.store("there")]
    together = threading.Barrier(8, timeout=LIMIT_S)

    def read(number: int) -> Path:
        together.wait()
        return stores[number % 2].path("a", 1)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(8)))) == 1
    assert [path.endswith(weights) for path in fetched].count(True) == 1


def test_copies_of_no_use_leave_the_cache(place: Place) -> None:
    """At a start, an hour after their last use: the copy of a deleted version, and that of one before its edit."""
    store = place.store()
    store.publish("a", heavy)
    store.publish("a", heavy)
    with store.edit("a", 2) as directory:
        (directory / "new").write_text("new")
    store.delete(ModelRef("a", 1))
    assert len(place.cached()) == 3
    place.store()
    assert len(place.cached()) == 3
    place.unused()
    place.store()
    assert [place.tmp_path / "here" / name for name in place.cached()] == [
        place.tmp_path / "here" / store.path("a", 2).name
    ]


def _cut(file: Path) -> None:
    os.truncate(file, 500)


def _flip(file: Path) -> None:
    file.write_bytes(b"v" + file.read_bytes()[1:])


def _lose_directory(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


def _replace_directory(file: Path) -> None:
    _lose_directory(file)
    file.parent.write_text("")


@pytest.mark.parametrize("spoil", [_cut, _flip, Path.unlink, _lose_directory])
def test_a_spoilt_copy_is_mended(place: Place, spoil: Callable[[Path], None]) -> None:
    """A copy whose file somebody cut, changed or removed gets that file again from the store, and no other; who reads
    the copy meanwhile keeps its directory."""
    place.store().publish("a", heavy)
    path = place.store("there").path("a", 1)
    place.unused("there")
    spoil(path / "model" / "weights")
    place.fs.rm_file(f"{place.root}/{place.object_of('MLmodel')}")
    assert place.store("there").path("a", 1) == path
    assert (path / "model" / "weights").read_bytes() == b"w" * 1000
    place.fs.rm(f"{place.root}/a/uploads", recursive=True)
    assert place.store("there").path("a", 1) == path  # it is whole again


def test_a_spoilt_description_is_read_from_the_store(place: Place) -> None:
    """What a version is is told by the store where the copy does not have it any more."""
    _, artifact = place.store().publish("a", heavy)
    path = place.store("there").path("a", 1)
    (path / "MLmodel").write_text("")
    assert place.store("there").read("a", 1) == artifact


def test_a_copy_that_cannot_be_mended_is_a_store_error(place: Place) -> None:
    """A directory's name that a file has taken is told with the cache's place, and what to do."""
    place.store().publish("a", heavy)
    store = place.store("there")
    _replace_directory(store.path("a", 1) / "model" / "weights")
    with pytest.raises(StoreError, match="there"):
        store.path("a", 1)
