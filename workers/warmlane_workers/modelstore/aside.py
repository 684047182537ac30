"""Directories written aside, each under a lock that the kernel lets go of when its process dies.

    <home>/.saving-<id>        what is being written
    <home>/.saving-<id>.lock   locked for as long; made before and removed after it

So a sweep can tell what a killed process left from what a living one still writes: it can take the lock. Where several
hosts share a file system, locks may be known on one host only; what another host began is swept when it is a day old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".saving-"
_LOCK = ".lock"
#: Age at which another host's lock is believed to be nobody's, in seconds.
FOREIGN_S = 24 * 3600


@contextlib.contextmanager
def beside(home: Path) -> Iterator[Path]:
    """An empty directory in `home`, which is made if need be. Removed at the end, unless it was renamed."""
    home.mkdir(parents=True, exist_ok=True)
    directory = home / f"{_PREFIX}{uuid.uuid4().hex}"
    with held(directory.with_suffix(_LOCK)):
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def held(lock: Path) -> Iterator[None]:
    """Alone with a lock file, among threads and processes; waits for its turn. The file is gone afterwards."""
    descriptor = _take(lock, fcntl.LOCK_EX)
    assert descriptor is not None
    try:
        os.write(descriptor, socket.gethostname().encode())
        yield
    finally:
        lock.unlink(missing_ok=True)  # before it is let go of: whoever waits sees that the file is another
        os.close(descriptor)


@contextlib.contextmanager
def abandoned(lock: Path) -> Iterator[bool]:
    """Whether nobody holds a lock file; if so, it is held inside and gone afterwards."""
    descriptor = _take(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        yield False
        return
    try:
        free = not _foreign(descriptor)
        yield free
        if free:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def sweep(home: Path) -> None:
    """Remove the directories and locks that dead processes left in `home`."""
    entries = [entry for entry in home.iterdir() if entry.name.startswith(_PREFIX) or entry.suffix == _LOCK]
    for lock in {entry.with_suffix(_LOCK) for entry in entries}:
        with abandoned(lock) as free:
            if free and lock.name.startswith(_PREFIX):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)


def sync(directory: Path) -> None:
    """Flush files and directories to disk, so that a rename cannot become visible before what it names."""
    for parent, _, files in os.walk(directory):
        for name in files:
            flush(os.path.join(parent, name))
        flush(parent)


def flush(path: str | Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(lock: Path, operation: int) -> int | None:
    """A descriptor that has the lock; None where another has it and `operation` does not wait."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, operation)
            if _is_at(descriptor, lock):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it has removed it meanwhile: this is the lock of nobody


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _foreign(descriptor: int) -> bool:
    owner = os.pread(descriptor, 256, 0).decode(errors="replace")
    age = time.time() - os.fstat(descriptor).st_mtime
    return owner not in ("", socket.gethostname()) and age < FOREIGN_S
