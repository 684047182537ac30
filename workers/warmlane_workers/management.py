"""The jobs that need no device: save and persist. They run in worker threads beside predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from warmlane.jobs import PersistJob, SaveJob
from warmlane.model import ModelRef
from warmlane_workers.context import JobContext
from warmlane_workers.flavor.custom_code import check_worker
from warmlane_workers.flavor.persist import persist_pretrained_model
from warmlane_workers.flavor.save import save_model
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import JOB_KEY, ModelStore


class Management:
    """Handlers of the manage queue's jobs.

    Args:
        announce: tells callers of a version, so that they can check their inputs.
    """

    def __init__(
        self,
        models: ModelStore,
        announce: Callable[[str, int, Artifact], None],
        source_roots: tuple[Path, ...],
        *,
        trust_remote_code: bool,
    ) -> None:
        self._models = models
        self._announce = announce
        self._source_roots = source_roots
        self._trust_remote_code = trust_remote_code

    def save(self, job: SaveJob, context: JobContext) -> dict[str, Any]:
        """Publish a new version; says which, and what is in it. Run twice for one job, it publishes once."""
        trust = check_worker(job.trust_remote_code, self._trust_remote_code)
        context.report(0.0, "reading the source")

        def write(directory: Path) -> Artifact:
            return save_model(
                job.source,
                directory,
                processor=job.processor,
                task=job.task,
                dtype=job.dtype,
                model_card=job.model_card,
                code_paths=job.code_paths,
                signature=job.signature,
                input_example=_example(job),
                pip_requirements=job.pip_requirements,
                extra_pip_requirements=job.extra_pip_requirements,
                conda_env=job.conda_env,
                metadata=job.metadata,
                model_config=job.model_config,
                prompt_template=job.prompt_template,
                save_pretrained=job.save_pretrained,
                base_model_path=job.base_model_path,
                revision=job.revision,
                trust_remote_code=trust,
                source_roots=self._source_roots,
                own={JOB_KEY: context.job_id},
                report=context.report,
            )

        again = context.job_id if context.attempt > 1 else None
        version, artifact = self._models.publish(job.name, write, again)
        self._announce(job.name, version, artifact)
        return _report(job.name, version, artifact)

    def persist(self, job: PersistJob, context: JobContext) -> dict[str, Any]:
        """Fetch a reference-only model's weights; says whether there was anything to do."""
        ref = ModelRef.parse(job.model)
        version = self._models.resolve(ref)
        with self._models.edit(ref.name, version) as path:
            before = Artifact.read(path)
            artifact = persist_pretrained_model(path, report=context.report, source_roots=self._source_roots)
        self._announce(ref.name, version, artifact)
        return {**_report(ref.name, version, artifact), "persisted": artifact.has_weights and not before.has_weights}


def _example(job: SaveJob) -> Any:
    return job.input_example if job.example_params is None else (job.input_example, job.example_params)


def _report(name: str, version: int, artifact: Artifact) -> dict[str, Any]:
    return {
        "model": f"{name}/{version}",
        "name": name,
        "version": version,
        "task": artifact.inference_task or artifact.task,
        "dtype": artifact.dtype,
        "bytes": artifact.size_bytes,
        "reference_only": bool(artifact.model_type) and not artifact.has_weights,
        "components": dict(artifact.components),
    }
