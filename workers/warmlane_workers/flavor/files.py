"""The weight files of an artifact: how they are copied, and how a later load knows that they are still the same.

A file is known by its bytes, its hash and its modification time. A load compares size and time, and reads the file for
its hash only when the time is another one, as after a copy; so a file that nobody touched costs one `stat`. The hash is
XXH3, 128 bits: it tells accidents, at ten times the speed of SHA-256, so that it is hidden behind the copying of a
file. Who may write the store may write the hash too, so no hash could tell more.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors
import xxhash

from warmlane.errors import ArtifactChanged, ArtifactDamaged, ArtifactIncomplete, StoreError
from warmlane_workers.modelstore.backend import FULL, system_error

#: Path in the artifact -> `[bytes, XXH3-128 in hex, modification time in ns]`.
Fingerprints = dict[str, list[Any]]

_WEIGHTS = "*.safetensors"
#: What is hashed at a time, in bytes.
_CHUNK = 4 * 1024 * 1024


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Translate what a file system says when it has no room.

    Raises:
        StoreError: the disk or the quota is full, or a file may not be as large.
    """
    try:
        yield
    except (OSError, safetensors.SafetensorError) as exc:
        if system_error(exc) in FULL:
            raise StoreError("the disk is full; free space, or delete models that nobody needs") from exc
        raise


def fingerprint(directory: Path, known: Mapping[str, str] | None = None) -> Fingerprints:
    """Of every safetensors file below a directory.

    Args:
        known: hashes of files that somebody has worked out already, by their path below the directory.
    """
    found: Fingerprints = {}
    for path in sorted(directory.rglob(_WEIGHTS)):
        name = path.relative_to(directory).as_posix()
        stat = path.stat()
        found[name] = [stat.st_size, (known or {}).get(name) or digest_of(path), stat.st_mtime_ns]
    return found


def check(directory: Path, fingerprints: object) -> None:
    """Whether an artifact's weight files are those that were saved.

    Raises:
        ArtifactIncomplete: one is not there.
        ArtifactDamaged: one is shorter or longer than it was, or the list is none.
        ArtifactChanged: one is as long, and another.
    """
    for name, (size, digest, modified) in _entries(fingerprints):
        path = directory / name
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise ArtifactIncomplete(f"{name} is missing from the artifact; save the model again", file=name) from None
        if stat.st_size != size:
            raise ArtifactDamaged(
                f"{name} has {stat.st_size} bytes, {size} were saved; save the model again", file=name
            )
        if stat.st_mtime_ns != modified and digest_of(path) != digest:
            raise ArtifactChanged(
                f"{name} is not the file that was saved (its hash differs); a version never changes: "
                "save the new weights as a new version",
                file=name,
            )


def _entries(fingerprints: object) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """What a file says of the files beside it, which anybody may have written.

    Raises:
        ArtifactDamaged: it is of another shape, or names something that is no weight file of the artifact.
    """
    if not isinstance(fingerprints, dict):
        raise ArtifactDamaged("MLmodel: the list of weight files is none; save the model again")
    for name, entry in fingerprints.items():
        path = PurePosixPath(str(name))
        if path.is_absolute() or ".." in path.parts or not path.match(_WEIGHTS):
            raise ArtifactDamaged("MLmodel: the list of weight files names another file; save the model again")
        if not isinstance(entry, list) or [type(part) for part in entry] != [int, str, int]:
            raise ArtifactDamaged("MLmodel: the list of weight files is none; save the model again")
        yield str(name), (entry[0], entry[1], entry[2])


def digest_of(path: Path) -> str:
    """The hash of a file's content."""
    found = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def content(directory: Path) -> tuple[tuple[str, str], ...]:
    """Name and hash of each small file of a directory: all but its weights, and what lies deeper."""
    paths = sorted(path for path in directory.glob("*") if path.is_file() and not path.match(_WEIGHTS))
    return tuple((path.name, digest_of(path)) for path in paths)


def copy(source: Path, target: Path, *, link: bool = False) -> str | None:
    """Copy a file, and tell the hash of a weight file; it is worked out beside the copying, not after it.

    Args:
        link: the source is never changed in place (a hub cache), so a hard link does where one is possible.
    """
    weights = source.match(_WEIGHTS) or target.match(_WEIGHTS)
    with full_disk_told(), ThreadPoolExecutor(1) as beside:
        digest = beside.submit(digest_of, source) if weights else None
        if not (link and _linked(source, target)):
            shutil.copyfile(source, target)
        return digest.result() if digest else None


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        return False  # another file system, or one without links
    return True
