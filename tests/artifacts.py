"""Artifacts in tests: what lies in one, what a pipeline over one says, and saves that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
import yaml

from warmlane.errors import WarmlaneError
from warmlane_workers.flavor import save_model

TEXT = "the old dog sat under a good tree"


def files(directory: Path) -> set[str]:
    """The files of a directory, by their paths in it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def conf(path: Path) -> dict[str, Any]:
    """The configuration of an artifact's transformers flavor."""
    document = yaml.safe_load((path / "MLmodel").read_text())
    found: dict[str, Any] = document["flavors"]["transformers"]
    return found


def rewrite(path: Path, **changes: Any) -> Path:
    """Change keys of the flavor's configuration in an artifact's MLmodel; None takes one away."""
    document = yaml.safe_load((path / "MLmodel").read_text())
    flavor = document["flavors"]["transformers"]
    for key, value in changes.items():
        flavor.pop(key, None)
        if value is not None:
            flavor[key] = value
    (path / "MLmodel").write_text(yaml.safe_dump(document))
    return path


def answer(task: str, pipe: Any) -> Any:
    """What a pipeline says to one text, as something that compares."""
    if task == "text-generation":
        return pipe(TEXT, max_new_tokens=8, do_sample=False)[0]["generated_text"]
    if task == "feature-extraction":
        return numpy.round(pipe(TEXT)[0], 4).tolist()
    return [(item["label"], round(item["score"], 4)) for item in pipe(TEXT, top_k=None)]


def logits(model: Any) -> torch.Tensor:
    """What a model makes of fixed token ids, before any rounding."""
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(2, 12).unsqueeze(0))[0]  # (1, labels) or (1, 10, …)
    return found


def bare(task: str, checkpoint: Path) -> Any:
    """The pipeline that transformers makes of a checkpoint, without any of our code."""
    pipeline: Any = transformers.pipeline
    return pipeline(task, model=str(checkpoint), device="cpu")


def refused(error: type[WarmlaneError], match: str, source: Any, target: Path, **options: Any) -> WarmlaneError:
    """A save that is refused with exactly this error, leaving nothing behind; returns the error."""
    with pytest.raises(error, match=match) as caught:
        save_model(source, target, **options)
    assert type(caught.value) is error
    assert not target.exists()
    return caught.value
