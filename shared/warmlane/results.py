"""What comes back: tables, arrays, job states. Plain data; knows neither numpy nor pandas until somebody asks for them.

An ndarray result is a `numpy.ndarray` where numpy is installed and an `NDArray` where it is not, so that an application
without numpy can still read shapes and values.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import pandas

#: The element types that may travel: name -> `struct` character. Raw bytes are little-endian, C order.
DTYPES = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}
#: The most dimensions, and bytes of the sizes that are not 0 multiplied: what every numpy can hold.
MAX_DIMENSIONS = 32
_MAX_EXTENT = 2**63 - 1
#: Most lists that an array without elements is spelled out in.
_MAX_EMPTY_LISTS = 10_000


@dataclass(frozen=True, slots=True)
class NDArray:
    """An n-dimensional array as it travels: element type, shape, raw little-endian bytes in C order.

    Raises:
        ValueError: the type is not in `DTYPES`, the shape is none that numpy could hold, or shape and bytes disagree.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"element type {self.dtype!r} cannot travel; use one of {', '.join(DTYPES)}")
        if any(type(size) is not int or size < 0 for size in self.shape):
            raise ValueError("a shape is a tuple of integers, none negative")
        if len(self.shape) > MAX_DIMENSIONS:
            raise ValueError(f"an array has at most {MAX_DIMENSIONS} dimensions")
        if math.prod(filter(None, self.shape)) * struct.calcsize(DTYPES[self.dtype]) > _MAX_EXTENT:
            raise ValueError("a shape too large for any array, even an empty one")
        if math.prod(self.shape) * struct.calcsize(DTYPES[self.dtype]) != len(self.data):
            raise ValueError("shape and number of bytes disagree")

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a plain number for a zero-dimensional array."""
        values = [item[0] for item in struct.iter_unpack("<" + DTYPES[self.dtype], self.data)]
        if not self.shape:
            return values[0]
        if not values:
            return _empty(self.shape)
        for size in reversed(self.shape[1:]):
            values = [values[at : at + size] for at in range(0, len(values), size)]
        return values

    def to_numpy(self) -> numpy.ndarray[Any, Any]:
        """A writable copy as `numpy.ndarray` (needs numpy)."""
        import numpy

        little = numpy.dtype(self.dtype).newbyteorder("<")
        array: numpy.ndarray[Any, Any] = numpy.ndarray(self.shape, little, bytearray(self.data))
        return array.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray[Any, Any]:
        array = self.to_numpy()
        return array if dtype is None else array.astype(dtype)


def _empty(shape: tuple[int, ...]) -> list[Any]:
    """The nested lists of an array without elements; an array of no bytes may name any number of lists."""
    before = math.prod(shape[: shape.index(0)])
    if before > _MAX_EMPTY_LISTS:
        raise ValueError("an empty array with too many rows to list")
    return [_empty(shape[1:]) for _ in range(shape[0])] if shape[0] else []


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length, in order: what the guide calls a DataFrame.

    `len(table)` is the number of rows, `table["score"]` a column, iteration gives one dict a row.

    Raises:
        ValueError: columns of different lengths.
    """

    columns: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if len({len(column) for column in self.columns.values()}) > 1:
            raise ValueError("the columns of a table have one length")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Sequence[Any]:
        return self.columns[name]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """One dict a row, keys in column order."""
        names = list(self.columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]

    def to_pandas(self) -> pandas.DataFrame:
        """As a pandas DataFrame (needs pandas)."""
        import pandas

        return pandas.DataFrame(dict(self.columns))

    @classmethod
    def from_pandas(cls, frame: pandas.DataFrame) -> Table:
        """The columns of a pandas DataFrame under their names as str; its index is left out.

        Raises:
            ValueError: two columns of one name.
        """
        names = [str(name) for name in frame.columns]
        if len(set(names)) != len(names):
            raise ValueError("a DataFrame with two columns of one name; rename one")
        return cls({name: frame.iloc[:, at].tolist() for at, name in enumerate(names)})

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
        return cls({name: [row[name] for row in rows] for name in names})


def is_dataframe(value: object) -> bool:
    """Whether it is a pandas DataFrame; told by its name, so that nobody imports pandas to ask."""
    return _of_pandas(value, "DataFrame")


def is_series(value: object) -> bool:
    """Whether it is a pandas Series, told likewise."""
    return _of_pandas(value, "Series")


def _of_pandas(value: object, name: str) -> bool:
    return type(value).__name__ == name and type(value).__module__.partition(".")[0] == "pandas"


class State(StrEnum):
    """Where a job stands. The last four are final: a job enters exactly one of them, once."""

    QUEUED = "QUEUED"
    LOADING = "LOADING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come: `fraction` of 1, and the phase in a word ("downloading", "loading", "batch 3/8")."""

    fraction: float
    phase: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time that a worker took the job: which worker, and when (seconds since the epoch, the server's clock)."""

    worker: str
    started: float


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's record. Times are seconds since the epoch by the server's clock; None where not yet reached.

    Attributes:
        attempts: every time a worker took it, oldest first; more than one after a worker died with it.
        error: `{"code", "message", "details"}` of a job that did not succeed.
        replay_of: the dead job that this is again.
        replayed_as: the job that this one, dead, became again.
        truncated: the numbers of the rows, from 0, of which the answer has not read all: too long, and cut.
        deadline: when it is too late for an answer.
    """

    id: str
    kind: str
    state: State
    model: str
    queued: float
    started: float | None
    finished: float | None
    progress: Progress
    attempts: tuple[Attempt, ...]
    cancel_requested: bool
    error: Mapping[str, Any] | None
    truncated: tuple[int, ...] = ()
    priority: str = "normal"
    pool: str = "default"
    deadline: float | None = None
    replay_of: str | None = None
    replayed_as: str | None = None

    @property
    def worker(self) -> str | None:
        """The worker of the newest attempt."""
        return self.attempts[-1].worker if self.attempts else None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON-ready data, for the gateway and for `--json`."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state.value,
            "model": self.model,
            "queued": self.queued,
            "started": self.started,
            "finished": self.finished,
            "progress": {"fraction": self.progress.fraction, "phase": self.progress.phase},
            "attempts": [{"worker": attempt.worker, "started": attempt.started} for attempt in self.attempts],
            "cancel_requested": self.cancel_requested,
            "priority": self.priority,
            "pool": self.pool,
            "deadline": self.deadline,
            "error": dict(self.error) if self.error is not None else None,
            "truncated": list(self.truncated),
            "replay_of": self.replay_of,
            "replayed_as": self.replayed_as,
        }


@dataclass(frozen=True, slots=True)
class JobEvent:
    """News of a job.

    Attributes:
        kind: "status": its record has changed; "text": the text of its answer has grown; "interrupted": that text goes
            on otherwise, since the job was done again, and is told no further; "end": it is final.
        status: its record.
        at: how many characters come before `text`.
    """

    kind: str
    status: JobStatus
    at: int = 0
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed as poison or by an internal error, or a message that did not decode; its message is kept.

    Attributes:
        kind: of the job; "" where nobody knows, as of `model`.
        code: of the error that it failed with.
        time: since when it is dead, in seconds since the epoch by the server's clock.
        bytes: of its message.
    """

    id: str
    kind: str
    model: str
    code: str
    time: float
    bytes: int


@dataclass(frozen=True, slots=True)
class WarmModel:
    """A model that a worker holds in memory right now.

    Attributes:
        bytes: of its own.
        base: whose weights it shares with others: a model's name, or what the adapters call their base; "" if nobody's.
        base_bytes: what those take, once for all.
        kin: the same for a model and its adapters, which may share its weights; "" where nobody knows.
    """

    model: str
    task: str
    dtype: str
    device: str
    bytes: int
    pinned: bool
    idle_s: float
    base: str = ""
    base_bytes: int = 0
    kin: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live worker process, as of its last heartbeat.

    Attributes:
        pace_ms: how long a job takes it lately: the time in which some ran, divided by their number.
        load_ms: how long the load of a model takes it lately; 0 before the first.
    """

    id: str
    host: str
    pid: int
    device: str
    state: str
    threads: int
    running: int
    budget_bytes: int
    queues: tuple[str, ...]
    models: tuple[WarmModel, ...]
    pool: str = "default"
    pace_ms: float = 1.0
    load_ms: float = 0.0

    @property
    def held_bytes(self) -> int:
        """What the models take of the budget; a base that several share counts once."""
        names = {model.model for model in self.models}
        bases = {model.base: model.base_bytes for model in self.models if model.base and model.base not in names}
        return sum(model.bytes for model in self.models) + sum(bases.values())


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A published model: its newest version and who holds it warm.

    Attributes:
        versions: all published versions, ascending.
        signature: the inputs and outputs of the newest version, as `warmlane.signature` writes them; None if unknown.
        warm_on: ids of the live workers that hold any version of it.
        aliases: alias -> the version that it means.
        kin: of an adapter, what its base and that one's other adapters have as `WarmModel.kin`.
    """

    name: str
    versions: tuple[int, ...]
    task: str
    dtype: str | None
    bytes: int
    signature: Mapping[str, Any] | None
    warm_on: tuple[str, ...] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    kin: str = ""
