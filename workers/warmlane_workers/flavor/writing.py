"""Put an artifact on disk: weights, components, adapter, papers, and `MLmodel` last. Nothing is left of a write that
fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from warmlane.errors import UnsupportedModel
from warmlane_workers.flavor import adapters, files
from warmlane_workers.flavor.code_paths import Code
from warmlane_workers.flavor.describe import Wishes
from warmlane_workers.flavor.examples import Rendered
from warmlane_workers.flavor.papers import Papers
from warmlane_workers.flavor.parts import Parts
from warmlane_workers.flavor.requirements import Requirements
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import COMPONENTS_DIR, MODEL_DIR, PEFT_DIR, Artifact


@dataclass(frozen=True, slots=True)
class Beside:
    """What is written beside the weights, worked out before anything is.

    Attributes:
        components: name -> object.
        shard_size: the largest weight file, e.g. "500MB".
    """

    components: Mapping[str, Any]
    shard_size: str
    papers: Papers
    environment: Requirements
    code: Code
    example: Rendered | None


def write(parts: Parts, artifact: Artifact, beside: Beside, target: Path, wishes: Wishes) -> Artifact:
    """Fill an absent or empty directory; returns the description as it was written.

    Raises:
        StoreError: the disk is full.
    """
    with whole(target):
        return _write(parts, artifact, beside, target, wishes)


@contextmanager
def whole(target: Path) -> Iterator[None]:
    """Make a directory that is absent or empty, and leave nothing in it of a write that fails.

    Raises:
        StoreError: the disk is full.
    """
    made = not target.exists()
    try:
        with files.full_disk_told():
            target.mkdir(parents=True, exist_ok=True)
            yield
    except BaseException:
        _clear(target, made)
        raise


def _write(parts: Parts, artifact: Artifact, beside: Beside, target: Path, wishes: Wishes) -> Artifact:
    wishes.report(0.1, "writing weights")
    hashes = _write_model(parts.model, beside.shard_size, target, wishes) if artifact.has_weights else {}
    _write_adapter(parts.adapter, target)
    wishes.report(0.8, "writing components")
    for name, component in beside.components.items():
        if name not in artifact.component_sources:
            component.save_pretrained(target / COMPONENTS_DIR / name)
    beside.papers.write(target)
    if beside.example is not None:
        artifact = replace(artifact, example=beside.example.write(target))
    beside.code.write(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    beside.environment.write(target)
    wishes.report(0.9, "hashing weights")
    weights = files.fingerprint(target, hashes)
    artifact = replace(artifact, size_bytes=size, own={**artifact.own, **({"files": weights} if weights else {})})
    artifact.write(target)
    return artifact


def _write_model(model: Any, shard_size: str, target: Path, wishes: Wishes) -> dict[str, str]:
    """Returns the hashes of the weight files, as far as they are known from copying."""
    if isinstance(model, Checkpoint):
        copied = model.copy_to(target / MODEL_DIR, code=wishes.code)
        return {f"{MODEL_DIR}/{name}": digest for name, digest in copied.items()}
    if isinstance(model, PreTrainedModel):
        try:
            model.save_pretrained(target / MODEL_DIR, max_shard_size=shard_size)
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError) as exc:
            raise UnsupportedModel(
                f"transformers does not save this model ({type(exc).__name__}: {str(exc)[:200]})", field="model"
            ) from exc
    return {}


def _write_adapter(adapter: Any, target: Path) -> None:
    if isinstance(adapter, Checkpoint):
        (target / PEFT_DIR).mkdir()
        for path in adapter.adapter_files():
            files.copy(path, target / PEFT_DIR / path.name)
    elif adapter is not None:
        adapters.write(adapter, target / PEFT_DIR)


def _clear(target: Path, made: bool) -> None:
    """Leave nothing of a save that failed."""
    if made:
        shutil.rmtree(target, ignore_errors=True)
        return
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
