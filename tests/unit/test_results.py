"""Results as an application holds them: tables, arrays, states, records."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from typing import Any

import numpy as np
import pytest

from warmlane import JobStatus, NDArray, Progress, State, Table
from warmlane.results import DTYPES, FINAL, Attempt

# -- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_is_read_by_column_by_row_and_by_length() -> None:
    """`table["name"]`, iteration and `len` give a column, dicts in column order, and the number of rows."""
    table = Table({"label": ["a", "b"], "score": [0.5, None]})
    assert table["score"] == [0.5, None]
    assert list(table) == table.rows() == [{"label": "a", "score": 0.5}, {"label": "b", "score": None}]
    assert [list(row) for row in table] == [["label", "score"]] * 2
    assert len(table) == 2
    with pytest.raises(KeyError):
        table["other"]


@pytest.mark.parametrize("columns", [{}, {"a": []}, {"a": [], "b": []}])
def test_a_table_may_be_empty(columns: dict[str, Any]) -> None:
    """A table without rows, or without columns, has length 0 and no rows."""
    assert (len(Table(columns)), Table(columns).rows()) == (0, [])


def test_a_dataframe_becomes_a_table() -> None:
    """`from_pandas` keeps columns in order as plain Python values and drops the index."""
    import pandas

    table = Table.from_pandas(pandas.DataFrame({"b": [1, 2], "a": [0.5, None], 3: ["x", "y"]}, index=[7, 8]))
    assert list(table.columns) == ["b", "a", "3"]
    assert [type(value) for value in table["b"]] == [int, int]
    assert (table["a"][0], math.isnan(table["a"][1]), table["3"]) == (0.5, True, ["x", "y"])


def test_columns_of_different_lengths_make_no_table() -> None:
    """Uneven columns are a ValueError."""
    with pytest.raises(ValueError, match="one length"):
        Table({"a": [1], "b": [1, 2]})


def test_a_table_is_made_of_rows() -> None:
    """`from_rows` takes the named columns, in that order, and `rows` gives them back."""
    rows = [{"a": 1, "b": 2, "c": 3}, {"c": 6, "b": 5, "a": 4}]
    table = Table.from_rows(rows, ["b", "a"])
    assert list(table.columns) == ["b", "a"]
    assert table.rows() == [{"b": 2, "a": 1}, {"b": 5, "a": 4}]


def test_a_table_becomes_a_dataframe() -> None:
    """`to_pandas` has the same columns, in order, and the same cells."""
    frame = Table({"label": ["a", "b"], "score": [0.5, 0.25]}).to_pandas()
    assert list(frame.columns) == ["label", "score"]
    assert frame.to_dict("list") == {"label": ["a", "b"], "score": [0.5, 0.25]}


# -- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_lists_its_elements_whatever_its_type(dtype: str) -> None:
    """`tolist` reads little-endian bytes of each element type, in C order, as numpy does."""
    values = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    array = NDArray(dtype, (2, 3), raw)
    assert array.tolist() == values.tolist()
    assert type(array.tolist()[0][0]) is type(values.tolist()[0][0])
    assert array.to_numpy().dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "shape", [(), (1,), (6,), (1, 6), (2, 3), (3, 1, 2), (0,), (0, 3), (3, 0), (2, 0, 3), (2, 3, 0)]
)
def test_an_array_lists_itself_in_its_shape(shape: tuple[int, ...]) -> None:
    """Lists nest as numpy's do, for no dimension, for sizes of one and for sizes of zero."""
    values = np.arange(math.prod(shape), dtype="int32").reshape(shape)
    assert NDArray("int32", shape, values.tobytes()).tolist() == values.tolist()


def test_an_empty_array_of_many_rows_is_not_listed() -> None:
    """An array without bytes may claim any number of rows; beyond ten thousand `tolist` refuses to build them."""
    assert NDArray("int8", (10_000, 0), b"").tolist() == [[]] * 10_000
    assert NDArray("int8", (0, 2**40), b"").tolist() == []
    for shape in ((10_001, 0), (2**40, 0), (2, 2**40, 0), (2**20, 2**20, 0)):
        with pytest.raises(ValueError, match="too many rows"):
            NDArray("int8", shape, b"").tolist()


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "says"),
    [
        ("object", (1,), b"12345678", "element type"),
        ("str", (1,), b"a", "element type"),
        ("", (0,), b"", "element type"),
        ("complex64", (1,), b"12345678", "element type"),
        (">f4", (1,), b"1234", "element type"),
        ("int8", (-1,), b"", "none negative"),
        ("int8", (-1, -1), b"a", "none negative"),
        ("int8", (1.0,), b"a", "integers"),
        ("int8", (True,), b"a", "integers"),
        ("int8", ("1",), b"a", "integers"),
        ("int8", (2,), b"a", "disagree"),
        ("int16", (1,), b"a", "disagree"),
        ("int8", (), b"", "disagree"),
        ("int8", (0,), b"a", "disagree"),
        ("int8", (2**62,), b"a", "disagree"),
    ],
)
def test_type_shape_and_bytes_have_to_agree(dtype: str, shape: Any, data: bytes, says: str) -> None:
    """A type that cannot travel, a shape that is none, or a wrong number of bytes is a ValueError that says which."""
    with pytest.raises(ValueError, match=says):
        NDArray(dtype, shape, data)


def test_numpy_takes_an_array_as_its_own() -> None:
    """`numpy.asarray` gives a writable copy, in another element type on request."""
    array = NDArray("float32", (2,), struct.pack("<2f", 1.5, 2.5))
    copy = np.asarray(array)
    copy[0] = 9
    assert array.tolist() == [1.5, 2.5]
    assert np.asarray(array, dtype="float64").dtype == np.float64
    assert np.array_equal(np.array(array, dtype="int8", copy=True), [1, 2])


def test_an_array_does_not_show_its_bytes() -> None:
    """The repr has type and shape, never the data."""
    assert repr(NDArray("int8", (6,), b"s3cret")) == "NDArray(dtype='int8', shape=(6,))"


# -- states and records ----------------------------------------------------------------------------------------------


def test_four_states_are_final() -> None:
    """A job ends as SUCCEEDED, FAILED, CANCELLED or EXPIRED; in the three others it goes on."""
    assert {state.value for state in State if state.final} == {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
    assert set(State) - FINAL == {State.QUEUED, State.LOADING, State.RUNNING}


STATUS = JobStatus(
    id="0" * 32,
    kind="predict",
    state=State.FAILED,
    model="m",
    queued=1.5,
    started=None,
    finished=3.0,
    progress=Progress(0.5, "loading"),
    attempts=(),
    cancel_requested=False,
    error={"code": "device_error", "message": "no", "details": {}},
)


def test_a_record_is_plain_json() -> None:
    """`to_dict` of a record goes through JSON unchanged and has every field."""
    status = dataclasses.replace(STATUS, attempts=(Attempt("w-1", 2.0),))
    data = status.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(data) == {spec.name for spec in dataclasses.fields(JobStatus)}
    assert data["state"] == "FAILED"
    assert data["progress"] == {"fraction": 0.5, "phase": "loading"}
    assert data["attempts"] == [{"worker": "w-1", "started": 2.0}]
    assert dataclasses.replace(STATUS, error=None).to_dict()["error"] is None


def test_the_worker_of_a_job_is_that_of_its_newest_attempt() -> None:
    """Before the first attempt there is none; after a worker died with the job, it is the next one."""
    assert STATUS.worker is None
    assert dataclasses.replace(STATUS, attempts=(Attempt("w-1", 2.0), Attempt("w-2", 3.0))).worker == "w-2"
