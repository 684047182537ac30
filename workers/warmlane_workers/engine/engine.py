"""The warm models of this process and what is asked of them. Joins the store, the cache, the batcher and the tasks."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmlane.errors import ModelNotFound, SchemaError
from warmlane.jobs import LoadJob, PredictJob
from warmlane.model import ModelRef
from warmlane.results import State, Table, WarmModel
from warmlane.signature import check_inputs, check_params
from warmlane_workers import tasks
from warmlane_workers.engine.batcher import Batcher, Lane, Row
from warmlane_workers.engine.cache import Entry, WarmCache
from warmlane_workers.engine.device import Device, measure
from warmlane_workers.flavor.custom_code import check_worker
from warmlane_workers.flavor.load import check_pipeline, load_components
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.tasks.base import Plan, Task

logger = logging.getLogger(__name__)

#: How often a job that waits for the device looks whether it was cancelled, and says how far it is, in seconds.
_WATCH_S = 1.0
#: How often a long job does the same while its rows are prepared.
_REPORT_ROWS = 256


def framed(template: str | None, rows: Sequence[Any]) -> Sequence[Any]:
    """Each row in a prompt template (the guide, "Saving Prompt Templates with Transformer Pipelines").

    Raises:
        SchemaError: a row that is no text.
    """
    if template is None:
        return rows
    if not all(isinstance(row, str) for row in rows):
        raise SchemaError(
            "inputs: the model frames each input in its prompt template, so a row is a str", field="inputs"
        )
    return [template.format(prompt=row) for row in rows]


def effective(artifact: Artifact, params: Mapping[str, Any]) -> dict[str, Any]:
    """A job's parameters over the defaults of the signature, over the configuration that was saved with the model.

    Source: the guide, "Using model_config and Model Signature Params for Inference". MLflow leaves the configuration out
    for conversations, and so do we.
    """
    config = {} if artifact.task == "conversational" else artifact.model_config
    schema = (artifact.signature or {}).get("params") or ()
    defaults = {param["name"]: param["default"] for param in schema if param.get("default") is not None}
    return {**config, **defaults, **params}


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes a loaded model this one and no other."""

    name: str
    version: int
    dtype: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(eq=False)
class Loaded:
    """A model in memory. The task is made at the first predict, over the same weights."""

    artifact: Artifact
    components: dict[str, Any] = field(repr=False)
    dtype: str
    task: Task | None = field(default=None, repr=False)


class Engine:
    """Loads, holds and runs models on one device. Handlers of the predict queue's jobs.

    Args:
        source_roots: directories that an adapter's base must lie in which is referred to by its path.
        trust_remote_code: whether the operator lets models run code of their own; a job has to ask for it as well.
        on_change: called when a model came or went.
    """

    def __init__(
        self,
        store: ModelStore,
        device: Device,
        *,
        source_roots: tuple[Path, ...],
        trust_remote_code: bool,
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self.device = device
        self._source_roots = source_roots
        self._trust_remote_code = trust_remote_code
        self._batcher = Batcher(device.streams, device.share_cores)
        self.cache: WarmCache[ModelKey, Loaded] = WarmCache(device.cache_bytes, self._free, on_change)
        #: (name, version) -> the type in which predict serves it when a job does not say.
        self._served: dict[tuple[str, int], str | None] = {}

    def start(self) -> None:
        self._batcher.start()

    def stop(self, timeout_s: float) -> bool:
        """End the device threads; whether they ended in time."""
        return self._batcher.stop(timeout_s)

    def predict(self, job: PredictJob, context: JobContext) -> Any:
        """One output for each row of the job."""
        trust = check_worker(job.trust_remote_code, self._trust_remote_code)
        key, artifact = self._find(job.model, job.dtype, prefer_warm=True)
        tasks.check(artifact.task)
        check_inputs(artifact.signature, artifact.task, job.inputs)
        check_params(artifact.signature, job.params)
        with self.cache.lease(key, lambda: self._load(key, artifact, context, trust=trust)) as entry:
            task = self._task(entry.value)
            single = not isinstance(job.inputs, list | Table)
            rows = job.inputs.rows() if isinstance(job.inputs, Table) else [job.inputs] if single else job.inputs
            rows = framed(artifact.prompt_template, rows)
            plan = task.plan(effective(artifact, job.params))
            return task.assemble(self._run(key, task, rows, plan, context), single)

    def _run(self, key: ModelKey, task: Task, rows: Sequence[Any], plan: Plan, context: JobContext) -> list[Any]:
        """The answer to each row. Outputs are finished as they come, so that a long job does not hold them all."""
        waiting: list[Row] = []
        outputs: list[list[Any]] = []
        places: dict[Future[Any], tuple[int, int]] = {}
        for index, row in enumerate(rows):
            if index and not index % _REPORT_ROWS:
                context.report(0.0, f"preparing {index}/{len(rows)}")
            parts = [Row(part, part.length) for part in task.prepare(row, plan)]
            outputs.append([None] * len(parts))
            places |= {part.future: (index, number) for number, part in enumerate(parts)}
            waiting += parts
        left = [len(found) for found in outputs]
        answers: list[Any] = [task.finish([], plan) if not count else None for count in left]
        budget = self.device.batch_tokens * task.budget_factor
        # The task object is part of the key: rows never meet those of an unloaded twin.
        lane = Lane((key, id(task), plan.group), lambda batch: task.forward(batch, plan), budget)
        self._batcher.submit(lane, waiting)
        del waiting  # the batcher lets go of each row when it has run
        try:
            while places:
                done = concurrent.futures.wait(
                    places, timeout=_WATCH_S, return_when=concurrent.futures.FIRST_EXCEPTION
                ).done
                for future in done:
                    index, number = places.pop(future)
                    outputs[index][number] = future.result()
                    left[index] -= 1
                    if not left[index]:
                        answers[index] = task.finish(outputs[index], plan)
                        outputs[index] = []
                if places:
                    ready = left.count(0)
                    context.report(ready / len(rows), f"rows {ready}/{len(rows)}")
            return answers
        finally:
            for future in places:
                future.cancel()

    def load(self, job: LoadJob, context: JobContext) -> dict[str, Any]:
        """Warm a model; says what is in memory afterwards."""
        trust = check_worker(job.trust_remote_code, self._trust_remote_code)
        key, artifact = self._find(job.model, job.dtype, prefer_warm=False)
        if job.return_type == "pipeline" and artifact.model_type:
            check_pipeline(artifact)
        started = time.monotonic()
        with self.cache.lease(key, lambda: self._load(key, artifact, context, trust=trust), pin=job.pin) as entry:
            if job.return_type == "pipeline":
                self._task(entry.value)
            self._served[key.name, key.version] = key.dtype
            return {
                "model": str(key),
                "task": artifact.task,
                "return_type": job.return_type,
                "types": self._types(entry.value, job.return_type),
                "recorded_dtype": artifact.dtype,
                "dtype": entry.value.dtype,
                "device": self.device.name,
                "bytes": entry.bytes,
                "pinned": entry.pinned,
                "seconds": round(time.monotonic() - started, 3),
            }

    def unload(self, text: str) -> int:
        """Let go of a model (of all its versions, unless the reference names one); returns the bytes freed."""
        ref = ModelRef.parse(text)
        self._store.forget(ref.name)  # it may be unloaded because it was deleted
        try:
            wanted = ref.version if ref.alias is None else self._store.resolve(ref)
        except ModelNotFound:
            return 0
        for name, version in list(self._served):
            if name == ref.name and wanted in (None, version):
                self._served.pop((name, version), None)
        return self.cache.unload(lambda key: key.name == ref.name and wanted in (None, key.version))

    def warm(self) -> tuple[WarmModel, ...]:
        """What is in memory, for the registry."""
        return tuple(self._describe(entry) for entry in self.cache.entries())

    def _describe(self, entry: Entry[ModelKey, Loaded]) -> WarmModel:
        return WarmModel(
            model=str(entry.key),
            task=entry.value.artifact.task,
            dtype=entry.value.dtype,
            device=self.device.name,
            bytes=entry.bytes,
            pinned=entry.pinned,
            idle_s=round(self.cache.idle_s(entry), 1),
        )

    def _find(self, text: str, dtype: str | None, *, prefer_warm: bool) -> tuple[ModelKey, Artifact]:
        """The key that a request means. Without a type it is the recorded one; for predict, that of the last load: it
        decides how the model is served here until it is unloaded. A predict's own type is for its job alone."""
        ref = ModelRef.parse(text)
        place = ref.name, self._store.resolve(ref)
        known = dtype is not None
        if dtype is None and prefer_warm:
            known, dtype = place in self._served, self._served.get(place)
        if known:
            warm = self.cache.newest(lambda key: key == ModelKey(*place, dtype))
            if warm is not None:
                return warm.key, warm.value.artifact
        artifact = self._store.read(*place)
        if not known:
            dtype = artifact.dtype
            if prefer_warm:
                self._served[place] = dtype
        return ModelKey(*place, dtype), artifact

    def _load(self, key: ModelKey, artifact: Artifact, context: JobContext, *, trust: bool) -> tuple[Loaded, int]:
        context.tell(State.LOADING, "loading")
        logger.info("loading %s as %s", key, key.dtype, extra={"action": "load", "job_id": context.job_id})
        if not artifact.model_type:  # a diagnostic task has no model
            return Loaded(artifact, {"task": artifact.task}, ""), 0
        try:
            components = load_components(
                self._store.path(key.name, key.version),
                dtype=key.dtype,
                device=self.device.name,
                trust_remote_code=trust,
                source_roots=self._source_roots,
                report=context.report,
            )
        finally:
            # Deleted meanwhile: it is not damaged but gone, and once warm nobody would unload it any more.
            self._store.resolve(ModelRef(key.name, key.version))
        model = components["model"]
        context.tell(State.RUNNING, "running")
        return Loaded(artifact, components, str(model.dtype).removeprefix("torch.")), measure(model)

    def _task(self, loaded: Loaded) -> Task:
        if loaded.task is None:
            # Two threads may both make one; either is right, and the weights are shared.
            loaded.task = tasks.implementation(
                loaded.artifact.task, loaded.components, loaded.artifact.own.get("pipeline")
            )
        return loaded.task

    def _types(self, loaded: Loaded, return_type: str) -> dict[str, str]:
        parts = {name: type(part).__name__ for name, part in loaded.components.items() if name != "task"}
        pipeline = getattr(loaded.task, "pipeline", None)
        if return_type == "pipeline" and pipeline is not None:
            return {"pipeline": type(pipeline).__name__, **parts}
        return parts

    def _free(self, loaded: Loaded) -> None:
        loaded.task = None
        loaded.components.clear()
        self.device.release()
