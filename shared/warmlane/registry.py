"""What a fleet says of itself, as operations: its workers, and the models that are published in its store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane import codec
from warmlane.keys import MANAGE_QUEUE, WORKER_TTL_S, Keys
from warmlane.ops import Op
from warmlane.records import pack_worker, pairs, read_model, read_models, read_worker
from warmlane.results import ModelInfo, WorkerInfo

_WORKER_TTL_MS = int(WORKER_TTL_S * 1000)


@dataclass(frozen=True, slots=True)
class Beat(Op[None]):
    """A worker's heartbeat."""

    script = "beat"
    info: WorkerInfo

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        info = self.info
        lanes = [names.lanes(queue) for queue in info.queues if queue != MANAGE_QUEUE]
        serves = int(info.state == "ready")
        return (
            [names.workers, names.worker(info.id), names.paces, *lanes],
            [info.id, pack_worker(info), _WORKER_TTL_MS, serves, f"{info.pace_ms:.3f}"],
        )

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Leave(Op[None]):
    """A worker takes itself off the registry."""

    script = "leave"
    worker_id: str

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.workers, names.worker(self.worker_id), names.paces], [self.worker_id]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReadWorkers(Op[list[WorkerInfo]]):
    """The live workers, in no order."""

    script = "workers"

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.workers], [names.worker(""), _WORKER_TTL_MS]

    def read(self, reply: Any) -> list[WorkerInfo]:
        return [read_worker(data) for data in reply]


@dataclass(frozen=True, slots=True)
class PublishModel(Op[None]):
    """Make one version of a model known to callers."""

    script = "publish"
    info: ModelInfo
    version: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        info = self.info
        body = {"task": info.task, "dtype": info.dtype, "bytes": info.bytes, "signature": info.signature}
        if info.kin:  # it came after the first release
            body["kin"] = info.kin
        return [names.models], [info.name, self.version, codec.encode("model", body)]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RetractModel(Op[None]):
    """Make one version of a model unknown; the newest is the highest that is left. With the last, its aliases go."""

    script = "retract"
    name: str
    version: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.models], [self.name, self.version]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class PublishAlias(Op[None]):
    """Make known what an alias means; None: nothing any more."""

    script = "alias"
    name: str
    alias: str
    version: int | None

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.models], [f"{self.name}@{self.alias}", "" if self.version is None else self.version]

    def read(self, reply: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ReadModel(Op[tuple[ModelInfo | None, int]]):
    """One model (its newest version, unless a version or an alias is given) and the number of live workers."""

    script = "model"
    name: str
    version: int | None = None
    alias: str | None = None

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        pointer = self.name if self.alias is None else f"{self.name}@{self.alias}"
        version = "" if self.version is None else self.version
        return [names.models, names.workers], [self.name, version, _WORKER_TTL_MS, pointer]

    def read(self, reply: Any) -> tuple[ModelInfo | None, int]:
        info = read_model(self.name, (), reply[0]) if reply[0] else None
        return info, int(reply[1])


@dataclass(frozen=True, slots=True)
class ReadModels(Op[list[ModelInfo]]):
    """All known models by name; `warm_on` is left empty."""

    script = "models"

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.models], []

    def read(self, reply: Any) -> list[ModelInfo]:
        return read_models(pairs(reply))
