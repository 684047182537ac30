"""What can be asked of the store: one frozen dataclass an operation, with the script it runs and how its reply reads.
Those on queues are in `warmlane.lanes`, those on what a fleet says of itself in `warmlane.registry`.

Operations are plain data. `warmlane.store` runs them on Redis, blocking or not; `warmlane.testing` runs them in memory.
Scripts lie in `lua/`; each is atomic and takes one round trip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from warmlane import codec
from warmlane.errors import JobExpired, WarmlaneError
from warmlane.jobs import new_id
from warmlane.keys import WORKER_TTL_S, Keys
from warmlane.records import (
    Outcome,
    encode_error,
    read_status,
    text_event,
)
from warmlane.results import JobStatus, Progress, State
from warmlane.settings import QUEUED_TTL_S

R = TypeVar("R")

_WORKER_TTL_MS = int(WORKER_TTL_S * 1000)
#: How a job ends that nobody took up before its deadline.
LATE = encode_error(JobExpired("the job's deadline passed while it waited; give it more time, or add workers"))


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
        turn: names this request, so that it counts once if it is sent again for want of a reply.
    """

    script = "start"
    job_id: str
    worker_id: str
    life: str = ""
    alone: bool = False
    patience: Patience = PATIENCE
    turn: str = field(default_factory=new_id, compare=False)

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
                self.turn,
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
        return [names.job(self.job_id), names.result(self.job_id)], [self.inbox, LATE]

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
        said = [encode_error(self.error), self.result_ttl_s, event, names.inbox("")]
        return [names.job(self.job_id)], [*said, names.queue(""), self.job_id]

    def read(self, reply: Any) -> str:
        text: str = reply.decode()
        return text
