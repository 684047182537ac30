"""Python files of the saver's own, kept under `code/` and importable after a load. Here they are copied, never run.

Source: the guide's `code_paths`, as MLflow lays it out: each file or directory under its own name.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmlane.errors import ArtifactIncomplete, InvalidCodePaths
from warmlane_workers.mlmodel import CODE_DIR

#: What an interpreter makes of code and makes again.
_COMPILED_DIR, _COMPILED_SUFFIX = "__pycache__", ".pyc"


@dataclass(frozen=True, slots=True)
class Code:
    """Files to copy.

    Attributes:
        files: (true path, path under `code/`), in order of the latter.
    """

    files: tuple[tuple[Path, Path], ...] = ()

    @property
    def python_files(self) -> list[Path]:
        return [true for true, place in self.files if place.suffix == ".py"]

    def write(self, target: Path) -> None:
        """Copy them under `code/` of a directory that exists; without files there is no `code/`."""
        for true, place in self.files:
            copy = target / CODE_DIR / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(true, copy)


def gather_code(paths: Sequence[str | os.PathLike[str]] | None, resolve: Callable[[Path], Path] = Path.resolve) -> Code:
    """List the files of `code_paths`, before anything is written: a target inside one of them is not among them.

    Args:
        resolve: a path's true place; raises where it may not be read.

    Raises:
        InvalidCodePaths: no list, or one of the paths is absent, is neither file nor directory, or has the name of
            another; the message tells its position.
        SourceError: a file that `resolve` refuses.
    """
    if isinstance(paths, str | bytes) or not isinstance(paths, Sequence | None):
        raise InvalidCodePaths("code_paths: a list of files and directories", field="code_paths")
    found: dict[Path, Path] = {}
    roots: set[str] = set()
    for position, given in enumerate(paths or ()):
        field = f"code_paths[{position}]"
        true = _existing(given, field, resolve)
        if true.name in roots:
            raise InvalidCodePaths(f"{field}: its name is that of another; rename one of the two", field=field)
        roots.add(true.name)
        found |= dict(_walk(true, Path(true.name), field, resolve))
    return Code(tuple((found[place], place) for place in sorted(found)))


def add_code(directory: Path) -> None:
    """Make the code of an artifact importable in this process, before all other; once, however often it is called.

    From here on the artifact's own code may run: only for a caller who trusts it. Modules keep their names in the
    whole process, so of two artifacts with a module of one name the first import wins.

    Raises:
        ArtifactIncomplete: there is no `code/`.
    """
    code = (directory / CODE_DIR).resolve()
    if not code.is_dir():
        raise ArtifactIncomplete(f"{CODE_DIR}/ is missing from the artifact; save the model again")
    if str(code) not in sys.path:
        sys.path.insert(0, str(code))
        importlib.invalidate_caches()


def _existing(given: object, field: str, resolve: Callable[[Path], Path]) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise InvalidCodePaths(f"{field}: a path is a str or a Path", field=field)
    try:
        true = resolve(Path(given))
        there = true.exists() and true.name != ""
    except (OSError, ValueError, RuntimeError) as exc:  # too long, a null byte, a circle of links
        raise InvalidCodePaths(f"{field}: not a path that this process can read", field=field) from exc
    if not there:
        raise InvalidCodePaths(f"{field}: no such file or directory", field=field)
    return true


def _walk(true: Path, place: Path, field: str, resolve: Callable[[Path], Path]) -> Iterator[tuple[Path, Path]]:
    """(place, true path) of the files in a directory, or of the one file; links are followed to files only."""
    if not os.access(true, os.R_OK) or not (true.is_file() or true.is_dir()):
        raise InvalidCodePaths(f"{field}: holds what is no file or directory that can be read", field=field)
    if true.is_file():
        yield place, true
    else:
        for child in true.iterdir():
            if child.name == _COMPILED_DIR or child.suffix == _COMPILED_SUFFIX:
                continue
            if child.is_symlink() and child.is_dir():
                raise InvalidCodePaths(f"{field}: holds a link to a directory; give the directory itself", field=field)
            yield from _walk(resolve(child), place / child.name, field, resolve)
