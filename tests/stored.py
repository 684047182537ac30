"""Writes what a model store publishes, without a model: for tests of the store, which knows descriptions only."""

from __future__ import annotations

from pathlib import Path

from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import JOB_KEY


def echo(directory: Path, job_id: str | None = None) -> Artifact:
    """The diagnostic model, as `save_model("warmlane:echo", directory)` describes it."""
    artifact = Artifact(
        task="warmlane:echo",
        instance_type="",
        model_type="",
        dtype=None,
        source_name="",
        has_weights=False,
        components={},
        own={} if job_id is None else {JOB_KEY: job_id},
    )
    artifact.write(directory)
    return artifact
