"""Lines of pip's requirements files: read, checked and merged. Installs nothing and asks no index.

What stands in them is what pip documents: requirements, URLs, `-r` and `-c` files, a few options for the whole file.
Paths of this machine are refused, since they are no part of the artifact.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from warmlane.errors import RequirementsConflict

#: Largest file of requirements that is read, in bytes.
MAX_BYTES = 1024 * 1024

_COMMENT = re.compile(r"(^|\s+)#.*$")
_FILE = re.compile(r"(?:-(?P<short>[rc])\s*|--(?P<long>requirement|constraint)(?:\s+|=))(?P<name>.+)")
#: Options that concern the whole file; kept as they are.
_OPTION = re.compile(
    r"(?:-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--pre|--prefer-binary|--only-binary|--no-binary"
    r"|--trusted-host|--require-hashes)(?:[\s=]|$)"
)
#: A package by its place alone, e.g. a wheel or a repository.
_URL = re.compile(r"(?:[a-z]+\+)?[a-z]+://\S+", re.IGNORECASE)
#: Where a requirement ends and its own options begin, e.g. ` --hash=sha256:…`.
_OWN_OPTIONS = re.compile(r"\s+--")


@dataclass(frozen=True, slots=True)
class Line:
    """A line that pip reads.

    Attributes:
        text: as it is written into a file.
        where: for errors: the argument and the line's number.
        requirement: None for an option, or a package that goes by its place alone.
    """

    text: str
    where: str
    requirement: Requirement | None = None

    @classmethod
    def parse(cls, text: str, where: str) -> Line:
        """
        Raises:
            RequirementsConflict: not a line that pip reads on any machine.
        """
        body = _OWN_OPTIONS.split(text, maxsplit=1)[0]
        if len(text.splitlines()) == 1:
            with contextlib.suppress(InvalidRequirement):
                return cls(text, where, Requirement(body))
            if _OPTION.match(text) or _URL.fullmatch(body):
                return cls(text, where)
        raise RequirementsConflict(
            f"{where}: not a requirement; give a package with versions, a URL, or `-r` and `-c` files", where=where
        )


@dataclass(slots=True)
class Reader:
    """Follows `-r` and `-c`, each file once.

    Attributes:
        resolve: the true place of a file; raises where it may not be read.
        constraints: lines of `-c` files, so far.
    """

    resolve: Callable[[Path], Path]
    constraints: list[Line] = field(default_factory=list)
    _read: set[Path] = field(default_factory=set)

    def argument(self, given: Sequence[str] | str, name: str, base: Path = Path()) -> list[Line]:
        """The lines of an argument: a list of them, or the path of a file.

        Args:
            base: what relative paths in a list start from.

        Raises:
            RequirementsConflict: a line is none, or a file is not readable; tells the line's number.
        """
        if isinstance(given, str):
            return list(self._file(Path(given), name))
        return list(self._lines(enumerate(given, 1), name, base))

    def _file(self, path: Path, where: str) -> Iterator[Line]:
        true = true_path(path, where, self.resolve)
        if true in self._read:
            return
        self._read.add(true)
        yield from self._lines(_logical(read_text(true, where).splitlines()), where, true.parent)

    def _lines(self, lines: Iterable[tuple[int, str]], name: str, base: Path) -> Iterator[Line]:
        for number, raw in lines:
            where, text = f"{name}, line {number}", _COMMENT.sub("", raw).strip()
            other = _FILE.fullmatch(text)
            if other is None:
                if text:
                    yield Line.parse(text, where)
                continue
            found = self._file(base / other["name"].strip(), where)
            if (other["short"] or other["long"]).startswith("r"):
                yield from found
            else:
                self.constraints.extend(list(found))  # which may extend it themselves


def true_path(path: Path, where: str, resolve: Callable[[Path], Path]) -> Path:
    """Where a file that an argument names truly lies.

    Raises:
        RequirementsConflict: no path that this system can have.
    """
    try:
        return resolve(path)
    except (OSError, ValueError, RuntimeError) as exc:  # too long, a null byte, a circle of links
        raise RequirementsConflict(f"{where}: not a path that this process can read", where=where) from exc


def read_text(path: Path, where: str) -> str:
    """A small text file that an argument names.

    Raises:
        RequirementsConflict: absent, too large, or not text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) <= MAX_BYTES:
            return content.decode("utf-8-sig")
    except (OSError, ValueError) as exc:
        raise RequirementsConflict(f"{where}: no such file, or not UTF-8 text", where=where) from exc
    raise RequirementsConflict(f"{where}: the file is larger than {MAX_BYTES} bytes", where=where)


def _logical(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(number, line), where a line that ends in a backslash goes on in the next."""
    start, held = 1, ""
    for number, line in enumerate(lines, 1):
        start = start if held else number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            held += line[:-1].strip() + " "
        else:
            yield start, held + line.strip()
            held = ""
    if held:
        yield start, held


def merge(lines: Iterable[Line], constraints: Iterable[Line] = ()) -> list[Line]:
    """One line a package, in order of first mention; versions of all its lines are asked for at once.

    Raises:
        RequirementsConflict: a package is pinned to a version that another line, or a constraint, rules out.
    """
    merged: dict[tuple[str, str], Line] = {}
    for line in lines:
        found = merged.setdefault(_key(line), line)
        if found.text != line.text:
            merged[_key(line)] = _both(found, line)
    for line in constraints:
        asked = merged.get(_key(line))
        if asked is not None and asked.requirement is not None and line.requirement is not None:
            _agree(asked.requirement, line.requirement, line.where)
    return list(merged.values())


def _key(line: Line) -> tuple[str, str]:
    if line.requirement is None:
        return line.text, ""
    return canonicalize_name(line.requirement.name), str(line.requirement.marker or "")


def _both(one: Line, other: Line) -> Line:
    first, second = one.requirement, other.requirement
    if first is None or second is None:
        return one
    versions = _agree(first, second, other.where)
    if second.url or first.url:
        return other if second.url else one
    extras = ",".join(sorted(first.extras | second.extras))
    marker = f"; {first.marker}" if first.marker else ""
    text = f"{first.name}{f'[{extras}]' if extras else ''}{versions}{marker}"
    return replace(one, text=text + _own_options(one) + _own_options(other), requirement=Requirement(text))


def _agree(first: Requirement, second: Requirement, where: str) -> SpecifierSet:
    """The versions that both allow. Ranges are not compared with each other, only what is pinned with all else."""
    if first.url and second.url and first.url != second.url:
        raise RequirementsConflict(f"{where}: {second.name} has two addresses; give one", where=where)
    versions = first.specifier & second.specifier
    pins = [spec.version for spec in versions if spec.operator in ("==", "===") and not spec.version.endswith(".*")]
    if pins and not any(versions.contains(pin, prereleases=True) for pin in pins):
        raise RequirementsConflict(
            f"{where}: {second.name} is pinned to another version already; leave one of the two out, "
            "or give all requirements as pip_requirements",
            where=where,
        )
    return versions


def _own_options(line: Line) -> str:
    found = _OWN_OPTIONS.search(line.text)
    return line.text[found.start() :] if found else ""
