"""Wire version 1, byte for byte: what other releases have in their queues is read, and written, by this one."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import numpy
import pytest

from tests.compat.frames import JOB_ID, JOBS, TIME_MS, frames, kept
from warmlane import codec
from warmlane.jobs import KINDS
from warmlane.message import JobMessage
from warmlane.results import DTYPES, NDArray, Table

FRAMES = frames()
BYTES = kept()
names = pytest.mark.parametrize("name", FRAMES)


def comparable(value: Any) -> Any:
    """A value in which arrays of either class and NaN compare."""
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return [(key, comparable(item)) for key, item in value.items()]
    if isinstance(value, Table):
        return "table", comparable(dict(value.columns))
    if isinstance(value, NDArray):
        return "array", value.dtype, value.shape, value.data
    if isinstance(value, numpy.ndarray):
        return "array", value.dtype.name, value.shape, value.tobytes()
    if isinstance(value, float):
        return "float", struct.pack("d", value)
    return type(value), value


@names
def test_kept_bytes_decode_to_what_they_were_made_of(name: str) -> None:
    """Today's code reads every kept frame, through its reader's door, as the value that was written then."""
    assert comparable(FRAMES[name].read(BYTES[name])) == comparable(FRAMES[name].value)


@names
def test_the_same_value_is_still_written_as_the_same_bytes(name: str) -> None:
    """Today's code writes every value as the bytes that were kept, so the format never changes unnoticed."""
    assert FRAMES[name].write(FRAMES[name].value).hex() == BYTES[name].hex()


@pytest.mark.parametrize("name", JOBS)
def test_a_kept_message_is_the_job_and_its_envelope(name: str) -> None:
    """A kept job message decodes to its dataclass, its id, its time, and the queue and actor of its kind."""
    job = JOBS[name]
    message = JobMessage.decode(BYTES[f"job/{name}"])
    assert message.kwargs == {"job_id": JOB_ID, "job": job}
    assert type(message.kwargs["job"]) is KINDS[job.kind]
    assert (message.message_id, message.message_timestamp) == (JOB_ID, TIME_MS)
    assert (message.actor_name, message.args) == (job.kind, ())
    assert message.options == {"redis_message_id": JOB_ID}


def test_every_frame_starts_with_its_version_and_kind() -> None:
    """A kept frame is a msgpack array of three: 1, the kind, the body."""
    for name, data in BYTES.items():
        version, kind, _ = msgpack.unpackb(data, ext_hook=msgpack.ExtType, timestamp=0)
        assert (version, kind) == (1, name.partition("/")[0])
    assert codec.WIRE_VERSION == 1


def test_every_kind_and_every_extension_is_kept() -> None:
    """All kinds of job and frame, all element types, both extensions and the three layouts of a time are among them."""
    assert {job.kind for job in JOBS.values()} == set(KINDS)
    kinds = "job event piece result worker model error request response control reply"
    assert {name.partition("/")[0] for name in BYTES} == set(kinds.split())
    assert {f"result/array-{dtype}" for dtype in DTYPES} <= set(BYTES)

    found: set[int] = set()
    for data in BYTES.values():
        msgpack.unpackb(data, ext_hook=lambda code, _: found.add(code), timestamp=0)
    assert found == {codec.EXT_NDARRAY, codec.EXT_TABLE}
    assert all(layout in BYTES["result/times"] for layout in (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff"))


def test_nothing_kept_was_forgotten() -> None:
    """Every kept name still has a value to compare with."""
    assert set(BYTES) == set(FRAMES)
