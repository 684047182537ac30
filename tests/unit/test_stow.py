"""Which payloads go beside Redis: told without encoding where that is plain, and by encoding where it is not."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmlane import NDArray, Settings, Table
from warmlane._stow import _room_after, stow
from warmlane.blobs import Blobs, StoredJob, encode_fields
from warmlane.jobs import Job, PredictJob, new_id

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


def stowed(blobs: Blobs, job: Job) -> Job | StoredJob:
    """What travels; the flow's one wish is granted."""
    flow: Generator[Any, Any, Job | StoredJob] = stow(blobs, job, new_id())
    try:
        flow.send(next(flow).do())
    except StopIteration as stop:
        sent: Job | StoredJob = stop.value
        return sent
    raise AssertionError("it wished for more")


@given(VALUES)
def test_what_is_said_to_fit_does(value: Any) -> None:
    """The room that is left by the estimate is there after encoding as well."""
    job = PredictJob(model="m", inputs=value)
    blobs = Blobs.of(Settings(blobs="never written"))
    assert blobs is not None
    assert _room_after(job.fields(), 100_000) <= 100_000 - len(encode_fields(blobs, job)) + 32  # the frame's own head


@pytest.mark.parametrize(
    ("inputs", "goes"),
    [
        ("x" * 900, False),
        ("x" * 1100, True),
        ("ü" * 600, True),
        (["x"] * 300, False),
        (["x" * 20] * 300, True),
        (b"x" * 1100, True),
        (np.zeros(100, np.float32), False),
        (np.zeros(300, np.float32), True),
        (Table({"text": ["x" * 1100]}), True),
        (NDArray("uint8", (10,), bytes(10)), False),
    ],
    ids=[
        "text",
        "long text",
        "two bytes a letter",
        "rows",
        "many rows",
        "bytes",
        "array",
        "long array",
        "table",
        "ours",
    ],
)
def test_what_is_larger_than_the_setting_goes(tmp_path: Path, inputs: Any, goes: bool) -> None:
    """By its encoded size, whatever it is made of."""
    blobs = Blobs.of(Settings(blobs=str(tmp_path), inline_bytes=1000))
    assert blobs is not None
    assert isinstance(stowed(blobs, PredictJob(model="m", inputs=inputs)), StoredJob) is goes
