"""Checkpoints that nobody changes, copies to damage, models in memory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import BertConfig, BertForSequenceClassification

from tests import tiny
from warmlane_workers.flavor import save_model


@pytest.fixture(autouse=True, scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """transformers copies custom code to a directory before it imports it: one of our own."""
    with pytest.MonkeyPatch.context() as patch:
        directory = str(tmp_path_factory.mktemp("modules"))
        patch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", directory)
        patch.setattr(sys, "path", [*sys.path])
        yield


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One checkpoint directory a task."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {task: tiny.save(task, root / task) for task in tiny.TASKS}


@pytest.fixture
def classifier(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the classifier's checkpoint, to damage."""
    return Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "checkpoint"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where an artifact is to be; absent."""
    return tmp_path / "artifact"


@pytest.fixture(scope="session")
def artifact(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier that nobody changes."""
    path = tmp_path_factory.mktemp("artifact") / "model"
    save_model(checkpoints["text-classification"], path)
    return path


@pytest.fixture
def broken(artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact, to damage."""
    return Path(shutil.copytree(artifact, tmp_path / "broken"))


@pytest.fixture
def base(checkpoints: dict[str, Path]) -> Any:
    """A classifier that was loaded from a directory."""
    return BertForSequenceClassification.from_pretrained(checkpoints["text-classification"])


@pytest.fixture
def homeless(base: Any) -> Any:
    """The same, made from a configuration: it came from nowhere."""
    made: Any = BertForSequenceClassification(BertConfig(**base.config.to_diff_dict()))
    made.load_state_dict(base.state_dict())
    assert not made.name_or_path
    return made


@pytest.fixture
def tokenizer(checkpoints: dict[str, Path]) -> Any:
    """The classifier's."""
    return tiny.tokenizer(checkpoints["text-classification"])
