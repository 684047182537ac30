"""Copies of a remote store's versions on this machine, shared by its processes.

    <root>/<name>/<version>-<digest>/MLmodel …

A copy appears whole, by one rename. Its name tells what the version consisted of, so an edited version is another copy.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from warmlane_workers.modelstore import aside
from warmlane_workers.modelstore.backend import translated
from warmlane_workers.modelstore.manifest import Manifest

#: A copy that is of no use any more stays for so long after its last use, in seconds: a load may still read it.
IDLE_S = 3600
_COPY = re.compile(r"(?P<version>[0-9]+)-(?P<digest>[0-9a-f]{16})")


class Cache:
    """The copies of one store."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    def find(self, name: str, version: int, manifest: Manifest) -> Path | None:
        """The copy of a version, if there is one."""
        directory = self._directory(name, version, manifest)
        try:
            os.utime(directory)  # when it was last of use
        except FileNotFoundError:
            return None
        return directory

    def fill(self, name: str, version: int, manifest: Manifest, fetch: Callable[[Path], None]) -> Path:
        """The copy of a version; `fetch` fills an empty directory. One fetches, others on this machine wait for it."""
        with self.alone(name, f"fetching-{version}"):
            found = self.find(name, version, manifest)
            if found is not None:
                return found
            with self.beside(name) as directory:
                fetch(directory)
                return self.adopt(directory, name, version, manifest)

    def adopt(self, directory: Path, name: str, version: int, manifest: Manifest) -> Path:
        """Make a directory that was written beside the copy of a version."""
        copy = self._directory(name, version, manifest)
        with translated(self.place):
            aside.sync(directory)
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


def _idle(copy: Path) -> bool:
    try:
        return time.time() - copy.stat().st_mtime > IDLE_S
    except FileNotFoundError:  # another process sweeps too
        return False
