"""A save that fails in the middle leaves nothing, and says why; what was there before stays."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests.artifacts import bare, files
from warmlane.errors import StoreError
from warmlane_workers.flavor import save_model
from warmlane_workers.mlmodel import Artifact

TASK = "text-classification"


def full(*args: Any, **kwargs: Any) -> Any:
    """A write that finds no room."""
    raise OSError(errno.ENOSPC, "No space left on device")


def as_pipeline(checkpoint: Path) -> Any:
    return bare(TASK, checkpoint)


def as_directory(checkpoint: Path) -> Any:
    return checkpoint


#: Where the disk is full: what is replaced there, and a source that gets there.
STEPS: dict[str, tuple[Any, str, Callable[[Path], Any]]] = {
    "weights of a directory": (shutil, "copyfile", as_directory),
    "weights of a model": (transformers.PreTrainedModel, "save_pretrained", as_pipeline),
    "tokenizer": (transformers.PreTrainedTokenizerBase, "save_pretrained", as_directory),
    "papers": (Path, "write_bytes", as_directory),
    "environment": (Path, "write_text", as_directory),
    "description": (Artifact, "write", as_directory),
}


@pytest.fixture(params=STEPS)
def source(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """A source whose save gets as far as one of the steps."""
    where, name, form = STEPS[request.param]
    found = form(checkpoints[TASK])
    monkeypatch.setattr(where, name, full)
    return found


def test_a_full_disk_leaves_nothing(source: Any, target: Path) -> None:
    """Wherever it comes, the error says what to do, and nothing of the artifact is left."""
    with pytest.raises(StoreError, match="free space") as caught:
        save_model(source, target)
    assert caught.value.retryable
    assert not target.exists()


def test_a_full_disk_leaves_an_empty_directory_empty(source: Any, target: Path) -> None:
    """A directory that the caller made stays the caller's."""
    target.mkdir()
    with pytest.raises(StoreError):
        save_model(source, target)
    assert not list(target.iterdir())


@pytest.mark.parametrize("step", ["weights of a directory", "environment"])
def test_a_full_disk_leaves_nothing_of_an_import(
    artifact: Path, target: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """An MLflow directory is copied whole or not at all."""
    where, name, _ = STEPS[step]
    monkeypatch.setattr(where, name, full)
    with pytest.raises(StoreError, match="free space"):
        save_model(artifact, target)
    assert not target.exists()


def test_any_other_error_leaves_nothing_either(
    checkpoints: dict[str, Path], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library raises in the middle of a write, the target is as it was."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug of somebody's")

    monkeypatch.setattr(Artifact, "write", broken)
    with pytest.raises(RuntimeError, match="somebody"):
        save_model(checkpoints[TASK], target)
    assert not target.exists()


def test_a_save_that_somebody_stops_leaves_nothing(checkpoints: dict[str, Path], target: Path) -> None:
    """A report that raises, as that of a cancelled job does, ends the save at once."""

    def stop(fraction: float, phase: str) -> None:
        if phase == "writing components":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_model(checkpoints[TASK], target, report=stop)
    assert not target.exists()


def test_the_parents_of_a_target_are_made(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """A path need not have been prepared."""
    save_model(checkpoints[TASK], tmp_path / "a" / "b" / "c")
    assert "MLmodel" in files(tmp_path / "a" / "b" / "c")


def test_progress_is_told_in_order(checkpoints: dict[str, Path], target: Path) -> None:
    """Fractions of one, each with what is going on, never going back."""
    told: list[tuple[float, str]] = []
    save_model(checkpoints[TASK], target, report=lambda fraction, phase: told.append((fraction, phase)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert {"reading the source", "writing weights", "writing components"} <= {phase for _, phase in told}
