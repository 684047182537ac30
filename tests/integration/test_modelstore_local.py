"""The model store in a directory: what is left on disk after deaths, full disks and deletes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.stored import echo
from warmlane.errors import ConfigurationError, SourceError, StoreError
from warmlane.model import ModelRef
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.modelstore.aside import FOREIGN_S

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 20
#: Begins what its arguments say, tells so, and then waits for its death.
CHILD = """
import sys
from pathlib import Path
from warmlane_workers.modelstore import ModelStore
store = ModelStore(sys.argv[1], Path(sys.argv[2]))
def begin(directory):
    (directory / ".half").write_bytes(b"half")
    print("begun", flush=True)
    sys.stdin.read()
if sys.argv[3] == "publish":
    store.publish("a", begin)
else:
    with store.edit("a", 1) as directory:
        begin(directory)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def store(root: Path) -> ModelStore:
    return opened(root)


def opened(root: Path) -> ModelStore:
    store = ModelStore(root)
    store.open()
    return store


def on_disk(root: Path, name: str = "a") -> list[str]:
    return sorted(path.name for path in (root / name).iterdir())


def killed(root: str, cache: Path, what: str) -> None:
    """Run a child that begins something, and kill it in the middle."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, root, str(cache), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(LIMIT_S) == -signal.SIGKILL


def test_a_directory_needs_no_fsspec(root: Path) -> None:
    """The packages of remote places are imported for a URL only."""
    code = "import sys; from warmlane_workers.modelstore import ModelStore; ModelStore(sys.argv[1]).open(); "
    code += "print('fsspec' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, check=True, timeout=LIMIT_S)
    assert child.stdout == b"False\n"


# -- deaths ----------------------------------------------------------------------------------------------------------


def test_what_a_killed_save_left_is_gone_after_the_next_start(store: ModelStore, root: Path) -> None:
    """SIGKILL in mid-save: half a directory and a lock stay, no version; opening the store removes both."""
    store.publish("a", echo)
    killed(str(root), root, "publish")
    assert len(on_disk(root)) == 3
    assert opened(root).versions("a") == [1]
    assert on_disk(root) == ["1"]


def test_the_cache_of_a_killed_save_is_swept_too(tmp_path: Path) -> None:
    """Where the store is behind a URL the half lies in the cache, and is gone after the next start."""
    url, cache = f"local://{tmp_path}/remote", tmp_path / "cache"
    killed(url, cache, "publish")
    assert [path.name for path in cache.rglob("*") if path.is_file()] != []
    store = ModelStore(url, cache)
    store.open()
    assert store.names() == []
    assert [path.name for path in cache.rglob("*") if path.is_file()] == []


def test_what_a_killed_edit_left_is_gone_after_the_next_start(store: ModelStore, root: Path) -> None:
    """SIGKILL in mid-persist: the version is as it was, and what was written beside is removed."""
    store.publish("a", echo)
    before = sorted(path.name for path in store.path("a", 1).iterdir())
    killed(str(root), root, "edit")
    assert (store.path("a", 1) / ".half").exists()
    opened(root)
    assert sorted(path.name for path in store.path("a", 1).iterdir()) == before
    assert on_disk(root) == ["1"]


@pytest.mark.parametrize("what", ["publish", "edit"])
def test_what_a_living_process_writes_is_left_alone(store: ModelStore, root: Path, what: str) -> None:
    """A worker that starts while another saves or persists takes nothing away from it."""
    store.publish("a", echo)
    begun, go_on = threading.Event(), threading.Event()

    def work(directory: Path) -> Artifact:
        artifact = echo(directory) if what == "publish" else Artifact.read(directory)
        (directory / ".half").write_bytes(b"half")
        begun.set()
        assert go_on.wait(LIMIT_S)
        (directory / ".half").unlink()  # raises when a sweep took it
        return artifact

    def edit() -> None:
        with store.edit("a", 1) as directory:
            work(directory)

    worker = threading.Thread(target=(lambda: store.publish("a", work)) if what == "publish" else edit)
    worker.start()
    assert begun.wait(LIMIT_S)
    opened(root)
    go_on.set()
    worker.join(LIMIT_S)
    assert store.versions("a") == ([1, 2] if what == "publish" else [1])


def test_another_hosts_save_is_swept_when_it_is_a_day_old(store: ModelStore, root: Path) -> None:
    """On a shared file system a lock may be known on its own host only, so another host's is believed for a day."""
    store.publish("a", echo)
    left, lock = root / "a" / ".saving-1", root / "a" / ".saving-1.lock"
    left.mkdir()
    lock.write_text("another-host")
    store.sweep()
    assert left.exists()
    then = time.time() - FOREIGN_S - 60
    os.utime(lock, (then, then))
    store.sweep()
    assert on_disk(root) == ["1"]


def test_a_killed_delete_is_finished_at_the_next_start(store: ModelStore, root: Path) -> None:
    """The mark came first: the version is gone at once, its files at the next start, its number for ever."""
    store.publish("a", echo)
    store.publish("a", echo)
    (root / "a" / "2" / ".deleted").touch()
    (root / "a" / ".moving-1").touch()
    again = opened(root)
    assert again.versions("a") == [1]
    assert [path.name for path in (root / "a" / "2").iterdir()] == [".deleted"]
    assert on_disk(root) == ["1", "2"]
    assert again.publish("a", echo)[0] == 3


def test_a_deleted_version_leaves_its_mark_only(store: ModelStore, root: Path) -> None:
    """After a delete the disk has nothing of the version but the mark that keeps its number."""
    store.publish("a", echo)
    store.delete(ModelRef("a", 1))
    assert [path.name for path in (root / "a" / "1").iterdir()] == [".deleted"]
    assert on_disk(root) == ["1"]


def test_an_alias_and_a_delete_leave_no_locks(store: ModelStore, root: Path) -> None:
    """What is done under the name's lock takes it away again."""
    store.publish("a", echo)
    store.set_alias(ModelRef("a"), "live")
    store.remove_alias("a", "live")
    with store.edit("a", 1):
        pass
    assert on_disk(root) == [".aliases", "1"]


# -- disks -----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_nothing(store: ModelStore, root: Path) -> None:
    """A writer that raises leaves no file."""

    def fails(directory: Path) -> Artifact:
        (directory / "half").write_bytes(b"x" * 1000)
        raise SourceError("the disk of the source is gone")

    with pytest.raises(SourceError):
        store.publish("a", fails)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    store.publish("a", echo)
    with pytest.raises(SourceError):
        store.publish("a", fails)
    assert on_disk(root) == ["1"]


def full(directory: Path) -> None:
    with open("/dev/full", "wb") as file:
        file.write(b"weights")


def too_large(directory: Path) -> None:
    """The limit of this process for a file's size, met by a library that writes without Python's own functions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        safetensors.torch.save_file({"weight": torch.zeros(10_000)}, directory / "model.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def broken(directory: Path) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (full, "No space left on device; free space"),
        (too_large, "File too large; free space"),
        (broken, "Input/output error; its disk"),
    ],
)
def test_a_disk_that_fails_is_a_store_error_with_a_remedy(
    store: ModelStore, root: Path, write: Callable[[Path], None], message: str
) -> None:
    """Whoever meets the disk's error, Python or a library in Rust: it is told as the store's, and nothing is left."""

    def writes(directory: Path) -> Artifact:
        artifact = echo(directory)
        write(directory)
        return artifact

    store.publish("a", echo)
    with pytest.raises(StoreError, match=message) as caught:
        store.publish("a", writes)
    assert caught.value.retryable
    assert on_disk(root) == ["1"]


def test_a_store_that_cannot_be_written_is_refused_at_start(tmp_path: Path) -> None:
    """A worker says at once what each save would stumble over."""
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ConfigurationError, match="WARMLANE_STORE"):
        ModelStore(tmp_path / "file" / "models").open()


def test_a_file_or_a_foreign_directory_in_the_root_is_no_model(store: ModelStore, root: Path) -> None:
    """Only directories of a model's name with numbered versions in them count; a sweep leaves the others alone."""
    store.publish("a", echo)
    (root / "README").write_text("notes")
    (root / "Not A Name").mkdir()
    (root / "empty").mkdir()
    (root / "a" / "notes").mkdir()
    store.sweep()
    assert (store.names(), store.versions("a")) == (["a"], [1])
    assert on_disk(root) == ["1", "notes"]
    assert (root / "README").exists()


def test_a_number_is_not_given_out_again_while_a_higher_one_lives(store: ModelStore, root: Path) -> None:
    """After an old version was removed by hand, the next one is still newer than all others."""
    for _ in range(3):
        store.publish("a", echo)
    store.path("a", 2).rename(root / "removed-2")
    assert store.publish("a", echo)[0] == 4
