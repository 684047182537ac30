"""Damages real frames of every kind and decodes them: each must be read or refused, and refused by our own errors.

    python -m benchmarks.fuzz --messages 200000 --seed 1

A frame is read through the door that its reader uses (a job as a Dramatiq message, an event as the inbox reads it, a
worker's and a model's record as the store reads them). A message is a frame with one to three damages to its bytes, or
a sound frame in which one value is of another type. The same seed gives the same messages. Any exception but
`CodecError` and Dramatiq's `DecodeError` ends the run and shows the frame.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dramatiq.errors import DecodeError

from warmlane import codec
from warmlane.errors import CodecError, SourceError
from warmlane.jobs import AliasJob, DeleteJob, Job, LoadJob, PersistJob, PredictJob, SaveJob, UnloadJob
from warmlane.keys import Keys
from warmlane.message import JobMessage
from warmlane.ops import Watch
from warmlane.records import Outcome, encode_error
from warmlane.registry import Beat, PublishModel, ReadModel, ReadWorkers
from warmlane.results import ModelInfo, NDArray, State, Table, WarmModel, WorkerInfo
from warmlane.signature import DEFAULTS

JOB_ID = "0123456789abcdef" * 2
#: Headers that promise much: arrays, maps, texts, bytes and extensions up to 2**32-1, the byte without a meaning.
_HOSTILE_HEX = """
    ddffffffff dd000fffff dcffff 9f dfffffffff deffff 8f dbffffffff d9ff bf c6ffffffff c4ff c9ffffffff01 c9ffffffff02
    c7ff01 c7ff02 c7ffff c70001 c70002 c700ff c70c01 c80100ff d401c0 d40180 d4ff00 d6ff00000000 d7ffffffffffffffffff
    d8ff00000000000000000000000000000000 c1 d3ffffffffffffffff cfffffffffffffffff cb7ff8000000000000 90 80 a0 c0 c3
    9191919191919191919191919191919191919191919191919191919191919191919191 818181818181818181818181818181
    93a4696e743891cf4000000000000000c400 93a4626f6f6c9200ff 81a0 81a1619181a16190
"""
HOSTILE = tuple(map(bytes.fromhex, _HOSTILE_HEX.split()))
#: What a field may hold that expects something else.
ODD: tuple[Any, ...] = (
    *(None, True, -1, 2**64 - 1, float("nan"), "", "predict", "\x00", b"", b"\xff", [], [[]], {}, {"model": 1}),
    *(datetime(1970, 1, 1, tzinfo=UTC), Table({"a": [1]}), NDArray("int8", (2,), b"ab"), NDArray("bool", (0, 3), b"")),
)

Read = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of frame: real ones, and the door through which such a frame is read."""

    name: str
    frames: Sequence[bytes]
    read: Read


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has seen.

    Attributes:
        refused: by kind of frame.
        grown_bytes: by how much the process' peak of resident memory rose.
    """

    messages: int
    seconds: float
    refused: dict[str, int]
    sent: dict[str, int]
    grown_bytes: int

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def share_refused(self) -> float:
        return sum(self.refused.values()) / self.messages


class Escaped(AssertionError):
    """An exception that a reader of frames does not expect."""


def kinds() -> list[Kind]:
    """Every kind of frame that processes exchange."""
    return [
        Kind("job", [JobMessage.of(job, JOB_ID).encode() for job in _jobs()], JobMessage.decode),
        Kind("event", [outcome.event(JOB_ID) for outcome in _outcomes()], Outcome.from_event),
        Kind("result", [codec.encode("result", result) for result in _results()], _read_result),
        Kind("worker", [Beat(_worker()).arguments(Keys())[1][1]], lambda data: ReadWorkers().read([data])),
        Kind("model", [PublishModel(_model(), 3).arguments(Keys())[1][2]], lambda data: ReadModel("m").read([data, 1])),
        Kind("error", [encode_error(SourceError("not there; give a directory", field="source"))], _read_error),
    ]


def _jobs() -> list[Job]:
    return [
        PredictJob(model="sentiment/3", inputs=["great", {"text": "a", "text_pair": "b"}], params={"top_k": 2}),
        PredictJob(model="tabular", inputs=Table({"text": ["a", "b"], "n": [1, 2.5]}), dtype="bfloat16"),
        LoadJob(model="sentiment@best", dtype="float16", return_type="components", pin=True),
        UnloadJob(model="sentiment"),
        SaveJob(name="pair", source={"model": "org/model", "tokenizer": "/models/tok"}, metadata={"by": "me", "n": 1}),
        PersistJob(model="sentiment/3"),
        AliasJob(model="sentiment/3", alias="best"),
        DeleteJob(model="sentiment/2"),
    ]


def _outcomes() -> list[Outcome]:
    return [
        Outcome(State.SUCCEEDED, codec.encode("result", ["POSITIVE"])),
        Outcome(State.SUCCEEDED),
        Outcome(State.FAILED, error=SourceError("not there; give a directory", field="source").to_dict()),
    ]


def _results() -> list[Any]:
    return [
        Table({"label": ["POSITIVE", "NEGATIVE"], "score": [0.75, float("nan")]}),
        [NDArray("float32", (2, 3), bytes(24)), NDArray("bool", (), b"\x01"), NDArray("int8", (3, 0), b"")],
        {"text": "großes Œuvre", "raw": b"\x00\xff", "numbers": [-(2**63), 2**64 - 1, -1.5, None, True]},
        [datetime(2024, 2, 29, tzinfo=UTC), datetime(2600, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
        Table({"features": [NDArray("float64", (2,), bytes(16))], "inner": [Table({"a": [1]})]}),
        [[[[[["deep"]]]]]],
    ]


def _worker() -> WorkerInfo:
    warm = WarmModel("sentiment/3", "text-classification", "float32", "cuda:0", 2**28, True, 1.5)
    return WorkerInfo("w-1", "node", 4711, "cuda:0", "ready", 64, 3, 2**34, ("predict", "manage"), (warm, warm))


def _model() -> ModelInfo:
    return ModelInfo("m", (3,), "text-classification", None, 2**28, DEFAULTS["text-classification"])


def _read_result(data: bytes) -> Any:
    return codec.decode("result", data)


def _read_error(data: bytes) -> Any:
    record = [b"kind", b"save", b"model", b"m", b"state", b"FAILED", b"queued", b"0", b"error", data]
    return Watch(JOB_ID).read([record, None])


class Mutator:
    """Damages frames, the same way for the same seed. Splices come from the frames of all kinds."""

    def __init__(self, seed: int, donors: Sequence[bytes]) -> None:
        self.chance = random.Random(seed)
        self.donors = donors
        self.mutations = (self._flip, self._cut, self._splice, self._insert, self._overwrite, self._repeat, self._drop)

    def damage(self, kind: str, data: bytes) -> bytes:
        if self.chance.random() < 0.3:
            return codec.encode(kind, self._confuse(codec.decode(kind, data)))
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            data = self.chance.choice(self.mutations)(data)
        return data

    def _confuse(self, value: Any) -> Any:
        """The value with one of its parts, at any depth, lost or replaced by something odd."""
        if isinstance(value, dict) and value and self.chance.random() < 0.9:
            name = self.chance.choice(list(value))
            if self.chance.random() < 0.1:
                return {key: item for key, item in value.items() if key != name}
            return {**value, name: self._confuse(value[name])}
        if isinstance(value, list) and value and self.chance.random() < 0.8:
            at = self.chance.randrange(len(value))
            return [*value[:at], self._confuse(value[at]), *value[at + 1 :]]
        return self.chance.choice(ODD)

    def _place(self, data: bytes) -> int:
        return self.chance.randrange(len(data) + 1)

    def _slice(self, data: bytes) -> bytes:
        start = self._place(data)
        return data[start : start + self.chance.randrange(40)]

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.chance.randrange(1, 4) if data else 0):
            changed[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _splice(self, data: bytes) -> bytes:
        """A piece of any frame, in the place of as many bytes."""
        at, piece = self._place(data), self._slice(self.chance.choice(self.donors))
        return data[:at] + piece + data[at + len(piece) :]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self.chance.choice(HOSTILE) + data[at:]

    def _overwrite(self, data: bytes) -> bytes:
        at, header = self._place(data), self.chance.choice(HOSTILE)
        return data[:at] + header + data[at + len(header) :]

    def _repeat(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._slice(data) * self.chance.randrange(1, 5) + data[at:]

    def _drop(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + data[at + self.chance.randrange(1, 9) :]


def fuzz(messages: int, seed: int, corpus: Sequence[Kind] | None = None) -> Report:
    """Decode so many damaged frames, of the kinds given; by default of all.

    Raises:
        Escaped: a reader raised what it does not promise; the message has the frame, to decode again.
    """
    corpus = kinds() if corpus is None else corpus
    pairs = [(kind, frame) for kind in corpus for frame in kind.frames]
    mutator = Mutator(seed, [frame for _, frame in pairs])
    refused, sent = ({kind.name: 0 for kind in corpus} for _ in range(2))
    for kind, frame in pairs:
        kind.read(frame)  # undamaged, each is read
    before, began = _peak_bytes(), time.perf_counter()
    for number in range(messages):
        kind, frame = pairs[number % len(pairs)]
        data = mutator.damage(kind.name, frame)
        sent[kind.name] += 1
        try:
            kind.read(data)
        except (CodecError, DecodeError):
            refused[kind.name] += 1
        except Exception as exc:
            place = f"message {number} of seed {seed}, kind {kind.name}"
            raise Escaped(f"{type(exc).__name__} at {place}: {data.hex()}") from exc
    return Report(messages, time.perf_counter() - began, refused, sent, _peak_bytes() - before)


def _peak_bytes() -> int:
    """The peak of this process' resident memory so far; it never falls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    report = fuzz(asked.messages, asked.seed)
    print(f"{report.messages} messages in {report.seconds:.1f} s, {report.rate:.0f} a second, seed {asked.seed}")
    print(f"refused {report.share_refused:.1%}; the others decoded; nothing else was raised")
    for kind, count in report.refused.items():
        print(f"  {kind:8} {count} of {report.sent[kind]}")
    print(f"peak memory grew by {report.grown_bytes / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
