"""The warm models of this process and what is asked of them. Joins the store, the cache, the batcher and the tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from warmlane.budget import BatchBudget
from warmlane.errors import ModelNotFound
from warmlane.jobs import LoadJob, PredictJob
from warmlane.model import ModelRef
from warmlane.results import State, WarmModel
from warmlane.signature import is_one_row, rows_of
from warmlane_workers import tasks
from warmlane_workers.context import JobContext
from warmlane_workers.engine import patience, reports
from warmlane_workers.engine.asking import Asking
from warmlane_workers.engine.batcher import Batcher, Lane, Row
from warmlane_workers.engine.begun import Beginner
from warmlane_workers.engine.budget import Budgets
from warmlane_workers.engine.cache import WarmCache
from warmlane_workers.engine.continuous import Continuous
from warmlane_workers.engine.conversations import Talks, read_job
from warmlane_workers.engine.device import Device
from warmlane_workers.engine.entry import Entry, Over, Room
from warmlane_workers.engine.loaded import BaseKey, Key, Loaded, ModelKey
from warmlane_workers.engine.loader import Loader
from warmlane_workers.engine.mixing import Part
from warmlane_workers.engine.reading import check_config, check_job
from warmlane_workers.engine.relief import relieved
from warmlane_workers.engine.rows import POLICIES
from warmlane_workers.engine.telling import listener
from warmlane_workers.flavor import hub
from warmlane_workers.flavor.custom_code import check_worker, refuse_unasked
from warmlane_workers.flavor.load import check_pipeline
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.observer import UNSEEN, Observer
from warmlane_workers.settings import CONVERSATION_TTL_S
from warmlane_workers.tasks.base import Plan, Task
from warmlane_workers.tasks.failures import assembled
from warmlane_workers.tasks.raw import RawTask
from warmlane_workers.tasks.reach import Reach


class Engine:
    """Loads, holds and runs models on one device. Handlers of the predict queue's jobs.

    Args:
        source_roots: directories that files must lie in which a row names by their path, or an adapter as its base.
        trust_remote_code: whether the operator lets models run code of their own; a job has to ask for it as well.
        url_inputs: whether the operator lets rows be URLs.
        conversation_ttl_s: how long a conversation waits for its next turn.
        cache_ttl_s: how long a model stays that nobody uses and that is not pinned; 0 until its room is wanted.
        continuous_batching: whether rows that are generated may join batches that run.
        on_change: called when a model came or went.
        observer: told of batches and loads.
    """

    def __init__(
        self,
        store: ModelStore,
        device: Device,
        *,
        source_roots: tuple[Path, ...],
        trust_remote_code: bool,
        url_inputs: bool = False,
        conversation_ttl_s: int = CONVERSATION_TTL_S,
        cache_ttl_s: float = 0.0,
        continuous_batching: bool = True,
        on_change: Callable[[], None],
        observer: Observer = UNSEEN,
    ) -> None:
        self.observer = observer
        self._store = store
        self.device = device
        self.trust_remote_code = trust_remote_code
        self._conversation_ttl_s = conversation_ttl_s
        self._reach = Reach(tuple(root.resolve() for root in source_roots), url_inputs)
        self.batcher = Batcher(device.streams, self._share_cores, on_batch=observer.batch)
        self._budgets = Budgets(device, self.batcher.submit)
        self._loader = Loader(store, device, source_roots, observer)
        self.cache: WarmCache[Key, Loaded] = WarmCache(
            device.cache_bytes, self._loader.free, on_change, evict=self._loader.evict
        )
        self._continuous = Continuous(device, self.cache, observer, wanted=continuous_batching)
        self._ttl_s = cache_ttl_s
        self.beginner = Beginner(self)
        self._stopping = threading.Event()
        #: (name, version) -> the type in which predict serves it when a job does not say.
        self._served: dict[tuple[str, int], str | None] = {}
        #: (name, version) -> the configuration of its last load, where that gave one.
        self._configs: dict[tuple[str, int], dict[str, Any]] = {}

    def start(self) -> None:
        self.batcher.start()
        if self._ttl_s:
            threading.Thread(target=self._expire, name="warmlane-expiry", daemon=True).start()

    def stop(self, timeout_s: float) -> bool:
        """End the device threads; whether they ended in time."""
        self._stopping.set()
        self._continuous.stop(timeout_s)
        return self.batcher.stop(timeout_s)

    def _expire(self) -> None:
        while not self._stopping.wait(self.cache.expire(self._ttl_s)):
            pass

    @property
    def host_bytes(self) -> int:
        """What models that left the device, and copies of such as came back, take of the host's memory."""
        return self._loader.host.bytes

    def predict(self, job: PredictJob, context: JobContext) -> Any:
        """One output for each row of the job."""
        trust = check_worker(job.trust_remote_code, self.trust_remote_code)
        key, artifact = self.find(job.model, job.dtype, prefer_warm=True)
        raw = job.output == "raw"
        opened = None
        if artifact.task == "conversational" and not raw:
            job, opened = read_job(job), partial(Talks, context, key.name, self._conversation_ttl_s)
        if not raw:
            check_job(artifact, job)
        single = is_one_row(job.inputs)
        rows = rows_of(None, "", job.inputs) if raw else rows_of(artifact.signature, artifact.task, job.inputs)
        asked = time.monotonic()
        with self._lease(key, artifact, context, trust=trust) as entry:
            if time.monotonic() - asked >= patience.HEED_S:
                context.report(0.0, "running")  # it may have been cancelled meanwhile, or be late
            task = self._raw(entry.value) if raw else self.task(entry.value)
            loaded = self.config_of(key)

            def submit(plan: Plan, parts: list[Row]) -> None:
                self.queue(key, entry, task, plan)(parts)

            asking = Asking(job, artifact, task, loaded, context, submit, talks=opened)
            plan = asking.plan()
            told = listener(job, task, plan, context)
            policy = asking.judged(rows, POLICIES[job.on_error](single, context))
            talks = opened() if opened else None
            waiting = asking.rows(rows, plan, policy, told)
            began = time.monotonic()

            def prepared(parts: list[Row]) -> None:
                self.observer.prepared(key.name, time.monotonic() - began)
                submit(plan, parts)

            answers = waiting.run(asking.preparing(plan, talks), prepared)
            if talks:
                talks.keep(rows, answers, policy)
            context.truncated = waiting.truncated
            told.end(answers)
            return assembled(task, answers, single, job.output, waiting.truncated)

    @contextmanager
    def _lease(
        self, key: ModelKey, artifact: Artifact, context: JobContext, *, trust: bool, pin: bool = False
    ) -> Iterator[Entry[Key, Loaded]]:
        """A model in memory, which a job that did not agree to it gets none of whose code is the model's own."""
        warm = True

        def load(room: Room) -> tuple[Loaded, int] | Over[Key, Loaded]:
            nonlocal warm
            warm = False
            return self._loader.load(key, artifact, context, room, trust=trust)

        def heed() -> None:
            context.report(0.1, "waiting for the model", State.LOADING)

        with self.cache.lease(key, load, pin=pin, heed=heed) as entry:
            self.observer.wanted(key.name, warm=warm)
            refuse_unasked(entry.value.components, agreed=trust)
            yield entry

    def queue(self, key: ModelKey, entry: Entry[Key, Loaded], task: Task, plan: Plan) -> Callable[[list[Row]], None]:
        """What queues a job's rows for the device."""
        loaded = entry.value
        budget = self._budget(loaded)
        sized = replace(budget, tokens=budget.tokens * task.budget_factor)
        mix = loaded.mix
        if mix is None or not task.mixes:
            # The task object is part of the key: rows never meet those of an unloaded twin.
            run = relieved(loaded.in_turn(lambda batch: task.forward(batch, plan)), self._relieve)
            lane = Lane((id(task), plan.group), run, sized, key.name, loaded.company)
            return self._continuous.over(entry, task, plan, lambda rows: self.batcher.submit(lane, rows))
        run = relieved(loaded.in_turn(lambda batch: mix.run(batch, self._make_task)), self._relieve)
        lane = Lane(mix.key(loaded, task, plan), run, sized, key.name, loaded.company)

        def submit(rows: list[Row]) -> None:
            for row in rows:
                row.payload = Part(loaded, task, plan, row.payload)
            self.batcher.submit(lane, rows)

        return submit

    def _budget(self, loaded: Loaded) -> BatchBudget:
        return loaded.budget or BatchBudget(self.device.batch_tokens)

    def _share_cores(self, alone: bool) -> None:
        """All cores for a batch only while no other job is on its way to or from the device: it needs one as well."""
        self.device.share_cores(alone and sum(entry.leases for entry in self.cache.entries()) <= 1)

    def config_of(self, key: ModelKey) -> dict[str, Any]:
        """The configuration of the last load of a model."""
        return self._configs.get((key.name, key.version), {})

    def _relieve(self) -> None:
        """Free what nobody uses. Called in the device thread."""
        self.cache.evict_idle()
        self.device.release()

    def load(self, job: LoadJob, context: JobContext) -> dict[str, Any]:
        """Warm a model; says what is in memory afterwards."""
        trust = check_worker(job.trust_remote_code, self.trust_remote_code)
        key, artifact = self.find(job.model, job.dtype, prefer_warm=False)
        if job.return_type == "pipeline" and artifact.model_type:
            check_pipeline(artifact)
        started = time.monotonic()
        with self._lease(key, artifact, context, trust=trust, pin=job.pin) as entry:
            if job.return_type == "pipeline":
                task = self.task(entry.value)
                if job.model_config:
                    check_config(artifact, job.model_config, task)
                self._budgets.find(entry.value, task, context)
            self._served[key.name, key.version] = key.dtype
            self._configs[key.name, key.version] = job.model_config or {}
            return {
                "model": str(key),
                "task": artifact.task,
                "return_type": job.return_type,
                "types": reports.types(entry.value, job.return_type),
                "recorded_dtype": artifact.dtype,
                "dtype": entry.value.dtype,
                "device": self.device.name,
                "bytes": entry.bytes,
                **reports.sharing(entry),
                "batch_tokens": self._budget(entry.value).tokens,
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
                self._configs.pop((name, version), None)

        def meant(key: Key) -> bool:
            return isinstance(key, ModelKey) and key.name == ref.name and wanted in (None, key.version)

        bases = [entry.below for entry in self.cache.entries() if meant(entry.key) and entry.below is not None]
        freed = self.cache.unload(meant)
        # Nobody could unload a base by its name.
        lone = {base.key for base in bases if isinstance(base.key, BaseKey) and not (base.above or base.held)}
        freed += self.cache.unload(lambda key: key in lone)
        return freed + self._loader.unload(meant)

    def warm(self) -> tuple[WarmModel, ...]:
        """What is in memory, for the registry."""
        entries = [entry for entry in self.cache.entries() if isinstance(entry.key, ModelKey)]
        return tuple(reports.warm(entry, self.device.name, self.cache.idle_s(entry)) for entry in entries)

    def find(self, text: str, dtype: str | None, *, prefer_warm: bool) -> tuple[ModelKey, Artifact]:
        """The key that a request means. Without a type it is the recorded one; for predict, that of the last load: it
        decides how the model is served here until it is unloaded. A predict's own type is for its job alone."""
        ref = ModelRef.parse(text)
        place = ref.name, self._store.resolve(ref)
        known = dtype is not None
        if dtype is None and prefer_warm:
            known, dtype = place in self._served, self._served.get(place)
        warm = self._in_memory(ModelKey(*place, dtype)) if known else None
        if warm is not None:
            return warm
        artifact = self._store.read(*place)
        if not known:
            dtype = artifact.dtype
            if prefer_warm:
                self._served[place] = dtype
        return ModelKey(*place, dtype), artifact

    def at_hand(self, text: str, dtype: str | None) -> tuple[ModelKey, Artifact] | None:
        """As `find` for predict, of a model in memory, where nobody has to be asked what is meant; else None."""
        ref = ModelRef.parse(text)
        version = self._store.at_hand(ref)
        if version is None or (dtype is None and (ref.name, version) not in self._served):
            return None
        return self._in_memory(ModelKey(ref.name, version, dtype or self._served[ref.name, version]))

    def _in_memory(self, key: ModelKey) -> tuple[ModelKey, Artifact] | None:
        warm = self.cache.newest(lambda other: other == key)
        return None if warm is None else (key, warm.value.artifact)

    def task(self, loaded: Loaded) -> Task:
        if loaded.task is None:
            # Two threads may both make one; either is right, and the weights are shared.
            loaded.task = self._make_task(loaded, loaded.components)
        return loaded.task

    def _make_task(self, loaded: Loaded, components: dict[str, Any]) -> Task:
        artifact, record = loaded.artifact, loaded.artifact.own.get("pipeline")
        if artifact.inference_task is not None:
            name = artifact.source_name if hub.is_id(artifact.source_name) else loaded.name  # no path of the worker
            return tasks.inference(artifact.inference_task, components, record, name)
        return tasks.implementation(artifact.task, components, record, self._reach, artifact.instance_type)

    def _raw(self, loaded: Loaded) -> Task:
        if loaded.raw is None:  # as above
            loaded.raw = RawTask(loaded.components)
        return loaded.raw
