"""What the model store asks of the place where models lie, and how that place's errors read.

Two places there are: `local` (a directory) and `remote` (anything that fsspec reaches). Neither knows what a model is
beyond its description.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from warmlane.errors import ModelInUse, ModelNotFound, StoreError, WarmlaneError
from warmlane_workers.mlmodel import Artifact

#: Fills an empty directory with a model.
Write = Callable[[Path], Artifact]

#: Errors that mean that there is no room.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: What a failing write says of the disk; any other error of a writer is its own.
_OF_DISK = FULL | _REFUSED - {errno.EACCES, errno.EPERM} | {errno.EIO}
#: How libraries written in Rust, safetensors among them, end the text of a failed system call.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class Backend(Protocol):
    """A place for models. A version's number is given out once, also when the version is deleted later.

    Attributes:
        place: where, for messages; without a password.
    """

    place: str

    def open(self) -> None:
        """Make the place and sweep it; `ConfigurationError` where nothing can be written."""
        ...

    def sweep(self) -> None:
        """Remove what writers left that are dead."""
        ...

    def names(self) -> list[str]: ...

    def versions(self, name: str) -> list[int]:
        """Ascending; without the deleted ones."""
        ...

    def is_deleted(self, name: str, version: int) -> bool:
        """Whether there was such a version and somebody deleted it."""
        ...

    def aliases(self, name: str) -> Mapping[str, int]: ...

    def at_hand(self, name: str, *, aliases: bool) -> bool:
        """Whether its versions, and its aliases if need be, can be told without waiting for a place that may be far."""
        ...

    def forget(self, name: str) -> None:
        """Look anew at the next question, whatever was read a moment ago."""
        ...

    def publish(self, name: str, write: Write) -> tuple[int, Artifact]:
        """A new version, whole or not at all."""
        ...

    def path(self, name: str, version: int) -> Path:
        """A local directory with all files of a version; it is not to be changed."""
        ...

    def read(self, name: str, version: int) -> Artifact:
        """A version's description, without its weights."""
        ...

    def edit(self, name: str, version: int) -> AbstractContextManager[Path]:
        """A directory to change a version in; one editor at a time."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None: ...

    def remove_alias(self, name: str, alias: str) -> None: ...

    def delete(self, name: str, version: int) -> None: ...


def not_found(ref: object) -> ModelNotFound:
    """No such name, version or alias."""
    return ModelNotFound(
        f"no model {str(ref)!r} in the store; `warmlane models` or `client.models()` lists what is there",
        model=str(ref),
    )


def check_unused(name: str, version: int, aliases: Mapping[str, int]) -> None:
    """Whether no alias points to a version.

    Raises:
        ModelInUse: names the aliases.
    """
    users = sorted(alias for alias, number in aliases.items() if number == version)
    if users:
        raise ModelInUse(
            f"{name}/{version} is what {', '.join(f'{name}@{alias}' for alias in users)} means; "
            "move the alias to another version, or delete it, first",
            model=f"{name}/{version}",
            aliases=users,
        )


@contextlib.contextmanager
def translated(place: str) -> Iterator[None]:
    """Every `OSError` inside becomes a `StoreError` that says what to do."""
    try:
        yield
    except OSError as exc:
        raise store_error(place, exc.errno, exc) from exc


@contextlib.contextmanager
def writing(place: str) -> Iterator[None]:
    """A disk that is full, broken or read-only becomes a `StoreError`; other errors of the writer pass."""
    try:
        yield
    except WarmlaneError:
        raise
    except Exception as exc:
        number = system_error(exc)
        if number not in _OF_DISK:
            raise
        raise store_error(place, number, exc) from exc


def system_error(error: BaseException) -> int | None:
    """The number of a failed system call, also where a library tells it in its text only."""
    if isinstance(error, OSError):
        return error.errno
    match = _OS_ERROR.search(str(error))
    return int(match[1]) if match else None


def store_error(place: str, number: int | None, error: Exception) -> StoreError:
    """What went wrong at a place, by the number of the system's error if there is one."""
    if number in FULL:
        remedy = "free space, for example with `warmlane delete`, then try again"
    elif number in _REFUSED:
        remedy = "let this user write there"
    elif number == errno.EIO:
        remedy = "its disk or network fails; look into the system's log"
    else:
        remedy = "is it there, and reachable?"
    what = os.strerror(number) if number else type(error).__name__
    return StoreError(f"the model store at {place}: {what}; {remedy}", errno=number)
