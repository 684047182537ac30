"""The environment files of an artifact: planned and checked before anything is written, then written.

What is pinned is what is installed here and what the saved objects and code files need. No model is loaded to find out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from warmlane.errors import RequirementsConflict
from warmlane.saving import check_environment
from warmlane_workers.flavor import needs
from warmlane_workers.flavor.pip_lines import Line, Reader, merge, read_text, true_path

#: pip's files.
REQUIREMENTS, CONSTRAINTS = "requirements.txt", "constraints.txt"
#: The same for conda and for virtual environments, as MLflow reads them.
CONDA, PYTHON_ENV = "conda.yaml", "python_env.yaml"

#: What any artifact is pinned to, as far as it is installed; transformers picks image processors by torchvision.
_ALWAYS = ("transformers", "torch", "torchvision", "accelerate", "safetensors")
#: What an artifact with an adapter is pinned to as well.
_ADAPTER = "peft"
#: What builds a virtual environment.
_BUILD = ("pip", "setuptools", "wheel")

Environment = Sequence[str] | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Requirements:
    """Files of an artifact's root, name -> text."""

    files: Mapping[str, str]

    def write(self, target: Path) -> None:
        """Write them into a directory that exists."""
        for name, text in self.files.items():
            (target / name).write_text(text, encoding="utf-8")


def plan(
    *,
    components: Mapping[str, Any],
    has_adapter: bool = False,
    code_files: Sequence[Path] = (),
    pip_requirements: Environment | None = None,
    extra_pip_requirements: Environment | None = None,
    conda_env: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    resolve: Callable[[Path], Path] = Path.resolve,
) -> Requirements:
    """Work out the environment of an artifact.

    Args:
        components: name -> the object that is saved, or None where there is no object.
        code_files: Python files that are saved too.
        pip_requirements: instead of what is found here; requirement lines, or the path of a file of them.
        extra_pip_requirements: beside what is found here.
        conda_env: a conda environment, or the path of its file; kept as it is, its pip section is what pip gets.
        resolve: the true place of a file that one of the three names; raises where it may not be read.

    Raises:
        RequirementsConflict: two of the three are given, a line is none, or a package is pinned twice.
        SourceError: a file that `resolve` refuses.
    """
    pip, extra = _plain(pip_requirements), _plain(extra_pip_requirements)
    conda = dict(conda_env) if isinstance(conda_env, Mapping) else _plain(conda_env)
    check_environment(pip, extra, conda)
    reader = Reader(resolve)
    conda_text = None
    if conda is not None:
        conda_text, environment, base = _conda(conda, resolve)
        lines = reader.argument(_pip_section(environment), "conda_env, pip section", base)
    elif pip is not None:
        lines = reader.argument(pip, "pip_requirements")
    else:
        lines = _found(components, has_adapter, code_files)
        lines += reader.argument(extra, "extra_pip_requirements") if extra is not None else []
    constraints = merge(reader.constraints)
    texts = [line.text for line in merge(lines, constraints)] + ([f"-c {CONSTRAINTS}"] if constraints else [])
    files = {
        REQUIREMENTS: _joined(texts),
        CONDA: _default_conda(texts) if conda_text is None else conda_text,
        PYTHON_ENV: _python_env(),
    }
    return Requirements(files | ({CONSTRAINTS: _joined(line.text for line in constraints)} if constraints else {}))


def _plain(given: Any) -> Any:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _found(components: Mapping[str, Any], has_adapter: bool, code_files: Sequence[Path]) -> list[Line]:
    first = (*_ALWAYS, _ADAPTER) if has_adapter else _ALWAYS
    rest = needs.of_components(components.values()) | needs.of_code(code_files)
    names = (*first, *sorted(rest.difference(first), key=str.lower))
    return [Line.parse(pin, "what is installed here") for pin in map(needs.pin, names) if pin is not None]


def _conda(conda: dict[str, Any] | str, resolve: Callable[[Path], Path]) -> tuple[str, Any, Path]:
    """(text of the file, its content, the directory that its paths start from)."""
    try:
        if isinstance(conda, dict):
            return yaml.safe_dump(conda, sort_keys=False, allow_unicode=True), conda, Path()
        true = true_path(Path(conda), "conda_env", resolve)
        text = read_text(true, "conda_env")
        return text, yaml.safe_load(text), true.parent
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise RequirementsConflict("conda_env: not a YAML mapping of plain values", field="conda_env") from exc


def _pip_section(environment: Any) -> list[str]:
    dependencies = environment.get("dependencies") if isinstance(environment, dict) else None
    if not isinstance(dependencies, list):
        raise RequirementsConflict(
            "conda_env: a mapping with a list of `dependencies`, as `conda env export` writes it", field="conda_env"
        )
    sections = [item["pip"] for item in dependencies if isinstance(item, dict) and "pip" in item]
    lines = [line for section in sections if isinstance(section, list) for line in section]
    if not all(isinstance(section, list) for section in sections) or not all(isinstance(line, str) for line in lines):
        raise RequirementsConflict("conda_env: its pip section is a list of requirement lines", field="conda_env")
    return lines


def _default_conda(lines: list[str]) -> str:
    pip = needs.pin("pip")
    content = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [
            f"python={platform.python_version()}",
            pip.replace("==", "<=") if pip else "pip",
            {"pip": lines},
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _python_env() -> str:
    build = [pin for pin in map(needs.pin, _BUILD) if pin]
    content = {
        "python": platform.python_version(),
        "build_dependencies": build or ["pip"],
        "dependencies": [f"-r {REQUIREMENTS}"],
    }
    return yaml.safe_dump(content, sort_keys=False)
