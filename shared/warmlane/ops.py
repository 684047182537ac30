"""What can be asked of the store: one frozen dataclass an operation, with the script it runs and how its reply reads.
Those on queues are in `warmlane.lanes`.

Operations are plain data. `warmlane.store` runs them on Redis, blocking or not; `warmlane.testing` runs them in memory.
Scripts lie in `lua/`; each is atomic and takes one round trip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from warmlane import codec
from warmlane.errors import JobExpired, WarmlaneError
from warmlane.keys import MANAGE_QUEUE, WORKER_TTL_S, Keys
from warmlane.records import (
    Outcome,
    encode_error,
    pack_worker,
    pairs,
    read_model,
    read_models,
    read_status,
    read_worker,
    text_event,
)
from warmlane.results import JobStatus, ModelInfo, Progress, State, WorkerInfo
from warmlane.settings import QUEUED_TTL_S

R = TypeVar("R")

_WORKER_TTL_MS = int(WORKER_TTL_S * 1000)
#: How a job ends that nobody took up before its deadline.
_LATE = encode_error(JobExpired("the job's deadline passed while it waited; give it more time, or add workers"))


@dataclass(frozen=True, slots=True)
class Op(Generic[R]):
    """An operation whose reply reads as `R`."""

    script: ClassVar[str]

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        """`KEYS` and `ARGV` of the script."""
        raise NotImplementedError

    def read(self, reply: Any) -> R:
        raise NotImplementedError


class Verdict(NamedTuple):
    """What is to be done with a job: run, missing, final, cancelled, late, poison, or suspect: only where nothing else
    runs.

    Attributes:
        attempts: how often it was taken up, this time included when it is to be run; of poison, how often in vain.
        crashes: how often its worker's process crashed with it.
        left_s: seconds to its deadline; None without one.
        priority: one of `warmlane.jobs.PRIORITIES`.
        waited_s: seconds since it was accepted.
        traceparent: the span that it was enqueued in, see `warmlane.tracing`.
    """

    word: str
    attempts: int
    crashes: int = 0
    left_s: float | None = None
    priority: str = "normal"
    waited_s: float = 0.0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a job may lose its worker.

    Attributes:
        attempts: it is taken up so often, not counting what a worker gave back in order.
        crashes: so many crashes make it poison.
        in_company: from then on it runs alone: it may be what gets its worker killed for its memory.
    """

    attempts: int = 5
    crashes: int = 2
    in_company: int = 2


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Start(Op[Verdict]):
    """Take a job up.

    Attributes:
        life: the process that runs it, as `warmlane.blame` asks after it.
        alone: nothing else runs in that process.
    """

    script = "start"
    job_id: str
    worker_id: str
    life: str = ""
    alone: bool = False
    patience: Patience = PATIENCE

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        patience = self.patience
        limits = [patience.attempts, patience.crashes, patience.in_company]
        return (
            [names.job(self.job_id), names.running(self.life)],
            [
                self.job_id,
                self.worker_id,
                QUEUED_TTL_S,
                *limits,
                "1" if self.alone else "",
                text_event(self.job_id),
                names.inbox(""),
            ],
        )

    def read(self, reply: Any) -> Verdict:
        word, attempts, crashes = reply[0].decode(), int(reply[1]), int(reply[2])
        if word != "run":
            return Verdict(word, attempts, crashes)
        left, priority, waited, span = reply[3:]
        left_s = None if left is None else int(left) / 1000
        named = (priority or b"normal").decode()
        return Verdict(word, attempts, crashes, left_s, named, int(waited) / 1000, span.decode())


@dataclass(frozen=True, slots=True)
class Finish(Op[bool]):
    """Commit an outcome and acknowledge the job's message. The reply is False when the job had an outcome already.

    Attributes:
        broker_id: who holds the message, as Dramatiq counts it.
        life: the process that ran it.
    """

    script = "finish"
    job_id: str
    outcome: Outcome
    result_ttl_s: int
    queue_name: str = ""
    broker_id: str = ""
    life: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        outcome = self.outcome
        error = codec.encode("error", dict(outcome.error)) if outcome.error is not None else b""
        return (
            [
                names.job(self.job_id),
                names.result(self.job_id),
                names.acks(self.broker_id, self.queue_name),
                names.messages(self.queue_name),
                names.stream(self.job_id),
                names.running(self.life),
                names.bytes(self.queue_name),
            ],
            [
                self.job_id,
                outcome.state.value,
                outcome.result or b"",
                error,
                self.result_ttl_s,
                outcome.event(self.job_id),
                names.inbox(""),
                " ".join(map(str, outcome.truncated)),
            ],
        )

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReportProgress(Op[bool]):
    """Say how far a job has come. The reply is True when it should stop."""

    script = "progress"
    job_id: str
    state: State
    progress: Progress

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        said = [self.state.value, f"{self.progress.fraction:.4f}", self.progress.phase]
        return [names.job(self.job_id)], [*said, text_event(self.job_id), names.inbox("")]

    def read(self, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class Watch(Op[tuple[JobStatus, bytes | None] | None]):
    """Read a job and, while it is not final, ask for its outcome to be sent to an inbox.

    What waits past its deadline has expired, and is marked so. The reply is None for an unknown job, else its status
    and its encoded result (None while there is none, or after it has expired).
    """

    script = "watch"
    job_id: str
    inbox: str = ""

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.job(self.job_id), names.result(self.job_id)], [self.inbox, _LATE]

    def read(self, reply: Any) -> tuple[JobStatus, bytes | None] | None:
        if not reply:
            return None
        return read_status(self.job_id, reply[0]), reply[1]


@dataclass(frozen=True, slots=True)
class Cancel(Op[str]):
    """Cancel a job. The reply is the state after the call, "" for an unknown job."""

    script = "cancel"
    job_id: str
    error: WarmlaneError
    result_ttl_s: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        event = Outcome(State.CANCELLED, error=self.error.to_dict()).event(self.job_id)
        return [names.job(self.job_id)], [encode_error(self.error), self.result_ttl_s, event, names.inbox("")]

    def read(self, reply: Any) -> str:
        text: str = reply.decode()
        return text


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
