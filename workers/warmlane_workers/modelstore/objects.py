"""Objects below one URL: listed, read, written, created exclusively. The only file that imports fsspec, and the door at
which the errors of its many file systems become ours. Knows no model."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from warmlane.errors import ConfigurationError, MissingExtra, StoreError, WarmlaneError
from warmlane_workers.modelstore.backend import store_error, writing

#: fsspec's memory looks, and then writes: threads of one process take turns to create.
_CREATING = threading.Lock()


def describe(url: str) -> str:
    """A URL without user, password and options, for messages and logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Objects:
    """What lies below a URL, by paths relative to it.

    Raises:
        MissingExtra: fsspec needs another package for such a URL.
        ConfigurationError: it knows no such URL.
    """

    def __init__(self, url: str) -> None:
        self.place = describe(url)
        try:
            self._fs, root = url_to_fs(url)
        except ImportError as exc:
            raise MissingExtra(f"WARMLANE_STORE: {self.place} needs another package: {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(
                f"WARMLANE_STORE: fsspec knows no {self.place}; give a directory, or a URL of a protocol that it has"
            ) from exc
        self._root = str(root).rstrip("/")

    def check(self) -> None:
        """Write an object and remove it.

        Raises:
            ConfigurationError: that is impossible.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.replace(probe, b"")
            self.remove(probe)
        except StoreError as exc:
            raise ConfigurationError(f"WARMLANE_STORE: nothing can be written there: {exc.message}") from exc

    def names(self, path: str) -> list[str]:
        """The names right below a path, sorted; empty where nothing is."""
        full = self._full(path)
        with self._door():
            self._fs.invalidate_cache(full)
            try:
                found = self._fs.ls(full, detail=False)
            except FileNotFoundError:
                return []
        return sorted({str(entry).rstrip("/").rpartition("/")[2] for entry in found if self._below(full, str(entry))})

    def _below(self, full: str, entry: str) -> bool:
        """Not the path itself, which some places list among what is below it."""
        return entry.rstrip("/").rpartition("/")[0].strip("/") == full.strip("/")

    def read(self, path: str) -> bytes | None:
        """A small object; None where there is none."""
        with self._door():
            try:
                return bytes(self._fs.cat_file(self._full(path)))
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """Write a small object over what is there."""
        with self._door():
            self._make_parent(path)
            self._fs.pipe_file(self._full(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small object where there is none; False where there is one of other content."""
        with self._door(), _CREATING:
            self._make_parent(path)
            try:
                self._fs.pipe_file(self._full(path), data, mode="create")
            except FileExistsError:
                # A request whose answer was lost is sent again: then it is our own that is there already.
                return bytes(self._fs.cat_file(self._full(path))) == data
        return True

    def upload(self, file: Path, path: str) -> None:
        with self._door():
            self._make_parent(path)
            self._fs.put_file(str(file), self._full(path))

    def download(self, path: str, file: Path) -> bool:
        """False where there is no such object."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._door(), writing(str(file.parent)):
            try:
                self._fs.get_file(self._full(path), str(file))
            except FileNotFoundError:
                return False
        return True

    def remove(self, path: str) -> None:
        """Remove an object, or all below a path; it may be gone already."""
        with self._door(), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._full(path), recursive=True)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _make_parent(self, path: str) -> None:
        self._fs.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        try:
            yield
        except WarmlaneError:
            raise
        except Exception as exc:
            number = exc.errno if isinstance(exc, OSError) else None
            raise store_error(self.place, number, exc) from exc
