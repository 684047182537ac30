"""Turn a reference-only artifact into one with weights (the guide, "Persist the Model Weight").

Everything is written beside; `MLmodel` is swapped last, so that a crash at any point leaves the reference usable.
"""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from warmlane_workers.flavor import hub
from warmlane_workers.flavor.hub import Report
from warmlane_workers.flavor.save import silent
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import COMPONENTS_DIR, MODEL_DIR, Artifact
from warmlane_workers.pipelines.registry import READERS


def persist_pretrained_model(path: str | os.PathLike[str], *, report: Report = silent, source_roots: tuple[Path, ...] = (Path("/"),)) -> Artifact:
    """Fetch a model's weights and components at their recorded commits into its directory.

    A no-op for an artifact that has weights.

    Raises:
        HubUnavailable, SourceError: they cannot be fetched; the artifact is as it was.
    """
    directory = Path(path)
    artifact = Artifact.read(directory)
    if artifact.has_weights or not artifact.source_revision:
        return artifact
    beside = directory / f".persist-{uuid.uuid4().hex}"
    beside.mkdir()
    try:
        report(0.1, "downloading")
        snapshot = hub.snapshot(artifact.source_name, artifact.source_revision, hub.SAFE_FILES)
        report(0.6, "writing weights")
        roots = (hub.cache_root(),)
        Checkpoint(snapshot, artifact.source_name, snapshot.name, roots).copy_to(beside / MODEL_DIR)
        for name, (repo, revision) in artifact.component_sources.items():
            origin = hub.snapshot(repo, revision, hub.LIGHT_FILES)
            READERS[name].from_pretrained(origin).save_pretrained(beside / COMPONENTS_DIR / name)
        report(0.9, "publishing")
        for part in (MODEL_DIR, COMPONENTS_DIR):
            if (beside / part).exists():
                shutil.rmtree(directory / part, ignore_errors=True)  # left by a persist that was killed here
                (beside / part).rename(directory / part)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    persisted = replace(artifact, has_weights=True, source_revision=None, component_sources={}, size_bytes=size)
    persisted.write(directory)
    return persisted
