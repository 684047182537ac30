"""Models in a directory.

    <root>/<name>/<version>/MLmodel …    a version
    <root>/<name>/<version>/.deleted     all that a deleted one leaves: its number is never given out again
    <root>/<name>/.aliases/<alias>       the number that it means

A version appears by one rename of a directory written aside, and is gone by one rename of a mark into it; both change
the time stamp of `<root>/<name>` in the same step, by which other processes notice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from warmlane.errors import ArtifactIncomplete, ConfigurationError
from warmlane.model import NAME
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import aside
from warmlane_workers.modelstore.backend import Write, check_unused, not_found, translated, writing

T = TypeVar("T")

_DELETED = ".deleted"
_ALIASES = ".aliases"
#: Written aside for a moment, under the name's lock; then renamed.
_MOVING = ".moving-"
_EDITING = ".editing-"
_CHANGING = ".changing.lock"
#: Directories younger than this are read again at each look, in nanoseconds.
_STAMP_NS = 2_000_000_000


class LocalBackend:
    """Model directories under one root."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root
        self._versions: dict[str, tuple[int, list[int]]] = {}
        self._aliases: dict[str, tuple[int, dict[str, int]]] = {}

    def open(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root):
                pass
            self.sweep()
        except OSError as exc:
            raise ConfigurationError(
                f"WARMLANE_STORE: nothing can be written to {self.place} ({exc.strerror}); choose another directory"
            ) from exc

    def sweep(self) -> None:
        for home in self._homes():
            for entry in list(home.iterdir()):
                if entry.name.startswith(_MOVING):
                    with self._alone(home.name):
                        entry.unlink(missing_ok=True)
                elif entry.name.startswith(_EDITING):
                    _sweep_edit(entry)
                elif entry.name.isdecimal() and _deleted(entry):
                    _empty(entry)
            aside.sweep(home)

    def _homes(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        return sorted(path for path in self._root.iterdir() if NAME.fullmatch(path.name) and path.is_dir())

    # -- looking ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        with translated(self.place):
            return [home.name for home in self._homes() if self.versions(home.name)]

    def versions(self, name: str) -> list[int]:
        def read(home: Path) -> list[int]:
            return [number for number in _numbers(home) if not _deleted(home / str(number))]

        return self._read(self._versions, name, self._root / name, read) or []

    def is_deleted(self, name: str, version: int) -> bool:
        return _deleted(self._root / name / str(version))

    def aliases(self, name: str) -> Mapping[str, int]:
        def read(directory: Path) -> dict[str, int]:
            return {file.name: int(file.read_text()) for file in sorted(directory.iterdir())}

        return self._read(self._aliases, name, self._root / name / _ALIASES, read) or {}

    def at_hand(self, name: str, *, aliases: bool) -> bool:
        return True

    def forget(self, name: str) -> None:
        self._versions.pop(name, None)
        self._aliases.pop(name, None)

    def _read(self, known: dict[str, tuple[int, T]], name: str, directory: Path, read: Callable[[Path], T]) -> T | None:
        """What a directory says, read again when it has changed; None where it is not."""
        with translated(self.place):
            try:
                changed = os.stat(directory).st_mtime_ns
                found = known.get(name)
                # A directory that changed just now may change again within the resolution of its time stamp.
                if found is None or found[0] != changed or time.time_ns() - changed < _STAMP_NS:
                    found = known[name] = changed, read(directory)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found[1]

    def path(self, name: str, version: int) -> Path:
        return self._root / name / str(version)

    def read(self, name: str, version: int) -> Artifact:
        try:
            return Artifact.read(self.path(name, version))
        except ArtifactIncomplete:
            if self.is_deleted(name, version):
                raise not_found(f"{name}/{version}") from None
            raise

    # -- changing --------------------------------------------------------------------------------------------------

    def publish(self, name: str, write: Write) -> tuple[int, Artifact]:
        home = self._root / name
        with contextlib.ExitStack() as stack:
            with translated(self.place):
                directory = stack.enter_context(aside.beside(home))
            with writing(self.place):
                artifact = write(directory)
            with translated(self.place):
                aside.sync(directory)
                return _claim(directory, home), artifact

    @contextlib.contextmanager
    def edit(self, name: str, version: int) -> Iterator[Path]:
        if version not in self.versions(name):
            raise not_found(f"{name}/{version}")
        with aside.held(self._root / name / f"{_EDITING}{version}.lock"), writing(self.place):
            yield self.path(name, version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        with translated(self.place), self._changing(name, version) as home:
            (home / _ALIASES).mkdir(exist_ok=True)
            moving = home / f"{_MOVING}{uuid.uuid4().hex}"
            moving.write_text(f"{version}\n")
            aside.flush(moving)
            moving.replace(home / _ALIASES / alias)
            aside.flush(home / _ALIASES)

    def remove_alias(self, name: str, alias: str) -> None:
        if alias not in self.aliases(name):
            raise not_found(f"{name}@{alias}")
        with translated(self.place), self._alone(name) as home:
            (home / _ALIASES / alias).unlink(missing_ok=True)

    def delete(self, name: str, version: int) -> None:
        with translated(self.place), self._changing(name, version) as home:
            check_unused(name, version, self.aliases(name))
            mark = home / f"{_MOVING}{uuid.uuid4().hex}"
            mark.touch()
            mark.replace(home / str(version) / _DELETED)
            aside.flush(home / str(version))
        with translated(self.place):
            _empty(home / str(version))

    @contextlib.contextmanager
    def _changing(self, name: str, version: int) -> Iterator[Path]:
        """Alone with a name that has a version; so no alias is set to what is being deleted."""
        if version not in self.versions(name):
            raise not_found(f"{name}/{version}")
        with self._alone(name) as home:
            self.forget(name)
            if version not in self.versions(name):
                raise not_found(f"{name}/{version}")
            yield home

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[Path]:
        with aside.held(self._root / name / _CHANGING):
            yield self._root / name


def _numbers(home: Path) -> list[int]:
    """All numbers that were given out, ascending."""
    return sorted(int(entry) for entry in os.listdir(home) if entry.isdecimal())


def _claim(directory: Path, home: Path) -> int:
    """Rename a directory to the next number that nobody has, and had."""
    version = max(_numbers(home), default=0) + 1
    while True:
        try:
            directory.rename(home / str(version))
        except OSError:
            if not (home / str(version)).exists():
                raise
            version += 1  # somebody else published this number meanwhile
        else:
            aside.flush(home)
            return version


def _deleted(version: Path) -> bool:
    return (version / _DELETED).exists()


def _empty(version: Path) -> None:
    """Remove all of a deleted version but its mark."""
    for entry in list(version.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _DELETED:
            entry.unlink(missing_ok=True)


def _sweep_edit(lock: Path) -> None:
    """Remove what an editor that died had written beside: the files and directories whose name begins with a dot."""
    with aside.abandoned(lock) as free:
        if not free:
            return
        for entry in (lock.parent / lock.stem.removeprefix(_EDITING)).glob(".*"):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != _DELETED:
                entry.unlink(missing_ok=True)
