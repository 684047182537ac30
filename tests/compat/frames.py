"""What was kept of wire version 1: every kind of frame and every extension, each by name, as values.

The bytes lie in `wire_v1.json`, written once by `python -m tests.compat.keep`. They are what processes of other
releases have in their queues: neither the values here nor the bytes there ever change, new names may join.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warmlane import codec
from warmlane.errors import JobCancelled, SchemaError, from_dict
from warmlane.jobs import AliasJob, DeleteJob, Job, LoadJob, PersistJob, PredictJob, SaveJob, UnloadJob
from warmlane.keys import Keys
from warmlane.message import JobMessage
from warmlane.ops import Watch
from warmlane.records import Outcome, encode_error, text_event
from warmlane.registry import Beat, PublishModel, ReadModel, ReadWorkers
from warmlane.results import DTYPES, ModelInfo, NDArray, State, Table, WarmModel, WorkerInfo
from warmlane.signature import DEFAULTS
from warmlane.stream import Piece

KEPT = Path(__file__).with_name("wire_v1.json")
JOB_ID = "00112233445566778899aabbccddeeff"
TIME_MS = 1_700_000_000_123


@dataclass(frozen=True)
class Frame:
    """A value, how today's code writes it, and how it reads the bytes."""

    value: Any
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


JOBS: Mapping[str, Job] = {
    "predict": PredictJob(model="sentiment", inputs="great"),
    "predict-all-fields": PredictJob(
        model="sentiment@best",
        inputs=[{"text": "a", "text_pair": "ä\U0001f600"}, b"\x00\xff", 1, 2.5, None, True],
        params={"top_k": 2, "stop": ["\n"]},
        dtype="bfloat16",
    ),
    "predict-with-later-fields": PredictJob(
        model="sentiment", inputs=["a"], trust_remote_code=True, output="native", on_error="row"
    ),
    "predict-streamed": PredictJob(model="chat", inputs="Hi!", stream=True),
    "predict-table": PredictJob(model="tabular/12", inputs=Table({"text": ["a", "b"], "n": [1, None]})),
    "load": LoadJob(model="sentiment"),
    "load-all-fields": LoadJob(
        model="sentiment/3", dtype="float16", return_type="components", pin=True, trust_remote_code=True
    ),
    "load-with-later-fields": LoadJob(model="sentiment", model_config={"top_k": 2}),
    "unload": UnloadJob(model="sentiment"),
    "save": SaveJob(name="sentiment", source="org/repo"),
    "save-all-fields": SaveJob(
        name="a-b_c.d",
        source={
            "model": "org/model",
            "tokenizer": "/models/tokenizer",
            "feature_extractor": "org/features",
            "image_processor": "org/images",
        },
        task="image-classification",
        dtype="float32",
        save_pretrained=False,
        revision="main",
        metadata={"by": "me", "scores": [0.5], "nested": {"n": 1}},
        trust_remote_code=True,
    ),
    "persist": PersistJob(model="sentiment/3"),
    "alias": AliasJob(model="sentiment/3", alias="prod"),
    "delete": DeleteJob(model="sentiment@old"),
}

OUTCOMES: Mapping[str, Outcome] = {
    "inline": Outcome(State.SUCCEEDED, codec.encode("result", ["POSITIVE"])),
    "to-fetch": Outcome(State.SUCCEEDED),
    "failed": Outcome(
        State.FAILED, error=SchemaError("inputs[1]: expected string, got int", field="inputs[1]").to_dict()
    ),
    "cancelled": Outcome(State.CANCELLED, error=JobCancelled("cancelled", id=JOB_ID).to_dict()),
}

#: Whole elements of every type.
_RAW = bytes(range(1, 9)) * 3

RESULTS: Mapping[str, Any] = {
    "none": None,
    "booleans": [True, False],
    "integers": [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1, -1, -32, -33, -128, -129, -(2**63)],
    "floats": [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 5e-324],
    "texts": ["", "a" * 31, "b" * 32, "ä" * 128, "\x00\U0001f600"],
    "bytes": [b"", bytes(range(256)), b"c" * 300],
    "lists": [[], [1] * 15, [2] * 16, [[[[]]]]],
    "dicts": [{}, {"b": 1, "a": {"c": None}}, {f"k{number}": number for number in range(16)}],
    "times": [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC),
        datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2600, 1, 1, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    **{
        f"array-{dtype}": NDArray(dtype, (24 // struct.calcsize(letter),), b"\1\0" * 12 if dtype == "bool" else _RAW)
        for dtype, letter in DTYPES.items()
    },
    "array-matrix": NDArray("uint16", (2, 3), bytes(range(12))),
    "array-scalar": NDArray("float32", (), b"\x00\x00\xc0\x3f"),
    "array-empty": NDArray("int64", (3, 0, 2), b""),
    "array-long": NDArray("uint8", (300,), b"\x07" * 300),
    "table": Table({"label": ["POSITIVE", "NEGATIVE"], "score": [0.75, 0.25]}),
    "table-empty": Table({}),
    "table-of-everything": Table(
        {
            "array": [NDArray("float64", (1,), b"\x00" * 8)],
            "time": [datetime(2024, 2, 29, tzinfo=UTC)],
            "table": [Table({"a": [1]})],
            "list": [[{"b": b"c"}]],
        }
    ),
}

WORKER = WorkerInfo(
    id="w-1",
    host="node",
    pid=4711,
    device="cuda:0",
    state="ready",
    threads=64,
    running=3,
    budget_bytes=2**34,
    queues=("predict", "manage"),
    models=(WarmModel("sentiment/3", "text-classification", "float32", "cuda:0", 2**28, True, 1.5),),
)
IDLE_WORKER = dataclasses.replace(WORKER, queues=(), models=())
MODEL = ModelInfo("m", (), "text-classification", "float32", 2**28, DEFAULTS["text-classification"])
UNTYPED_MODEL = ModelInfo("m", (), "fill-mask", None, 0, None)
ERROR = SchemaError("inputs[1]: expected string, got int", field="inputs[1]", expected="string").to_dict()

#: Frames whose body is plain data: the gateway's, and the two that workers exchange.
PLAIN: Mapping[str, Any] = {
    "request": {"kind": "predict", "model": "sentiment", "inputs": ["great", b"\x00"], "params": {"top_k": 1}},
    "response": {"id": JOB_ID, "state": "SUCCEEDED", "result": Table({"label": ["POSITIVE"], "score": [0.75]})},
    "control": {"op": "unload", "model": "sentiment", "job": JOB_ID},
    "reply": {"worker": "w-1", "bytes": 2**28},
}


def frames() -> dict[str, Frame]:
    """Everything that is kept: `kind/name` -> frame."""
    return {
        **{f"job/{name}": Frame(job, _write_job, _read_job) for name, job in JOBS.items()},
        **{f"event/{name}": Frame(outcome, _write_event, _read_event) for name, outcome in OUTCOMES.items()},
        **{f"result/{name}": _plain("result", value) for name, value in RESULTS.items()},
        **{f"{kind}/plain": _plain(kind, value) for kind, value in PLAIN.items()},
        "event/text": Frame(None, lambda _: text_event(JOB_ID), _read_event),
        "piece/first": Frame(Piece(0, "One "), Piece.pack, Piece.unpack),
        "piece/last": Frame(Piece(4, "zw\u00f6lf", last=True), Piece.pack, Piece.unpack),
        "worker/warm": Frame(WORKER, _write_worker, _read_worker),
        "worker/idle": Frame(IDLE_WORKER, _write_worker, _read_worker),
        "model/typed": Frame(MODEL, _write_model, _read_model),
        "model/untyped": Frame(UNTYPED_MODEL, _write_model, _read_model),
        "error/details": Frame(ERROR, lambda error: encode_error(from_dict(error)), _read_error),
    }


def _plain(kind: str, value: Any) -> Frame:
    return Frame(value, lambda value: codec.encode(kind, value), lambda data: codec.decode(kind, data))


def _write_job(job: Job) -> bytes:
    return dataclasses.replace(JobMessage.of(job, JOB_ID), message_timestamp=TIME_MS).encode()


def _read_job(data: bytes) -> Job:
    job: Job = JobMessage.decode(data).kwargs["job"]
    return job


def _write_event(outcome: Outcome) -> bytes:
    return outcome.event(JOB_ID)


def _read_event(data: bytes) -> Outcome | None:
    job_id, outcome = Outcome.from_event(data)
    assert job_id == JOB_ID
    return outcome


def _write_worker(info: WorkerInfo) -> bytes:
    data: bytes = Beat(info).arguments(Keys())[1][1]
    return data


def _read_worker(data: bytes) -> WorkerInfo:
    return ReadWorkers().read([data])[0]


def _write_model(info: ModelInfo) -> bytes:
    data: bytes = PublishModel(info, 1).arguments(Keys())[1][2]
    return data


def _read_model(data: bytes) -> ModelInfo | None:
    return ReadModel("m").read([data, 1])[0]


def _read_error(data: bytes) -> Mapping[str, Any] | None:
    record = [b"kind", b"predict", b"model", b"m", b"state", b"FAILED", b"queued", b"0", b"error", data]
    found = Watch(JOB_ID).read([record, None])
    assert found is not None
    return found[0].error


def kept() -> dict[str, bytes]:
    """The bytes by name."""
    return {name: bytes.fromhex(text) for name, text in json.loads(KEPT.read_text()).items()} if KEPT.exists() else {}
