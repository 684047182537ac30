"""The jobs that name and remove versions, and what callers are told of the model store.

The store is what counts; callers read a copy of its list in Redis. It is written after each change, and completed at a
worker's start. Only what the store marks as deleted is taken off that list: a worker that sees an empty store, because
it is not mounted, tells nothing wrong of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from warmlane.errors import ModelNotFound
from warmlane.jobs import AliasJob, DeleteJob, UnloadJob
from warmlane.model import ModelRef
from warmlane.registry import PublishAlias, PublishModel, ReadModels, RetractModel
from warmlane.results import ModelInfo
from warmlane.store import RedisStore
from warmlane_workers.context import JobContext
from warmlane_workers.flavor.sharing import kin
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore

#: Asks every worker to let go of a model; its report has `bytes` and `missing`.
UnloadEverywhere = Callable[[UnloadJob, JobContext], dict[str, Any]]


class Catalog:
    """Handlers of alias and delete jobs, and the announcements of all who change the store."""

    def __init__(self, store: RedisStore, models: ModelStore, unload: UnloadEverywhere) -> None:
        self._store = store
        self._models = models
        self._unload = unload

    def alias(self, job: AliasJob, context: JobContext) -> dict[str, Any]:
        """Let an alias mean a version; says which, and which it meant before."""
        ref = ModelRef.parse(job.model)
        before = self._models.aliases(ref.name).get(job.alias)
        version = self._models.set_alias(ref, job.alias)
        self._tell_aliases(ref.name, {job.alias})
        return {"model": f"{ref.name}/{version}", "alias": job.alias, "before": before}

    def delete(self, job: DeleteJob, context: JobContext) -> dict[str, Any]:
        """Delete from the store, from the list, and from memory everywhere; says what is gone."""
        ref = ModelRef.parse(job.model)
        aliases = sorted(self._models.aliases(ref.name)) if ref.version is None else []
        if ref.alias is not None:
            aliases = [ref.alias]
        known = [info for info in self._store.run(ReadModels()) if info.name == ref.name]
        try:
            versions = self._models.delete(ref)
        except ModelNotFound:
            if context.attempt == 1:
                raise
            versions = []  # the attempt before has deleted it, and died before it could say so
        for info in known:
            versions = sorted({*versions, *self._retract(info)})
        self._tell_aliases(ref.name, set(aliases))
        report = {"bytes": 0, "missing": []}
        if ref.alias is None:
            report = self._unload(UnloadJob(model=job.model), context)
        return {
            "model": job.model,
            "versions": versions,
            "aliases": aliases,
            "bytes": report["bytes"],
            "missing": report["missing"],
        }

    def announce(self, name: str, version: int, artifact: Artifact) -> None:
        """Tell callers of a version, so that they can check their inputs."""
        self._publish(name, version, artifact)
        if self._models.is_deleted(name, version):  # in the moment since it was published
            self._store.run(RetractModel(name, version))

    def announce_all(self) -> None:
        """Tell callers of everything in the store, and of what was deleted: a fresh Redis knows nothing of an old disk,
        and one that was away nothing of a delete."""
        known = self._store.run(ReadModels())  # first: whatever is announced meanwhile is not taken for deleted
        for name, version, artifact in self._models.artifacts():
            self._publish(name, version, artifact)
        for info in known:
            self._retract(info)
        told = {info.name: set(info.aliases) for info in known}
        for name in self._models.names():
            self._tell_aliases(name, told.get(name, set()))

    def _publish(self, name: str, version: int, artifact: Artifact) -> None:
        info = ModelInfo(
            name,
            (version,),
            artifact.task,
            artifact.dtype,
            artifact.size_bytes,
            artifact.signature,
            kin=kin(artifact) if artifact.has_adapter else "",
        )
        self._store.run(PublishModel(info, version))

    def _retract(self, known: ModelInfo) -> list[int]:
        """Take deleted versions off the list; which."""
        there = self._models.versions(known.name)
        gone = [
            version
            for version in known.versions
            if version not in there and self._models.is_deleted(known.name, version)
        ]
        for version in gone:
            self._store.run(RetractModel(known.name, version))
        return gone

    def _tell_aliases(self, name: str, known: set[str]) -> None:
        """Tell what a model's aliases mean, until the store says what was told: two workers may move one at once."""
        told: dict[str, int] | None = None
        while True:
            self._models.forget(name)
            versions = self._models.versions(name)
            means = {alias: version for alias, version in self._models.aliases(name).items() if version in versions}
            if means == told or not versions:  # with the last version its aliases went
                return
            for alias in sorted(known | set(means) | set(told or ())):
                self._store.run(PublishAlias(name, alias, means.get(alias)))
            told = means
