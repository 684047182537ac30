"""The weight files of an artifact: how they are copied, and how a later load knows that they are still the same.

A file is known by its bytes, its SHA-256 and its modification time. A load compares size and time, and reads the file for
its hash only when the time is another one, as after a copy; so a file that nobody touched costs one `stat`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from warmlane.errors import ArtifactChanged, ArtifactDamaged, ArtifactIncomplete, StoreError

#: Path in the artifact -> `[bytes, SHA-256 in hex, modification time in ns]`.
Fingerprints = dict[str, list[Any]]

_WEIGHTS = "*.safetensors"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Translate what a file system says when it has no room.

    Raises:
        StoreError: the disk or the quota is full.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError("the disk is full; free space, or delete models that nobody needs") from exc
        raise


def fingerprint(directory: Path, known: Mapping[str, str] | None = None) -> Fingerprints:
    """Of every safetensors file below a directory.

    Args:
        known: SHA-256 of files whose hash somebody has worked out already, by their path below the directory.
    """
    found: Fingerprints = {}
    for path in sorted(directory.rglob(_WEIGHTS)):
        name = path.relative_to(directory).as_posix()
        stat = path.stat()
        found[name] = [stat.st_size, (known or {}).get(name) or sha256(path), stat.st_mtime_ns]
    return found


def check(directory: Path, fingerprints: Mapping[str, Any]) -> None:
    """Whether an artifact's weight files are those that were saved.

    Raises:
        ArtifactIncomplete: one is not there.
        ArtifactDamaged: one is shorter or longer than it was.
        ArtifactChanged: one is as long, and another.
    """
    for name, (size, digest, modified) in fingerprints.items():
        path = directory / name
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise ArtifactIncomplete(f"{name} is missing from the artifact; save the model again", file=name) from None
        if stat.st_size != size:
            raise ArtifactDamaged(
                f"{name} has {stat.st_size} bytes, {size} were saved; save the model again", file=name
            )
        if stat.st_mtime_ns != modified and sha256(path) != digest:
            raise ArtifactChanged(
                f"{name} is not the file that was saved (its SHA-256 differs); a version never changes: "
                "save the new weights as a new version",
                file=name,
            )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(source: Path, target: Path, *, link: bool = False) -> str | None:
    """Copy a file, and tell the SHA-256 of a weight file; the hash is worked out beside the copying, not after it.

    Args:
        link: the source is never changed in place (a hub cache), so a hard link does where one is possible.
    """
    weights = source.match(_WEIGHTS) or target.match(_WEIGHTS)
    with full_disk_told(), ThreadPoolExecutor(1) as beside:
        if link:
            _link_or_copy(source, target)
            # The hub's cache names large files by their hash.
            return source.name if weights and _SHA256.fullmatch(source.name) else None
        digest = beside.submit(sha256, source) if weights else None
        shutil.copyfile(source, target)
        return digest.result() if digest else None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        shutil.copyfile(source, target)  # another file system, or one without links
