"""The model store: names, versions, and the directory of each. Knows directories, not what is in them.

    <root>/<name>/<version>/MLmodel …

A version appears whole, by one rename of a directory written aside, and never changes after. Concurrent saves under one
name get different numbers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from warmlane.errors import ArtifactError, ConfigurationError, ModelNotFound
from warmlane.model import NAME, ModelRef
from warmlane_workers.mlmodel import Artifact

#: Key of the job that made a version, among warmlane's own facts in its `MLmodel`.
JOB_KEY = "job"
#: Directories younger than this are read again at each look, in nanoseconds.
_STAMP_NS = 2_000_000_000


class ModelStore:
    """Model directories under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[int, list[int]]] = {}

    def open(self) -> None:
        """Make the root.

        Raises:
            ConfigurationError: that is impossible, or nothing can be written there.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as exc:
            raise ConfigurationError(
                f"WARMLANE_STORE: nothing can be written to {self.root} ({exc.strerror}); choose another directory"
            ) from exc

    def publish(self, name: str, write: Callable[[Path], Artifact], job_id: str | None = None) -> tuple[int, Artifact]:
        """Write a new version of a model and make it visible; returns its number and description.

        Args:
            write: fills an empty directory.
            job_id: a job that may be run twice; its second run finds the version of the first.
        """
        if job_id is not None:
            done = self._made_by(name, job_id)
            if done is not None:
                return done
        home = self.root / name
        aside = home / f".saving-{uuid.uuid4().hex}"
        aside.mkdir(parents=True)
        try:
            artifact = write(aside)
            _sync(aside)
            return self._rename(aside, home), artifact
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _rename(self, aside: Path, home: Path) -> int:
        version = max(self.versions(home.name), default=0) + 1
        while True:
            try:
                aside.rename(home / str(version))
            except OSError:
                if not (home / str(version)).exists():
                    raise
                version += 1  # somebody else published this number meanwhile
            else:
                _sync_directory(home)
                return version

    def _made_by(self, name: str, job_id: str) -> tuple[int, Artifact] | None:
        for version, artifact in self._readable(name):
            if artifact.own.get(JOB_KEY) == job_id:
                return version, artifact
        return None

    def names(self) -> list[str]:
        """The names that have a version."""
        if not self.root.is_dir():
            return []
        return sorted(
            path.name for path in self.root.iterdir() if NAME.fullmatch(path.name) and self.versions(path.name)
        )

    def versions(self, name: str) -> list[int]:
        """A model's version numbers, ascending; empty for an unknown name."""
        home = os.path.join(self.root, name)
        try:
            changed = os.stat(home).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return []
        known = self._known.get(name)
        # A directory that changed just now may change again within the resolution of its time stamp.
        if known is None or known[0] != changed or time.time_ns() - changed < _STAMP_NS:
            known = changed, sorted(int(entry) for entry in os.listdir(home) if entry.isdecimal())
            self._known[name] = known
        return known[1]

    def path(self, name: str, version: int) -> Path:
        return self.root / name / str(version)

    def resolve(self, ref: ModelRef) -> int:
        """The version that a reference means.

        Raises:
            ModelNotFound: no such name, version or alias.
        """
        versions = self.versions(ref.name)
        if ref.alias is not None or not versions or ref.version not in (None, *versions):
            raise ModelNotFound(
                f"no model {str(ref)!r} in the store; `warmlane models` or `client.models()` lists what is there",
                model=str(ref),
            )
        return ref.version or versions[-1]

    def artifacts(self) -> Iterator[tuple[str, int, Artifact]]:
        """Every readable version; one that is damaged is left out."""
        for name in self.names():
            for version, artifact in self._readable(name):
                yield name, version, artifact

    def _readable(self, name: str) -> Iterator[tuple[int, Artifact]]:
        for version in self.versions(name):
            try:
                yield version, Artifact.read(self.path(name, version))
            except ArtifactError:
                continue


def _sync(directory: Path) -> None:
    """Flush files and directories to disk, so that the rename cannot become visible before what it names."""
    for parent, _, files in os.walk(directory):
        for name in files:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_directory(Path(parent))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
