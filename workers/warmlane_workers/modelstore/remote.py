"""Models in any place that fsspec reaches.

    <root>/<name>/uploads/<time>-<id>/…       files, written once
    <root>/<name>/versions/<number>           which files a version has, their sizes, where they lie
    <root>/<name>/versions/<number>.deleted   it is deleted: its number is never given out again
    <root>/<name>/aliases/<alias>             the number that it means

The files come first. A version becomes visible by one small object that is created exclusively, so that two savers
never get one number; where fsspec can only look and then write, let one worker serve the manage queue. An edit replaces
that object. An upload that no version names is swept when it is a day old.

What versions and aliases there are is believed for a second. Files are read through a cache on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from warmlane.errors import ArtifactError, ArtifactIncomplete, ModelNotFound, StoreError
from warmlane.model import NAME
from warmlane_workers.mlmodel import FILE, Artifact
from warmlane_workers.modelstore.backend import Write, check_unused, not_found, writing
from warmlane_workers.modelstore.cache import Cache
from warmlane_workers.modelstore.manifest import Manifest, Stored
from warmlane_workers.modelstore.objects import Objects

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long what was listed is believed, in seconds.
LISTED_S = 1.0
#: Age at which an upload that no version names is nobody's, in seconds: no save takes so long.
UNREFERENCED_S = 24 * 3600
_DELETED = ".deleted"


class RemoteBackend:
    """Models below a URL.

    Args:
        cache: directory for copies; those of each store lie apart.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._objects = Objects(url)
        self.place = self._objects.place
        self._cache = Cache(cache / hashlib.sha256(url.encode()).hexdigest()[:16])
        self._looking = threading.Lock()
        self._versions: dict[str, tuple[float, list[int]]] = {}
        self._aliases: dict[str, tuple[float, dict[str, int]]] = {}

    def open(self) -> None:
        self._cache.open()
        self._objects.check()
        self.sweep()

    def sweep(self) -> None:
        for name in self._homes():
            self._sweep_uploads(name)
        self._cache.sweep(self._digest)

    def _sweep_uploads(self, name: str) -> None:
        # Listed before the versions are: whatever is old and becomes a version's meanwhile is named by then.
        old = {
            f"uploads/{upload}"
            for upload in self._objects.names(f"{name}/uploads")
            if (began := upload.partition("-")[0]).isdecimal() and int(began) < time.time() - UNREFERENCED_S
        }
        if not old:
            return
        self.forget(name)
        for version in self.versions(name):
            try:
                old -= self._manifest(name, version).uploads
            except ModelNotFound:
                continue  # deleted meanwhile
            except ArtifactError as exc:
                logger.warning("nothing of %s is swept: %s", name, exc, extra={"action": "not_swept"})
                return
        for upload in old:
            self._objects.remove(f"{name}/{upload}")

    def _digest(self, name: str, version: int) -> str | None:
        try:
            return self._manifest(name, version).digest
        except (ModelNotFound, ArtifactError):
            return None

    # -- looking ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return [name for name in self._homes() if self.versions(name)]

    def _homes(self) -> list[str]:
        return [name for name in self._objects.names("") if NAME.fullmatch(name)]

    def versions(self, name: str) -> list[int]:
        def read() -> list[int]:
            entries = self._objects.names(f"{name}/versions")
            return sorted(int(entry) for entry in entries if entry.isdecimal() and f"{entry}{_DELETED}" not in entries)

        return self._look(self._versions, name, read)

    def is_deleted(self, name: str, version: int) -> bool:
        return self._objects.read(f"{name}/versions/{version}{_DELETED}") is not None

    def aliases(self, name: str) -> Mapping[str, int]:
        def read() -> dict[str, int]:
            found = {alias: self._objects.read(f"{name}/aliases/{alias}") for alias in self._aliases_of(name)}
            return {alias: int(number) for alias, number in found.items() if number is not None}

        return self._look(self._aliases, name, read)

    def _aliases_of(self, name: str) -> list[str]:
        return self._objects.names(f"{name}/aliases")

    def _look(self, known: dict[str, tuple[float, T]], name: str, read: Callable[[], T]) -> T:
        found = known.get(name)
        if found is None or not _believed(found):
            with self._looking:  # one asks, the others hear its answer
                found = known.get(name)
                if found is None or not _believed(found):
                    found = known[name] = time.monotonic(), read()
        return found[1]

    def at_hand(self, name: str, *, aliases: bool) -> bool:
        known = (self._versions, self._aliases) if aliases else (self._versions,)
        return all(name in found and _believed(found[name]) for found in known)

    def forget(self, name: str) -> None:
        with self._looking:
            self._versions.pop(name, None)
            self._aliases.pop(name, None)

    def read(self, name: str, version: int) -> Artifact:
        manifest = self._manifest(name, version)
        copy = self._cache.find(name, version, manifest)
        if copy is not None:
            return Artifact.read(copy)
        with tempfile.TemporaryDirectory() as directory:
            if FILE in manifest.files:
                self._fetch(name, version, Manifest({FILE: manifest.files[FILE]}), Path(directory))
            return Artifact.read(Path(directory))

    def path(self, name: str, version: int) -> Path:
        manifest = self._manifest(name, version)
        copy = self._cache.find(name, version, manifest)
        if copy is not None:
            return copy
        return self._cache.fill(
            name, version, manifest, lambda directory, files: self._fetch(name, version, files, directory)
        )

    def _fetch(self, name: str, version: int, manifest: Manifest, directory: Path) -> None:
        for path, stored in manifest.files.items():
            file = directory / path
            there = self._objects.download(f"{name}/{stored.at}", file)
            if there and file.stat().st_size == stored.size:
                continue
            self._manifest(name, version)  # it may have been deleted meanwhile
            if not there:
                raise ArtifactIncomplete(f"{name}/{version}: {path} is not in {self.place} any more; save it again")
            raise StoreError(f"{name}/{version}: {path} came from {self.place} with another size; try again")

    def _manifest(self, name: str, version: int) -> Manifest:
        model = f"{name}/{version}"
        data = self._objects.read(f"{name}/versions/{version}")
        if data is None or self.is_deleted(name, version):
            raise not_found(model)
        return Manifest.decode(data, model)

    # -- changing --------------------------------------------------------------------------------------------------

    def publish(self, name: str, write: Write) -> tuple[int, Artifact]:
        with self._cache.beside(name) as directory:
            with writing(self._cache.place):
                artifact = write(directory)
            manifest = self._upload(name, directory, {})
            version = self._claim(name, manifest)
            self.forget(name)
            self._cache.adopt(directory, name, version, manifest)
            return version, artifact

    def _claim(self, name: str, manifest: Manifest) -> int:
        entries = self._objects.names(f"{name}/versions")
        version = max((int(entry) for entry in entries if entry.isdecimal()), default=0) + 1
        while not self._objects.create(f"{name}/versions/{version}", manifest.encode()):
            version += 1  # somebody else published this number meanwhile
        return version

    def _upload(self, name: str, directory: Path, kept: Mapping[str, Stored]) -> Manifest:
        """Upload a directory's files; of those that are kept only the names."""
        upload = f"uploads/{int(time.time())}-{uuid.uuid4().hex}"
        files = {}
        try:
            for path, file in _files(directory).items():
                stored = kept.get(path) or Stored(file.stat().st_size, f"{upload}/{path}")
                if path not in kept:
                    self._objects.upload(file, f"{name}/{stored.at}")
                files[path] = stored
        except BaseException:
            self._drop(name, upload)
            raise
        return Manifest(files)

    def _drop(self, name: str, upload: str) -> None:
        try:
            self._objects.remove(f"{name}/{upload}")
        except StoreError as exc:
            logger.warning(
                "half an upload of %s stays until it is swept: %s", name, exc, extra={"action": "upload_left"}
            )

    @contextlib.contextmanager
    def edit(self, name: str, version: int) -> Iterator[Path]:
        with self._cache.alone(name, f"editing-{version}"), self._cache.beside(name) as directory:
            manifest = self._manifest(name, version)
            with writing(self._cache.place):
                shutil.copytree(self.path(name, version), directory, dirs_exist_ok=True)
                before = {path: _state(file) for path, file in _files(directory).items()}
                yield directory
            same = {path for path, file in _files(directory).items() if before.get(path) == _state(file)}
            if same == set(before) == set(_files(directory)):
                return
            edited = self._upload(name, directory, {path: manifest.files[path] for path in same})
            self._manifest(name, version)  # it may have been deleted meanwhile
            self._objects.replace(f"{name}/versions/{version}", edited.encode())
            self._cache.adopt(directory, name, version, edited)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._manifest(name, version)
        self._objects.replace(f"{name}/aliases/{alias}", str(version).encode())
        self.forget(name)

    def remove_alias(self, name: str, alias: str) -> None:
        if alias not in self._aliases_of(name):
            raise not_found(f"{name}@{alias}")
        self._objects.remove(f"{name}/aliases/{alias}")
        self.forget(name)

    def delete(self, name: str, version: int) -> None:
        self.forget(name)
        check_unused(name, version, self.aliases(name))
        manifest = self._manifest(name, version)
        self._objects.replace(f"{name}/versions/{version}{_DELETED}", b"")
        self.forget(name)
        for upload in manifest.uploads:
            self._objects.remove(f"{name}/{upload}")


def _believed(found: tuple[float, object]) -> bool:
    return time.monotonic() - found[0] <= LISTED_S


def _files(directory: Path) -> dict[str, Path]:
    """Path below the directory -> file."""
    return {file.relative_to(directory).as_posix(): file for file in sorted(directory.rglob("*")) if file.is_file()}


def _state(file: Path) -> tuple[int, int]:
    """What no change of a file leaves as it was."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
