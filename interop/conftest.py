"""MLflow and warmlane in one process, and a hub on loopback: nothing else is asked for anything.

The environment is set before either is imported: they read it once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hub import Hub

HUB = Hub()
HOME = tempfile.TemporaryDirectory(prefix="warmlane-interop-")
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": f"{HOME.name}/hub",
    "HF_HUB_OFFLINE": "0",
    "MLFLOW_TRACKING_URI": f"file://{HOME.name}/mlruns",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


def pytest_unconfigure() -> None:
    HUB.stop()
    HOME.cleanup()


@pytest.fixture
def hub() -> Hub:
    return HUB


@pytest.fixture(scope="session")
def bare() -> Callable[[str], Any]:
    """The pipeline of a kind, made once."""
    from tests import tiny_native as models

    made: dict[str, Any] = {}

    def get(kind: str) -> Any:
        if kind not in made:
            made[kind] = models.pipeline(kind)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def answer(bare: Callable[[str], Any]) -> Callable[[str], Any]:
    """What the bare pipeline of a kind answers, asked once."""
    from interop.questions import QUESTIONS

    given: dict[str, Any] = {}

    def get(kind: str) -> Any:
        if kind not in given:
            given[kind] = QUESTIONS[kind].ask(bare(kind))
        return given[kind]

    return get


@pytest.fixture(scope="session")
def ours(bare: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory to which warmlane saved the pipeline of a kind, with nothing else said."""
    from warmlane_workers import flavor

    return _saved(bare, tmp_path_factory.mktemp("ours"), flavor.save_model)


@pytest.fixture(scope="session")
def theirs(bare: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory to which MLflow saved the same pipeline."""
    import mlflow

    def save(pipeline: Any, path: Path) -> None:
        # Requirements are given: for its own, MLflow asks for torchvision and loads the model in another process.
        mlflow.transformers.save_model(pipeline, str(path), pip_requirements=["transformers"])

    return _saved(bare, tmp_path_factory.mktemp("theirs"), save)


def _saved(bare: Callable[[str], Any], root: Path, save: Callable[[Any, Path], Any]) -> Callable[[str], Path]:
    def get(kind: str) -> Path:
        path = root / kind
        if not path.exists():
            save(bare(kind), path)
        return path

    return get
