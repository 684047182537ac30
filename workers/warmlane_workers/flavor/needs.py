"""Which installed packages a model's objects and code files need. Looks at what is imported; imports nothing."""

from __future__ import annotations

import ast
import functools
import logging
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType

from packaging.utils import canonicalize_name
from transformers.dependency_versions_table import deps

logger = logging.getLogger(__name__)

#: Distribution -> the module that it is imported as, where that is not its own name.
_MODULES = {
    "Pillow": "PIL",
    "beautifulsoup4": "bs4",
    "faiss-cpu": "faiss",
    "opencv-python": "cv2",
    "protobuf": "google.protobuf",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
}
#: transformers' name of a backend -> the module that it stands for, where that is not its own name.
_BACKENDS = {"vision": "PIL", "protobuf": "google.protobuf", "speech": "torchaudio", "jinja": "jinja2"}
#: Where transformers keeps classes of one model; those elsewhere import what only some models need.
_OF_ONE_MODEL = "transformers.models."
#: Largest code file whose imports are read, in bytes.
_MAX_BYTES = 1024 * 1024


@functools.cache
def pin(distribution: str) -> str | None:
    """`name==version` of an installed distribution; a local label ("+cpu") is left out, no index knows it.

    Looked up once a process: what is imported stays what it was, though the installation changes.
    """
    try:
        return f"{distribution}=={metadata.version(distribution).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return None


def of_components(components: Iterable[object]) -> set[str]:
    """Distributions out of transformers' table of optional ones that the components' classes name and that are
    imported in this process. Those that every transformers brings along are not among them."""
    table = _optional()
    named = {name for component in components for kind in type(component).__mro__ for name in _named(kind)}
    return {table[name] for name in named & table.keys() if name in sys.modules}


def of_code(files: Iterable[Path]) -> set[str]:
    """Installed distributions that Python files import, but for the standard library and each other."""
    files = list(files)
    own = {path.stem for path in files} | {path.parent.name for path in files if path.name == "__init__.py"}
    imported = {name for path in files for name in _imports(path)} - own - sys.stdlib_module_names
    if not imported:
        return set()
    providers = metadata.packages_distributions()
    found = [set(providers.get(name, ())) for name in imported]
    # A namespace such as `google` has several, and only its name does not tell which.
    return {distributions.pop() for distributions in found if len(distributions) == 1}


@functools.cache
def _optional() -> dict[str, str]:
    """Module -> distribution."""
    always = {
        canonicalize_name(re.split(r"[^\w.-]", line, maxsplit=1)[0])
        for line in metadata.requires("transformers") or ()
        if "extra ==" not in line
    }
    names = {re.split(r"[^\w.-]", name, maxsplit=1)[0] for name in deps}
    return {_MODULES.get(name, name.replace("-", "_")): name for name in names if canonicalize_name(name) not in always}


def _named(kind: type) -> Iterator[str]:
    """Modules that a class declares as its backends, or that its own module has imported names from."""
    for backend in vars(kind).get("__backends", ()):
        name = str(getattr(backend, "package_name", backend))
        yield _BACKENDS.get(name, name)
    if kind.__module__.startswith("transformers.") and not kind.__module__.startswith(_OF_ONE_MODEL):
        return
    module = sys.modules.get(kind.__module__)
    for value in list(vars(module).values()) if module else ():
        if isinstance(value, ModuleType):
            yield from _prefixes(value.__name__)
        elif isinstance(value, type | FunctionType):
            yield from _prefixes(value.__module__ or "")


def _prefixes(module: str) -> Iterator[str]:
    """The module's first name, and its first two, as in `google.protobuf`."""
    parts = module.split(".")
    yield parts[0]
    yield ".".join(parts[:2])


def _imports(path: Path) -> set[str]:
    """First names of the absolute imports of a file; the file is parsed, not run."""
    try:
        with path.open("rb") as file:
            tree = ast.parse(file.read(_MAX_BYTES))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # too deep for the parser is one of these
        logger.warning("the imports of %s cannot be told: not readable as Python", path.name, extra={"action": "save"})
        return set()
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}
