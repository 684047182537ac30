"""Names, versions and aliases, wherever the models lie. Knows which place it is, and no more of it.

`<root>` is a directory or `file://…`; any other URL is a place that fsspec reaches, with a cache on this machine.
A version appears whole and never changes, but for a persist, which adds the weights of a reference. Concurrent saves
under one name get different numbers, and no number is given out twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from warmlane.errors import ArtifactError, ModelNotFound
from warmlane.model import ModelRef
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore.backend import Backend, not_found
from warmlane_workers.modelstore.local import LocalBackend
from warmlane_workers.settings import WorkerSettings

#: Key of the job that made a version, among warmlane's own facts in its `MLmodel`.
JOB_KEY = "job"
_FILE = "file://"


class ModelStore:
    """The models under one root.

    Args:
        root: a directory, or a URL.
        cache: directory for copies of what a remote store holds; default: `WARMLANE_STORE_CACHE`.
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self._backend = _backend(str(root), cache)

    def open(self) -> None:
        """Make the root, and remove what writers left that are dead.

        Raises:
            ConfigurationError: that is impossible, nothing can be written there, or fsspec lacks a package for it.
        """
        self._backend.open()

    def sweep(self) -> None:
        """Remove what writers left that are dead; never what a living one still writes."""
        self._backend.sweep()

    # -- looking ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names that have a version."""
        return self._backend.names()

    def versions(self, name: str) -> list[int]:
        """A model's version numbers, ascending; empty for an unknown name."""
        return self._backend.versions(name)

    def is_deleted(self, name: str, version: int) -> bool:
        """Whether there was such a version and somebody deleted it."""
        return self._backend.is_deleted(name, version)

    def aliases(self, name: str) -> Mapping[str, int]:
        """A model's aliases and the versions that they mean."""
        return self._backend.aliases(name)

    def resolve(self, ref: ModelRef) -> int:
        """The version that a reference means.

        Raises:
            ModelNotFound: no such name, version or alias.
        """
        version = self._look(ref)
        if version is None:
            self._backend.forget(ref.name)  # it may have come since the last look
            version = self._look(ref)
        if version is None:
            raise not_found(ref)
        return version

    def at_hand(self, ref: ModelRef) -> int | None:
        """As `resolve`, where that is known without waiting for a place that may be far; else None."""
        return self._look(ref) if self._backend.at_hand(ref.name, aliases=ref.alias is not None) else None

    def _look(self, ref: ModelRef) -> int | None:
        versions = self._backend.versions(ref.name)
        if ref.alias is not None:
            version = self._backend.aliases(ref.name).get(ref.alias)
        else:
            version = ref.version or max(versions, default=None)
        return version if version in versions else None

    def path(self, name: str, version: int) -> Path:
        """A local directory with all files of a version, fetched if need be. Not to be changed: see `edit`.

        Raises:
            ModelNotFound, ArtifactError, StoreError: it cannot be fetched.
        """
        return self._backend.path(name, version)

    def read(self, name: str, version: int) -> Artifact:
        """A version's description; its weights stay where they are.

        Raises:
            ModelNotFound, ArtifactError, StoreError: it cannot be read.
        """
        return self._backend.read(name, version)

    def artifacts(self) -> Iterator[tuple[str, int, Artifact]]:
        """Every readable version; one that is damaged is left out."""
        for name in self.names():
            for version, artifact in self._readable(name):
                yield name, version, artifact

    def _readable(self, name: str) -> Iterator[tuple[int, Artifact]]:
        for version in self.versions(name):
            try:
                yield version, self.read(name, version)
            except (ArtifactError, ModelNotFound):
                continue

    # -- changing --------------------------------------------------------------------------------------------------

    def publish(self, name: str, write: Callable[[Path], Artifact], job_id: str | None = None) -> tuple[int, Artifact]:
        """Write a new version of a model and make it visible; returns its number and description.

        Args:
            write: fills an empty directory.
            job_id: a job that may be run twice; its second run finds the version of the first.

        Raises:
            StoreError: the place is full, broken or out of reach; there is no new version and nothing is left of it.
        """
        if job_id is not None:
            self._backend.forget(name)
            for version, artifact in self._readable(name):
                if artifact.own.get(JOB_KEY) == job_id:
                    return version, artifact
        return self._backend.publish(name, write)

    def edit(self, name: str, version: int) -> AbstractContextManager[Path]:
        """A local directory in which a version may be changed, `MLmodel` last; one editor at a time, others wait.

        In a local store it is the version itself, so a change is visible at once, and files whose name begins with a
        dot are removed by a sweep when the editor was killed. In a remote one it is a copy, of which everything becomes
        visible at the end, or nothing after an exception.

        Raises:
            ModelNotFound, StoreError
        """
        return self._backend.edit(name, version)

    def set_alias(self, ref: ModelRef, alias: str) -> int:
        """Let `name@alias` mean the version that a reference means now; returns it. An alias that there is moves.

        Raises:
            ModelNotFound, StoreError
        """
        version = self.resolve(ref)
        self._backend.set_alias(ref.name, alias, version)
        return version

    def remove_alias(self, name: str, alias: str) -> None:
        """Forget an alias; its version stays.

        Raises:
            ModelNotFound, StoreError
        """
        self._backend.remove_alias(name, alias)

    def delete(self, ref: ModelRef) -> list[int]:
        """Delete a version (`name/3`), a model with all its versions and aliases (`name`), or an alias (`name@alias`).

        Returns the versions that are gone.

        Raises:
            ModelNotFound: it is not there.
            ModelInUse: an alias points to that version.
            StoreError
        """
        self._backend.forget(ref.name)
        if ref.alias is not None:
            self.remove_alias(ref.name, ref.alias)
            return []
        if ref.version is not None:
            self._backend.delete(ref.name, ref.version)
            return [ref.version]
        versions = self.versions(ref.name)
        if not versions:
            raise not_found(ref)
        for alias in list(self.aliases(ref.name)):
            self.remove_alias(ref.name, alias)
        for version in versions:
            self._backend.delete(ref.name, version)
        return versions

    def forget(self, name: str) -> None:
        """Look anew at the next question about a name: another process has changed it."""
        self._backend.forget(name)


def _backend(root: str, cache: Path | None) -> Backend:
    if "://" not in root or root.startswith(_FILE):
        return LocalBackend(Path(root.removeprefix(_FILE)).expanduser())
    from warmlane_workers.modelstore.remote import RemoteBackend

    return RemoteBackend(root, cache or WorkerSettings.from_env().store_cache)
