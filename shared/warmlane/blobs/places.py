"""Where blobs lie: a directory, or any URL that fsspec reads. Knows names and bytes, not what they mean.

The one door at which the errors of file systems become ours. fsspec is imported for a URL only.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from warmlane.errors import BlobMissing, BlobStoreUnavailable, ConfigurationError, MissingExtra, WarmlaneError


class Place(Protocol):
    """Bytes by name. Names are made here and have no separators; the first two characters choose a directory."""

    def write(self, name: str, data: bytes) -> None:
        """Whole or not at all."""
        ...

    def size(self, name: str) -> int:
        """How many bytes there are.

        Raises:
            BlobMissing: none of that name.
        """
        ...

    def read(self, name: str) -> bytes:
        """All of them."""
        ...

    def remove(self, name: str) -> None:
        """Nothing where there is nothing."""
        ...

    def names(self) -> list[str]: ...


def place(where: str) -> Place:
    """The place that a setting names: a path, `file://…`, or another URL.

    Raises:
        MissingExtra, ConfigurationError: fsspec, or what it needs for such a URL, is not there; or no place has such a
            URL.
    """
    parts = urlsplit(where)
    if not parts.scheme or "://" not in where:
        return Directory(Path(where).expanduser())
    if parts.scheme == "file":
        if parts.netloc or not parts.path:
            raise ConfigurationError("WARMLANE_BLOBS: a file's URL has three slashes, as in file:///srv/blobs")
        return Directory(Path(parts.path))
    return Remote(where)


class Directory:
    """A directory of this machine, or one that all machines mount. Made when the first blob is written."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        aside = path.with_name(f".{name}.{uuid.uuid4().hex[:8]}")
        with _door(str(self._root)):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())  # an accepted job outlives the machine, as far as Redis' own file does
                aside.rename(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise

    def size(self, name: str) -> int:
        with _door(str(self._root), name):
            return self._path(name).lstat().st_size

    def read(self, name: str) -> bytes:
        with (
            _door(str(self._root), name),
            os.fdopen(os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file,
        ):
            return file.read()

    def remove(self, name: str) -> None:
        with _door(str(self._root)):
            self._path(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        with _door(str(self._root)):
            return [path.name for path in self._root.glob("??/*") if not path.name.startswith(".")]

    def _path(self, name: str) -> Path:
        return self._root / name[:2] / name


class Remote:
    """Objects below a URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            from fsspec.core import url_to_fs

            self._fs: Any
            self._fs, root = url_to_fs(url)
        except ImportError as exc:
            raise MissingExtra(
                f"WARMLANE_BLOBS: {self._shown} needs fsspec and what it has for such URLs: {exc}"
            ) from exc
        except (ValueError, TypeError) as exc:
            raise ConfigurationError(f"WARMLANE_BLOBS: fsspec knows no {self._shown}; give a directory") from exc
        self._root = str(root).rstrip("/")

    def write(self, name: str, data: bytes) -> None:
        with _door(self._shown):
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(self._path(name), data)

    def size(self, name: str) -> int:
        with _door(self._shown, name):
            return int(self._fs.info(self._path(name))["size"])

    def read(self, name: str) -> bytes:
        with _door(self._shown, name):
            return bytes(self._fs.cat_file(self._path(name)))

    def remove(self, name: str) -> None:
        with _door(self._shown), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self) -> list[str]:
        with _door(self._shown):
            self._fs.invalidate_cache()
            try:
                return [str(path).rpartition("/")[2] for path in self._fs.find(self._root)]
            except FileNotFoundError:
                return []

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}"


@contextlib.contextmanager
def _door(shown: str, name: str | None = None) -> Iterator[None]:
    """Whatever a file system raises inside becomes one of ours; with a name, one that is not there is missing."""
    try:
        yield
    except WarmlaneError:
        raise
    except FileNotFoundError as exc:
        if name is None:
            raise _unavailable(shown, exc) from exc
        raise BlobMissing(
            f"blob {name} is not in {shown}: it has expired, or the two sides have other WARMLANE_BLOBS", blob=name
        ) from exc
    except Exception as exc:  # each of fsspec's file systems raises what its library raises
        raise _unavailable(shown, exc) from exc


def _unavailable(shown: str, exc: Exception) -> BlobStoreUnavailable:
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
    return BlobStoreUnavailable(f"the blob store {shown} cannot be used ({reason}); is it mounted, has it room?")
