"""Every kind of pipeline, saved by one and loaded by the other, answers as it did before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import transformers

from interop.questions import QUESTIONS, same
from tests.tiny_native import MAKERS
from warmlane_workers import flavor

pytestmark = pytest.mark.parametrize("kind", MAKERS)
Made = Callable[[str], Any]
Saved = Callable[[str], Path]


def test_mlflow_loads_our_pipeline(kind: str, ours: Saved, answer: Made) -> None:
    """`mlflow.transformers.load_model` makes of warmlane's directory a pipeline that answers as the bare one."""
    loaded = mlflow.transformers.load_model(str(ours(kind)))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))


def test_mlflow_loads_our_components(kind: str, ours: Saved, answer: Made) -> None:
    """As components, too: `transformers.pipeline(**components)` answers as the bare one."""
    loaded = mlflow.transformers.load_model(str(ours(kind)), return_type="components")
    assert same(QUESTIONS[kind].ask(transformers.pipeline(**loaded)), answer(kind))


def test_we_load_mlflows_pipeline(kind: str, theirs: Saved, answer: Made) -> None:
    """`flavor.load_model` makes of MLflow's directory a pipeline that answers as the bare one."""
    loaded = flavor.load_model(theirs(kind))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))


def test_we_load_mlflows_components(kind: str, theirs: Saved, answer: Made) -> None:
    """As components, too, of the same names as MLflow's own, so that both can be given to `transformers.pipeline`."""
    loaded = flavor.load_model(theirs(kind), return_type="components")
    assert set(loaded) == set(mlflow.transformers.load_model(str(theirs(kind)), return_type="components"))
    assert same(QUESTIONS[kind].ask(transformers.pipeline(**loaded)), answer(kind))


def test_we_import_mlflows_directory(kind: str, theirs: Saved, answer: Made, tmp_path: Path) -> None:
    """An MLflow directory saved once more by warmlane still loads in MLflow."""
    flavor.save_model(str(theirs(kind)), tmp_path / "model")
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))
