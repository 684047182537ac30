"""The pretended worker: what is warm, and the replies that a test has set.

What it reports of a job other than predict has the keys that a real worker's report has, and no weight in it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from warmlane import codec
from warmlane.errors import InternalError, JobCancelled, WarmlaneError
from warmlane.jobs import AliasJob, DeleteJob, Job, LoadJob, PersistJob, PredictJob, SaveJob, UnloadJob
from warmlane.keys import QUEUES
from warmlane.model import ModelRef
from warmlane.records import Outcome
from warmlane.registry import ReadModel
from warmlane.results import ModelInfo, State, WarmModel, WorkerInfo
from warmlane.stream import Piece
from warmlane.testing._models import Models
from warmlane.testing._records import WORKER_ID, Record, failure


class Worker:
    """Performs jobs by looking up replies."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.models = Models()
        self._warm: dict[tuple[str, str], WarmModel] = {}  # (model, dtype), the one loaded last at the end
        self.answers: dict[str, Any] = {}
        self.replies: dict[str, Any] = {}

    def model(self, op: ReadModel) -> tuple[ModelInfo | None, int]:
        found = self.models.look(ModelRef(op.name, op.version, op.alias))
        return (found and found[1]), 1

    def info(self, running: int) -> WorkerInfo:
        with self._lock:
            warm = tuple(self._warm.values())
        return WorkerInfo(
            id=WORKER_ID,
            host="localhost",
            pid=os.getpid(),
            device="cpu",
            state="ready",
            threads=1,
            running=running,
            budget_bytes=0,
            queues=QUEUES,
            models=warm,
        )

    # -- jobs ------------------------------------------------------------------------------------------------------

    def work(self, record: Record, tell: Callable[[Piece], None]) -> Outcome:
        """How a job ends. Never raises.

        Args:
            tell: called with each piece of a text that is told.
        """
        try:
            if record.status.cancel_requested:
                raise JobCancelled(f"job {record.status.id} was cancelled", id=record.status.id)
            value = self._perform(record.job)
            if isinstance(value, Iterator) or (isinstance(record.job, PredictJob) and record.job.stream):
                value = _told(value, tell)
            return Outcome(State.SUCCEEDED, codec.encode("result", value))
        except WarmlaneError as exc:
            return failure(exc)
        except Exception as exc:  # noqa: BLE001 - as on a worker: whatever a reply raises fails its job
            return failure(InternalError(f"{type(exc).__name__} in a reply of the fake lane: {exc}"))

    def _perform(self, job: Job) -> Any:
        own = _OWN[type(job)]
        if job.kind not in self.replies:
            return own(self, job)
        value = _resolve(self.replies[job.kind], job)
        own(self, job)  # what it does to the lane happens all the same
        return value

    def _predict(self, job: PredictJob) -> Any:
        info, key = self._find(job.model)
        self._heat(info, key, job.dtype or self._warm_dtype(key), pin=False)
        for known in (job.model, key, info.name):
            if known in self.answers:
                return _resolve(self.answers[known], job.inputs, job.params)
        raise InternalError(f"the fake lane has no answer for {job.model!r}; give it one with `lane.answer`")

    def _load(self, job: LoadJob) -> dict[str, Any]:
        info, key = self._find(job.model)
        warm = self._heat(info, key, job.dtype, pin=job.pin)
        return {
            "model": key,
            "task": info.task,
            "return_type": job.return_type,
            "types": {},
            "recorded_dtype": info.dtype,
            "dtype": warm.dtype,
            "device": warm.device,
            "bytes": warm.bytes,
            "pinned": warm.pinned,
            "seconds": 0.0,
        }

    def _unload(self, job: UnloadJob) -> dict[str, Any]:
        """Without a version all versions go; a model that is not warm, or does not exist, frees nothing."""
        freed = self._cool(job.model)
        return {"model": job.model, "freed": {WORKER_ID: freed} if freed else {}, "bytes": freed, "missing": []}

    def _cool(self, text: str) -> int:
        ref = ModelRef.parse(text)
        version = ref.version
        if ref.alias is not None:
            found = self.models.look(ref)
            if found is None:
                return 0
            version = found[0]
        with self._lock:
            gone = [
                key
                for key in self._warm
                if key[0] == f"{ref.name}/{version}" or (version is None and key[0].startswith(f"{ref.name}/"))
            ]
            return sum(self._warm.pop(key).bytes for key in gone)

    def _save(self, job: SaveJob) -> dict[str, Any]:
        info = self.models.publish(job.name, job.task or "", job.dtype)
        return _report(info, info.versions[0], reference_only=not job.save_pretrained)

    def _persist(self, job: PersistJob) -> dict[str, Any]:
        info, key = self._find(job.model)
        report = _report(info, int(key.rpartition("/")[2]), reference_only=False)
        return {**report, "persisted": False}

    def _alias(self, job: AliasJob) -> dict[str, Any]:
        info, key = self._find(job.model)
        before = self.models.set_alias(info.name, job.alias, int(key.rpartition("/")[2]))
        return {"model": key, "alias": job.alias, "before": before}

    def _delete(self, job: DeleteJob) -> dict[str, Any]:
        versions, aliases = self.models.delete(job.model)
        freed = self._cool(job.model) if versions else 0
        return {"model": job.model, "versions": versions, "aliases": aliases, "bytes": freed, "missing": []}

    def _find(self, text: str) -> tuple[ModelInfo, str]:
        """A version and its name with the number."""
        version, info = self.models.find(text)
        return info, f"{info.name}/{version}"

    def _heat(self, info: ModelInfo, key: str, dtype: str | None, *, pin: bool) -> WarmModel:
        dtype = dtype or info.dtype or "float32"
        with self._lock:
            before = self._warm.get((key, dtype))
            pinned = pin or (before is not None and before.pinned)
            warm = self._warm[key, dtype] = WarmModel(key, info.task, dtype, "cpu", info.bytes, pinned, 0.0)
            return warm

    def _warm_dtype(self, key: str) -> str | None:
        """The type that was loaded last: a load with an override decides how the model is served afterwards."""
        with self._lock:
            return next((dtype for model, dtype in reversed(self._warm) if model == key), None)


_OWN: dict[type[Job], Callable[..., Any]] = {
    PredictJob: Worker._predict,
    LoadJob: Worker._load,
    UnloadJob: Worker._unload,
    SaveJob: Worker._save,
    PersistJob: Worker._persist,
    AliasJob: Worker._alias,
    DeleteJob: Worker._delete,
}


def _report(info: ModelInfo, version: int, *, reference_only: bool) -> dict[str, Any]:
    return {
        "model": f"{info.name}/{version}",
        "name": info.name,
        "version": version,
        "task": info.task,
        "dtype": info.dtype,
        "bytes": info.bytes,
        "reference_only": reference_only,
        "components": {},
    }


def _told(value: Any, tell: Callable[[Piece], None]) -> list[str]:
    """A text told piece by piece, as a result."""
    if not isinstance(value, Iterator):
        raise InternalError("a job with stream=True wants a text: let the reply return an iterator of str")
    text = ""
    for piece in value:
        tell(Piece(len(text), piece))
        text += piece
    tell(Piece(len(text), "", last=True))
    return [text]


def _resolve(reply: Any, *args: Any) -> Any:
    """A reply is an exception to raise, a callable, or the value itself."""
    if isinstance(reply, Exception):
        raise reply
    return reply(*args) if callable(reply) else reply
