"""The gateway without a server: headers, bodies, values, problems, and the application on a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import httpx
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from warmlane import codec, errors
from warmlane._slots import Slot, Slots
from warmlane.aio import AsyncClient
from warmlane.codec import LIMITS
from warmlane.errors import CodecError, InvalidInput, PayloadTooLarge, ServerUnreachable, WarmlaneError
from warmlane.gateway.app import create_app
from warmlane.gateway.bodies import read_job as read_request
from warmlane.gateway.bodies import read_limited, write
from warmlane.gateway.encoding import from_json, to_json
from warmlane.gateway.negotiation import JSON, MSGPACK, answer_type, body_type, wait_seconds
from warmlane.gateway.problems import MAX_TEXT, on_warmlane_error, status_of
from warmlane.jobs import Job, PredictJob
from warmlane.lanes import Accepted, Submit
from warmlane.ops import Cancel, Op, Watch
from warmlane.records import Outcome
from warmlane.registry import ReadModel, ReadWorkers
from warmlane.results import JobStatus, NDArray, Progress, State, Table
from warmlane.settings import Settings

PREDICT = {"kind": "predict", "model": "sentiment", "inputs": ["great", "awful"]}


# Headers


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.1", JSON),
        ("application/msgpack", MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("APPLICATION/MSGPACK ; q=0.5", MSGPACK),
        ("application/json;q=0.5, application/msgpack", MSGPACK),
        ("application/json;q=0, */*", MSGPACK),
        ("application/msgpack;q=0.2, */*;q=0.1", MSGPACK),
        ("application/msgpack;q=7, application/json;q=0.1", JSON),
    ],
)
def test_the_answer_has_the_form_that_the_caller_likes_best(accept: str, media: str) -> None:
    """The most specific range decides, then its weight, then JSON; a range with a malformed weight does not count."""
    assert answer_type(accept) == media


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0", "image/*"])
def test_a_caller_who_takes_neither_form_is_refused(accept: str) -> None:
    """An Accept header that rules out JSON and msgpack is a 406."""
    with pytest.raises(HTTPException) as caught:
        answer_type(accept)
    assert caught.value.status_code == 406


def read_job(media: str, body: bytes) -> Job:
    """The job in a body, whatever its options."""
    return read_request(media, body)[0]


def test_a_body_says_what_it_is() -> None:
    """JSON and msgpack are taken by Content-Type, whatever its parameters and its case."""
    assert body_type({"content-type": "Application/JSON; charset=utf-8"}) == JSON
    assert body_type({"content-type": "application/vnd.msgpack"}) == MSGPACK


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": JSON, "content-encoding": "gzip"},
    ],
)
def test_any_other_body_is_refused(headers: Mapping[str, str]) -> None:
    """No type, another type (all that a web page may send unasked), or a compressed body is a 415."""
    with pytest.raises(HTTPException) as caught:
        body_type(headers)
    assert caught.value.status_code == 415


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], None),
        (["wait=5"], 5),
        (["respond-async, Wait = 5"], 5),
        (["respond-async", 'wait="5"; x=y'], 5),
        (["wait=5, wait=9"], 5),
        (["wait=0"], 0),
        (["wait=3600"], 60),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["await=5"], None),
    ],
)
def test_how_long_a_caller_would_wait(prefer: list[str], seconds: int | None) -> None:
    """`wait` is read wherever it stands, capped at a minute; a preference that cannot be read is no preference."""
    assert wait_seconds(prefer) == seconds


# Values

TABLE = Table({"label": ["good", "bad"], "score": [0.9, float("nan")]})
VALUES = {
    "table": (TABLE, {"columns": ["label", "score"], "rows": [["good", 0.9], ["bad", None]]}),
    "empty table": (Table({}), {"columns": [], "rows": []}),
    "ndarray": (
        NDArray("int16", (2, 1), b"\x01\x00\x02\x00"),
        {"dtype": "int16", "shape": [2, 1], "data": [[1], [2]]},
    ),
    "numpy": (
        numpy.array([[0.5], [float("inf")]], "float32"),
        {"dtype": "float32", "shape": [2, 1], "data": [[0.5], [None]]},
    ),
    "scalar array": (numpy.array(True), {"dtype": "bool", "shape": [], "data": True}),
    "bytes": (b"\x00\x01\x02", {"base64": "AAEC"}),
    "time": (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
    "not a number": ([float("nan"), float("-inf"), 1.5], [None, None, 1.5]),
    "nested": ({"rows": (TABLE, None, True)}, {"rows": [to_json(TABLE), None, True]}),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_value_has_one_form_in_json(name: str) -> None:
    """Each value that the codec carries becomes the documented form, and that is valid JSON."""
    value, form = VALUES[name]
    assert to_json(value) == form
    assert json.loads(json.dumps(form, allow_nan=False)) == form


def test_a_value_that_nothing_carries_has_no_json() -> None:
    """An object of another class is a bug of ours: it raises and is not guessed at."""
    with pytest.raises(TypeError, match="object"):
        to_json(object())


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\xff",
        Table({"text": ["a", "b"], "image": [b"1", b"2"]}),
        Table({}),
        NDArray("float64", (2, 2), b"\x00" * 32),
        NDArray("uint8", (), b"\x07"),
        NDArray("bool", (2,), b"\x00\x01"),
        NDArray("int64", (0, 3), b""),
    ],
)
def test_what_json_gives_it_takes_back(value: Any) -> None:
    """A table, an array or bytes in a JSON request is the value whose form it is."""
    assert from_json([to_json(value)], "inputs") == [value]


def test_null_in_an_array_of_floats_is_not_a_number() -> None:
    """NaN goes out as null, so null comes in as NaN."""
    array = from_json({"dtype": "float32", "shape": [1], "data": [None]}, "inputs")
    assert numpy.isnan(array.to_numpy()).all()


def test_an_object_with_other_keys_stays_an_object() -> None:
    """Only exactly the keys of a form make one: a row with a column called `data` is a row."""
    row = {"data": "x", "rows": [1], "nested": {"base64": "AAEC", "more": 1}}
    assert from_json(row, "inputs") == row


@pytest.mark.parametrize(
    "form",
    [
        {"base64": "no base64"},
        {"base64": 7},
        {"columns": ["a"], "rows": [[1, 2]]},
        {"columns": ["a", "a"], "rows": []},
        {"columns": "a", "rows": []},
        {"columns": [["a"]], "rows": []},
        {"dtype": "object", "shape": [1], "data": [1]},
        {"dtype": [], "shape": [1], "data": [1]},
        {"dtype": "int8", "shape": [1], "data": [300]},
        {"dtype": "int8", "shape": [1], "data": [1.5]},
        {"dtype": "int8", "shape": [1], "data": [True]},
        {"dtype": "bool", "shape": [1], "data": [1]},
        {"dtype": "float32", "shape": [1], "data": [1e300]},
        {"dtype": "float64", "shape": [1], "data": [10**400]},
        {"dtype": "float32", "shape": [2], "data": [1]},
        {"dtype": "float32", "shape": [1], "data": 1},
        {"dtype": "float32", "shape": [-1], "data": []},
        {"dtype": "float32", "shape": [True], "data": [1]},
        {"dtype": "float32", "shape": [0] * 33, "data": []},
    ],
)
def test_a_malformed_form_is_refused_by_its_field(form: dict[str, Any]) -> None:
    """An object with the keys of a form that is none is invalid input: the error names the field, not the value."""
    with pytest.raises(InvalidInput) as caught:
        from_json([{"row": form}], "inputs")
    assert caught.value.details["field"] == "inputs"
    assert "no base64" not in caught.value.message


# Bodies


def _bytes(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_both_forms_of_a_body_make_the_same_job() -> None:
    """A job comes as JSON with forms in its payload, or as a frame with the values themselves."""
    job = PredictJob(model="m", inputs=[b"\x00\x01\x02"], params={"top_k": 2})
    fields = {"kind": "predict", "model": "m", "params": {"top_k": 2}}
    assert read_job(JSON, _bytes(fields | {"inputs": [{"base64": "AAEC"}]})) == job
    assert read_job(MSGPACK, codec.encode("request", fields | {"inputs": [b"\x00\x01\x02"]})) == job


def test_options_stand_between_the_fields_of_a_body() -> None:
    """Deadline, priority and their like are told from the fields of the job, and handed on as the caller gave them."""
    options = {"deadline": 2.5, "priority": "high", "pool": "a100", "idempotency_key": "order 7", "result_ttl": 60}
    body = {"kind": "predict", "model": "m", "inputs": ["a"], **options}
    assert read_request(JSON, _bytes(body)) == (PredictJob(model="m", inputs=["a"]), options)


def test_modes_are_fields_of_a_body() -> None:
    """Output mode and what fails with a row come as the job's own fields, in both forms of a body."""
    fields = {"kind": "predict", "model": "m", "inputs": ["a"], "output": "native", "on_error": "row"}
    job = PredictJob(model="m", inputs=["a"], output="native", on_error="row")
    assert read_job(JSON, _bytes(fields)) == read_job(MSGPACK, codec.encode("request", fields)) == job


def test_only_the_payload_has_forms() -> None:
    """Outside of inputs and params an object is an object, whatever its keys."""
    metadata = {"base64": "AAEC"}
    body = {"kind": "save", "name": "m", "source": "org/repo", "metadata": metadata}
    assert read_job(JSON, _bytes(body)).fields()["metadata"] == metadata


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"kind": "predict"} x',
        b'{"kind": NaN}',
        b'{"kind": "load", "kind": "save"}',
        b'{"kind": "\\ud800"}',
        b'{"\\ud800": 1}',
        b"[" * 100_000,
        b"[" * 40 + b"]" * 40,
        b"[" + b"1" * 10_000 + b"]",
        b"[" + b"[]," * LIMITS.max_elements + b"[]]",
        b'["' + b'\\",' * (LIMITS.max_elements + 1),
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_malformed_json_is_refused_and_not_quoted(body: bytes) -> None:
    """What is no JSON, or more than a frame could carry, is a codec error that quotes nothing of it, and soon."""
    began = time.monotonic()
    with pytest.raises(CodecError) as caught:
        read_job(JSON, body)
    assert time.monotonic() - began < 5  # the last two would take minutes if they were read naively
    assert len(caught.value.message) < 60


def test_punctuation_inside_strings_is_no_structure() -> None:
    """A text with more commas and brackets than a frame may have elements is one string."""
    text = 'say "a, [b]", ' * (LIMITS.max_elements // 2)
    job = read_job(JSON, _bytes({"kind": "predict", "model": "m", "inputs": text}))
    assert job.fields()["inputs"] == text


@pytest.mark.parametrize(
    "body",
    [
        [],
        "predict",
        {},
        {"kind": ["predict"]},
        {"kind": "train", "model": "m"},
        {"kind": "predict", "model": "m"},
        {"kind": "predict", "model": "../m", "inputs": "x"},
        {"kind": "load", "model": "m", "colour": "red"},
        {"kind": "load", "model": "m", "pin": "yes"},
        {"kind": "predict", "model": "m", "inputs": "x", "params": {"base64": "AAEC"}},
    ],
)
def test_well_formed_json_that_is_no_job_is_invalid_input(body: Any) -> None:
    """An unknown kind, a missing, unknown or ill-typed field is invalid input that names the field."""
    with pytest.raises(InvalidInput) as caught:
        read_job(JSON, _bytes(body))
    assert caught.value.details["field"]


@pytest.mark.parametrize("body", [b"", b"\xc1", codec.encode("job", PREDICT), _bytes(PREDICT)])
def test_a_frame_of_another_kind_is_refused(body: bytes) -> None:
    """msgpack bodies are frames of kind "request": the bytes of a queued job cannot be replayed as a request."""
    with pytest.raises(CodecError):
        read_job(MSGPACK, body)


@settings(max_examples=50)
@given(media=st.sampled_from([JSON, MSGPACK]), body=st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_no_bytes_break_the_reader(media: str, body: bytes) -> None:
    """Whatever the bytes, they are a job or one of our errors."""
    with contextlib.suppress(CodecError, InvalidInput):
        assert isinstance(read_job(media, body), Job)


def test_any_result_that_can_be_written_can_be_handed_out() -> None:
    """The record around a result does not push an answer over the codec's limits of size and depth."""
    deep: Any = "x"
    while True:
        try:
            codec.encode("result", [deep])
        except CodecError:
            break
        deep = [deep]
    for result in (deep, b"x" * (LIMITS.max_bytes - 64)):
        codec.encode("result", result)
        assert write(MSGPACK, {"id": "0" * 32, "progress": {"phase": "done"}, "result": result})


class Chunks:
    """A body that arrives piece by piece, and knows how much of it was read."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for size in self.sizes:
            self.read += 1
            yield b"x" * size


def test_a_body_is_refused_before_it_is_read() -> None:
    """One that announces more than the limit is not read at all; one that lies is read up to the limit."""
    announced, lying, fitting = Chunks(8, 8), Chunks(8, 8, 8, 8), Chunks(8, 2)
    with pytest.raises(PayloadTooLarge):
        asyncio.run(read_limited(aiter(announced), "11", limit=10))
    with pytest.raises(PayloadTooLarge):
        asyncio.run(read_limited(aiter(lying), "4", limit=10))
    assert (announced.read, lying.read) == (0, 2)
    assert asyncio.run(read_limited(aiter(fitting), None, limit=10)) == b"x" * 10


# Problems


@pytest.mark.parametrize("kind", errors.BY_CODE.values(), ids=lambda kind: kind.code)
def test_every_error_has_a_status(kind: type[WarmlaneError]) -> None:
    """What the caller can mend is a 4xx, an absent store a 503, all else a 500."""
    special = {
        "codec": 400,
        "model_not_found": 404,
        "job_not_found": 404,
        "result_expired": 410,
        "payload_too_large": 413,
        "server_unreachable": 503,
        "idempotency_conflict": 409,
        "queue_full": 429,
        "blob_missing": 410,
        "blob_store_unavailable": 503,
    }
    expected = special.get(kind.code, 422 if issubclass(kind, InvalidInput) else 500)
    assert status_of(kind("told")) == expected


def _problem(error: WarmlaneError) -> dict[str, Any]:
    answer = asyncio.run(on_warmlane_error(None, error))  # type: ignore[arg-type]
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(bytes(answer.body))
    assert body["status"] == answer.status_code
    return body


def test_a_problem_says_what_to_mend() -> None:
    """A 4xx carries the error's code, message and details in the members of RFC 9457."""
    assert _problem(InvalidInput("pin: expected true or false", field="pin")) == {
        "type": "about:blank",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "code": "invalid_input",
        "detail": "pin: expected true or false",
        "details": {"field": "pin"},
    }


def test_a_problem_of_ours_tells_no_internals() -> None:
    """A 5xx names neither the host of the store nor what it said; only the code is told."""
    body = _problem(ServerUnreachable("no Redis answers at redis://10.0.0.7:6379", host="10.0.0.7"))
    assert (body["code"], body["details"]) == ("server_unreachable", {})
    assert "10.0.0.7" not in json.dumps(body)


def test_a_problem_is_short() -> None:
    """A message that names a field of the caller's choosing is cut."""
    body = _problem(InvalidInput("no field " + "x" * 10_000, field="x" * 10_000))
    assert len(body["detail"]) == len(body["details"]["field"]) == MAX_TEXT + 1


# The application


class Memory:
    """An `AsyncTransport` whose store is a dict. Events are delivered only when a test does it."""

    def __init__(self) -> None:
        self.slots = Slots(asyncio.Event)
        self.blobs = None
        self.jobs: dict[str, Job] = {}
        self.records: dict[str, tuple[JobStatus, bytes | None]] = {}
        self.paused = asyncio.Event()
        self.closed = False

    async def run(self, op: Op[Any]) -> Any:
        if isinstance(op, ReadModel):
            return None, 0
        if isinstance(op, ReadWorkers):
            return []
        if isinstance(op, Submit):
            job_id, job = op.message.message_id, op.message.kwargs["job"]
            op.message.encode()
            self.jobs[job_id] = job
            progress = Progress(0.0, "queued")
            status = JobStatus(job_id, job.kind, State.QUEUED, job.subject, 1.0, None, None, progress, (), False, None)
            self.records[job_id] = (status, None)
            return Accepted(True)
        if isinstance(op, Watch):
            return self.records.get(op.job_id)
        assert isinstance(op, Cancel)
        if op.job_id not in self.records:
            return ""
        self.end(op.job_id, State.CANCELLED, error=op.error.to_dict())
        return "CANCELLED"

    async def pause(self, slot: Slot, seconds: float) -> None:
        self.paused.set()
        await slot.wake.wait()

    async def close(self) -> None:
        self.closed = True

    def end(self, job_id: str, state: State, result: Any = None, error: Mapping[str, Any] | None = None) -> None:
        encoded = codec.encode("result", result) if state is State.SUCCEEDED else None
        self.records[job_id] = (replace(self.records[job_id][0], state=state, error=error), encoded)

    def tell(self, job_id: str) -> None:
        """Deliver the event of a job's end."""
        status, result = self.records[job_id]
        self.slots.deliver(Outcome(status.state, result, status.error).event(job_id))


class Restless(Memory):
    """The same, in a hurry: every pause is over at once, without news."""

    async def pause(self, slot: Slot, seconds: float) -> None:
        self.paused.set()


class Broken(Memory):
    """A store with a bug."""

    async def run(self, op: Op[Any]) -> Any:
        raise RuntimeError("secret")


class Rig:
    """A gateway on a store in memory, and a caller."""

    def __init__(self, store: Memory) -> None:
        self.store = store
        self.client = AsyncClient(settings=Settings(), transport=store)
        self.app = create_app(self.client)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://gateway")


def on(store: Callable[[], Memory]) -> Callable[[Callable[[Rig], Awaitable[None]]], Callable[[], None]]:
    """Run a test in an event loop, with a gateway on a new store of the given kind."""

    def decorate(test: Callable[[Rig], Awaitable[None]]) -> Callable[[], None]:
        async def with_rig() -> None:
            rig = Rig(store())
            async with rig.http:
                await test(rig)

        @functools.wraps(test)
        def run() -> None:
            asyncio.run(with_rig())

        del run.__wrapped__  # pytest would take `rig` for a fixture
        return run

    return decorate


@on(Memory)
async def test_msgpack_in_and_out(rig: Rig) -> None:
    """A caller that speaks msgpack gets a frame of kind "response" whose result is the value itself."""
    body = codec.encode("request", PREDICT)
    headers = {"Content-Type": MSGPACK, "Accept": MSGPACK}
    accepted = await rig.http.post("/v1/jobs", content=body, headers=headers)
    assert (accepted.status_code, accepted.headers["content-type"]) == (202, MSGPACK)
    job_id = codec.decode("response", accepted.content)["id"]
    rig.store.end(job_id, State.SUCCEEDED, TABLE)
    done = await rig.http.get(accepted.headers["location"], headers=headers)
    assert codec.decode("response", done.content)["result"]["label"] == ["good", "bad"]


@on(Memory)
async def test_answers_are_not_cached(rig: Rig) -> None:
    """A job's record changes and is its caller's only: no cache may keep it."""
    accepted = await rig.http.post("/v1/jobs", json=PREDICT)
    assert accepted.headers["cache-control"] == "no-store"


@on(Memory)
async def test_nothing_is_enqueued_for_a_caller_who_could_not_read_the_answer(rig: Rig) -> None:
    """406, 415, 413, 400 and 422 come before the job does."""
    refused = {
        406: await rig.http.post("/v1/jobs", json=PREDICT, headers={"Accept": "text/html"}),
        415: await rig.http.post("/v1/jobs", content=_bytes(PREDICT)),
        413: await rig.http.post("/v1/jobs", content=bytes(LIMITS.max_bytes + 1), headers={"Content-Type": JSON}),
        400: await rig.http.post("/v1/jobs", content=b"{", headers={"Content-Type": JSON}),
        422: await rig.http.post("/v1/jobs", json={"kind": "train"}),
    }
    assert {status: answer.status_code for status, answer in refused.items()} == {status: status for status in refused}
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused.values())
    assert refused[415].json()["code"] == "unsupported_media_type"
    assert rig.store.jobs == {}


@on(Memory)
async def test_what_only_the_codec_refuses_is_a_bad_request(rig: Rig) -> None:
    """An integer beyond 64 bits is JSON, and cannot travel: 400."""
    answer = await rig.http.post("/v1/jobs", json=PREDICT | {"inputs": 2**70})
    assert (answer.status_code, answer.json()["code"]) == (400, "codec")


@on(Memory)
async def test_unknown_places_are_problems_too(rig: Rig) -> None:
    """404 and 405 have the form of every other problem; a 405 lists the methods."""
    missing = await rig.http.get("/v2/jobs")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    method = await rig.http.put("/v1/jobs/x")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "DELETE"} <= set(method.headers["allow"].split(", "))


@on(Memory)
async def test_what_is_no_job_id_names_no_job(rig: Rig) -> None:
    """A malformed id is a 404, as an unknown one is."""
    for answer in (await rig.http.get("/v1/jobs/1"), await rig.http.delete(f"/v1/jobs/{'0' * 32}")):
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@on(Memory)
async def test_a_wait_ends_with_the_job(rig: Rig) -> None:
    """A long poll is answered when the job's end is told, however much time is left."""
    asked = asyncio.create_task(rig.http.post("/v1/jobs", json=PREDICT, headers={"Prefer": "wait=60"}))
    await rig.store.paused.wait()
    [job_id] = rig.store.jobs
    rig.store.end(job_id, State.SUCCEEDED, None)
    rig.store.tell(job_id)
    answer = await asked
    assert (answer.status_code, answer.json()["result"]) == (200, None)


@on(Memory)
async def test_a_wait_ends_when_the_server_stops(rig: Rig) -> None:
    """A long poll is answered with the job as it stands when the server is about to stop."""
    place = (await rig.http.post("/v1/jobs", json=PREDICT)).headers["location"]
    asked = asyncio.create_task(rig.http.get(place, headers={"Prefer": "wait=60"}))
    await rig.store.paused.wait()
    rig.app.state.stopping.set()
    answer = await asked
    assert (answer.status_code, answer.json()["state"], answer.headers["retry-after"]) == (200, "QUEUED", "1")


@on(Memory)
async def test_a_wait_ends_when_the_caller_leaves(rig: Rig) -> None:
    """Nobody waits on behalf of a caller who has hung up."""
    place = (await rig.http.post("/v1/jobs", json=PREDICT)).headers["location"]
    hung_up = asyncio.Event()
    first = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in first:
            return message
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """To nobody."""

    scope = {
        "type": "http",
        "method": "GET",
        "path": place,
        "query_string": b"",
        "headers": [(b"prefer", b"wait=60")],
    }
    asked = asyncio.create_task(rig.app(scope, receive, send))
    await rig.store.paused.wait()
    hung_up.set()
    await asked


@on(Restless)
async def test_a_wait_that_is_over_is_no_error(rig: Rig) -> None:
    """When the time is over the answer is the job as it stands, with the preference applied: no time-out surfaces."""
    answer = await rig.http.post("/v1/jobs", json=PREDICT, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"


@on(Restless)
async def test_a_result_is_found_although_its_event_is_late(rig: Rig) -> None:
    """A record may say SUCCEEDED before this process has heard of it: the result is fetched then."""
    handle = await rig.client.predict("sentiment", ["great"])  # expects to be told, and is not
    rig.store.end(handle.id, State.SUCCEEDED, ["good"])
    answer = await rig.http.get(f"/v1/jobs/{handle.id}")
    assert answer.json()["result"] == ["good"]


@on(Memory)
async def test_a_result_of_another_release_is_our_failure(rig: Rig) -> None:
    """A stored result that cannot be decoded is a 500: the caller's request was right."""
    handle = await rig.client.predict("sentiment", ["great"])
    rig.store.end(handle.id, State.SUCCEEDED, ["good"])
    rig.store.records[handle.id] = (rig.store.records[handle.id][0], b"\xc1")
    rig.store.tell(handle.id)
    answer = await rig.http.get(f"/v1/jobs/{handle.id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


@on(Broken)
async def test_a_bug_is_not_explained_to_callers(rig: Rig) -> None:
    """An exception that nobody foresaw is a 500 problem without its text."""
    answer = await rig.http.post("/v1/jobs", json=PREDICT)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


@on(Memory)
async def test_a_client_that_was_given_stays_open(rig: Rig) -> None:
    """The application closes the client that it made, not one that it was given."""
    async with rig.app.router.lifespan_context(rig.app):
        pass
    assert not rig.store.closed


# Imports


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_loads_no_server() -> None:
    """`import warmlane.gateway` loads neither starlette nor uvicorn: the command line may do it for its help."""
    code = "import sys, warmlane.gateway; print({'starlette', 'uvicorn'} & {*sys.modules})"
    assert _python(code) == "set()"


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_extra_names_the_line_that_installs_it(package: str) -> None:
    """Without the extra, `serve` fails with the pip line."""
    code = f"""
import sys
sys.modules[{package!r}] = None
from warmlane.errors import MissingExtra
from warmlane.gateway import serve
from warmlane.settings import Settings
try:
    serve("127.0.0.1", 0, Settings())
except MissingExtra as exc:
    print(exc)
"""
    message = _python(code)
    assert package in message
    assert "pip install 'warmlane[gateway]'" in message
