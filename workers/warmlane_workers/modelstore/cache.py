"""Copies of a remote store's versions on this machine, shared by its processes.

    <root>/<name>/<version>-<digest>/MLmodel …

A copy appears whole, by one rename. Its name tells what the version consisted of, so an edited version is another copy.
Its directory's own time is that of its last use. A file that is gone, has another size, or was written after that time
is not the store's any more: it is fetched again when the copy is wanted next.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from warmlane_workers.modelstore import aside
from warmlane_workers.modelstore.backend import translated
from warmlane_workers.modelstore.manifest import Manifest, Stored

logger = logging.getLogger(__name__)

#: A copy that is of no use any more stays for so long after its last use, in seconds: a load may still read it.
IDLE_S = 3600
_COPY = re.compile(r"(?P<version>[0-9]+)-(?P<digest>[0-9a-f]{16})")


class Cache:
    """The copies of one store."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def find(self, name: str, version: int, manifest: Manifest) -> Path | None:
        """The copy of a version, if there is one and it is whole."""
        directory = self._directory(name, version, manifest)
        with translated(self.place):
            if _lacking(directory, manifest) is not None:
                return None
            try:
                os.utime(directory)
            except FileNotFoundError:  # another process sweeps
                return None
        return directory

    def fill(self, name: str, version: int, manifest: Manifest, fetch: Callable[[Path, Manifest], None]) -> Path:
        """The copy of a version. One fetches, others on this machine wait for it.

        Args:
            fetch: puts files into an empty directory: all, or those that the copy lacks.
        """
        with self.alone(name, f"fetching-{version}"):
            found = self.find(name, version, manifest)
            if found is not None:
                return found
            copy = self._directory(name, version, manifest)
            lacking = _lacking(copy, manifest) or manifest
            with self.beside(name) as directory:
                fetch(directory, lacking)
                if not copy.is_dir():
                    return self.adopt(directory, name, version, manifest)
                self._mend(copy, directory, lacking)
                return copy

    def _mend(self, copy: Path, directory: Path, lacking: Manifest) -> None:
        """Put files into a copy that others may be reading: each is replaced as a whole."""
        logger.warning("%s in the cache had changed: fetched again", copy.name, extra={"action": "copy_mended"})
        with translated(self.place):
            aside.sync(directory)
            for path in lacking.files:
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                (directory / path).replace(copy / path)
            os.utime(copy)

    def adopt(self, directory: Path, name: str, version: int, manifest: Manifest) -> Path:
        """Make a directory that was written beside the copy of a version."""
        copy = self._directory(name, version, manifest)
        with translated(self.place):
            aside.sync(directory)
            os.utime(directory)  # no file is younger
            try:
                directory.rename(copy)
            except OSError:
                if not copy.is_dir():  # else a reader was faster: the same files
                    raise
        return copy

    @contextlib.contextmanager
    def beside(self, name: str) -> Iterator[Path]:
        """An empty directory in the cache's own file system."""
        with contextlib.ExitStack() as stack:
            with translated(self.place):
                directory = stack.enter_context(aside.beside(self._root / name))
            yield directory

    @contextlib.contextmanager
    def alone(self, name: str, purpose: str) -> Iterator[None]:
        """Alone on this machine with a purpose."""
        with contextlib.ExitStack() as stack:
            with translated(self.place):
                (self._root / name).mkdir(parents=True, exist_ok=True)
                stack.enter_context(aside.held(self._root / name / f".{purpose}.lock"))
            yield

    def open(self) -> None:
        with translated(self.place):
            self._root.mkdir(parents=True, exist_ok=True)

    def sweep(self, digest: Callable[[str, int], str | None]) -> None:
        """Remove what dead processes left, and copies that are of no use any more.

        Args:
            digest: of what a version consists now; None if it is gone.
        """
        with translated(self.place):
            for home in [path for path in self._root.iterdir() if path.is_dir()]:
                aside.sweep(home)
                for copy in list(home.iterdir()):
                    match = _COPY.fullmatch(copy.name)
                    if match is None or not _idle(copy):
                        continue
                    if digest(home.name, int(match["version"])) != match["digest"]:
                        shutil.rmtree(copy, ignore_errors=True)

    def _directory(self, name: str, version: int, manifest: Manifest) -> Path:
        return self._root / name / f"{version}-{manifest.digest}"


def _lacking(copy: Path, manifest: Manifest) -> Manifest | None:
    """The files that a copy does not have as the store has them; None if it has them all."""
    try:
        used = copy.stat().st_mtime_ns
    except FileNotFoundError:
        return manifest
    files = {path: stored for path, stored in manifest.files.items() if not _is_whole(copy / path, stored, used)}
    return Manifest(files) if files else None


def _is_whole(file: Path, stored: Stored, used: int) -> bool:
    """Whether a file has its size, and nobody has written to it since the copy was last of use."""
    try:
        stat = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.st_size == stored.size and stat.st_mtime_ns <= used


def _idle(copy: Path) -> bool:
    try:
        return time.time() - copy.stat().st_mtime > IDLE_S
    except FileNotFoundError:  # another process sweeps too
        return False
