"""The environment files of an artifact, from what is installed here. Loads no model to find out."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import yaml

#: What any artifact needs to be loaded again.
_PACKAGES = ("transformers", "torch", "accelerate")


def write(directory: Path, extra: tuple[str, ...] = ()) -> None:
    """Write `requirements.txt`, `conda.yaml` and `python_env.yaml`, as MLflow names them."""
    pins = [pin for pin in map(_pin, (*_PACKAGES, *extra)) if pin]
    (directory / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pins}],
    }
    env = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    for name, content in (("conda.yaml", conda), ("python_env.yaml", env)):
        (directory / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _pin(package: str) -> str | None:
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
    return f"{package}=={version.partition('+')[0]}"  # a local label ("+cpu") is known to no registry
