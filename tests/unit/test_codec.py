"""The wire format: what travels, what is refused, and that a refusal costs no memory and quotes no data."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
import tracemalloc
import uuid
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from warmlane import codec
from warmlane.codec import Limits
from warmlane.errors import CodecError
from warmlane.results import DTYPES, NDArray, Table

SECRET = "s3cret"
modest = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def frame(body: bytes, kind: bytes = b"result", version: bytes = b"\x01") -> bytes:
    """A frame around a body that may be anything."""
    return b"\x93" + version + bytes([0xA0 + len(kind)]) + kind + body


def ext(code: int, data: bytes) -> bytes:
    return b"\xc9" + len(data).to_bytes(4, "big") + code.to_bytes(1, "big", signed=True) + data


def bin32(data: bytes) -> bytes:
    return b"\xc6" + len(data).to_bytes(4, "big") + data


def array32(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


def map32(count: int) -> bytes:
    return b"\xdf" + count.to_bytes(4, "big")


def round_trip(value: Any) -> Any:
    return codec.decode("result", codec.encode("result", value))


def plain(value: Any) -> Any:
    """A value in a form in which equal means the same: types, order, NaN and the sign of zero count."""
    if isinstance(value, list | tuple):
        return ["list", *map(plain, value)]
    if isinstance(value, dict):
        return ["dict", *((key, plain(item)) for key, item in value.items())]
    if isinstance(value, Table):
        return ["table", *((name, plain(list(column))) for name, column in value.columns.items())]
    if isinstance(value, NDArray):
        return ["array", value.dtype, value.shape, value.data]
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.name, value.shape, value.astype(value.dtype.newbyteorder("<")).tobytes()]
    if isinstance(value, datetime):
        return ["time", value.astimezone(UTC).isoformat()]
    if isinstance(value, float):
        return ["float", "nan" if math.isnan(value) else value.hex()]
    return [type(value).__name__, value]


def zones() -> st.SearchStrategy[tzinfo]:
    return st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def times() -> st.SearchStrategy[datetime]:
    return st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones())


@st.composite
def arrays(draw: st.DrawFn) -> NDArray:
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return NDArray(dtype, shape, draw(st.binary(min_size=size, max_size=size)))


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[Any]) -> Table:
    rows = draw(st.integers(0, 3))
    column = st.lists(cells, min_size=rows, max_size=rows)
    return Table(draw(st.dictionaries(st.text(max_size=4), column, max_size=3)))


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | times()
    | arrays()
)
allowed = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | tables(st.none() | st.floats() | st.text(max_size=5) | arrays())
    ),
    max_leaves=10,
)


# -- what travels ----------------------------------------------------------------------------------------------------


@modest
@given(allowed)
def test_every_allowed_value_arrives_as_it_was(value: Any) -> None:
    """Lists, dicts, bytes, numbers, points in time, tables and arrays decode to what was encoded, in order."""
    assert plain(round_trip(value)) == plain(value)


@pytest.mark.parametrize(
    "value", [-(2**63), 2**64 - 1, 2**53 + 1, -0.0, math.inf, -math.inf, 5e-324, True, "\x00\U0001f600"]
)
def test_numbers_and_text_keep_their_last_bit(value: Any) -> None:
    """64-bit integers, signed zero, infinities, the smallest float and astral characters survive exactly."""
    assert plain(round_trip(value)) == plain(value)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC),  # the first second that 32 bits do not hold
        datetime(2514, 5, 30, 1, 53, 4, tzinfo=UTC),  # nor 34 bits
        datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
    ],
)
def test_a_point_in_time_arrives_in_utc(moment: datetime) -> None:
    """Any time that a datetime holds arrives as the same instant to the microsecond, in UTC."""
    arrived = round_trip(moment)
    assert arrived == moment
    assert arrived.utcoffset() == timedelta(0)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda a: a, id="C"),
        pytest.param(np.asfortranarray, id="F"),
        pytest.param(lambda a: a[::-1, ::2], id="strided"),
        pytest.param(lambda a: a.astype(a.dtype.newbyteorder(">")), id="big-endian"),
        pytest.param(lambda a: a[1, 2], id="scalar"),
        pytest.param(lambda a: np.array(a[1, 2]), id="0-d"),
        pytest.param(lambda a: a[:0], id="no rows"),
        pytest.param(lambda a: a[:, :0].reshape(3, 0, 2), id="empty inside"),
        pytest.param(lambda a: np.broadcast_to(a, (2, 3, 4)), id="broadcast"),
        pytest.param(lambda a: a.reshape((1,) * 30 + (3, 4)), id="32-d"),
    ],
)
def test_numpy_arrays_of_any_layout_arrive_as_c_ordered_arrays(dtype: str, layout: Any) -> None:
    """Each element type in each memory layout arrives with the same elements, writable; a scalar as a number."""
    array = layout(np.arange(12).reshape(3, 4).astype(dtype))
    arrived = round_trip(array)
    if isinstance(array, np.generic):
        assert arrived == array.item()
        assert type(arrived) is type(array.item())
        return
    assert (arrived.dtype, arrived.shape) == (np.dtype(dtype), array.shape)
    assert arrived.tolist() == array.tolist()
    assert arrived.flags.c_contiguous
    assert arrived.flags.writeable


@modest
@given(arrays())
def test_an_array_lists_itself_as_numpy_does(array: NDArray) -> None:
    """`NDArray.tolist` equals `numpy.ndarray.tolist` of the same bytes."""
    assert plain(array.tolist()) == plain(array.to_numpy().tolist())


def test_without_numpy_an_array_arrives_as_an_ndarray_of_our_own() -> None:
    """Where numpy is not installed, the same frame decodes to an `NDArray` that knows shape and values."""
    data = codec.encode("result", np.array([[1.5, 2.5]], "float32"))
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from warmlane import codec\n"
        f"array = codec.decode('result', bytes.fromhex('{data.hex()}'))\n"
        "print(type(array).__module__, array.dtype, array.shape, array.tolist())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "warmlane.results float32 (1, 2) [[1.5, 2.5]]"


def test_what_python_takes_for_a_list_or_for_bytes_travels_as_one() -> None:
    """A tuple arrives as a list; bytearray and memoryview as bytes; what is a subclass of a plain type as that."""
    assert round_trip((1, (2,))) == [1, [2]]
    assert round_trip([bytearray(b"a"), memoryview(b"b")]) == [b"a", b"b"]
    arrived = round_trip([np.str_("a"), np.bytes_(b"b"), np.float64(0.5)])
    assert [type(item) for item in arrived] == [str, bytes, float]


def test_a_dataframe_travels_as_a_table() -> None:
    """A pandas DataFrame arrives as a Table with its columns in order; missing numbers are NaN, times are in UTC."""
    import pandas  # half a second, for this test alone

    moments = pandas.to_datetime(["2024-01-01T00:00:00.000001Z", "2024-01-02T00:00:00Z"], format="ISO8601")
    sent = pandas.DataFrame({"text": ["a", "b"], 7: [1.5, None], "when": moments})
    arrived = round_trip(sent)
    assert list(arrived.columns) == ["text", "7", "when"]
    assert arrived["text"] == ["a", "b"]
    assert plain(arrived["7"]) == plain([1.5, math.nan])
    assert arrived["when"] == [datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]
    with pytest.raises(CodecError, match="two columns of one name"):
        codec.encode("result", pandas.DataFrame([[1, 2]], columns=["1", 1]))


# -- what cannot travel ----------------------------------------------------------------------------------------------


class Custom:
    def __repr__(self) -> str:
        return SECRET


def loop() -> list[Any]:
    value: list[Any] = [SECRET]
    value.append(value)
    return value


def table_of_itself() -> Table:
    column: list[Any] = [SECRET]
    table = Table({"a": column})
    column[0] = table
    return table


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({SECRET}, id="set"),
        pytest.param(Custom(), id="object"),
        pytest.param(Custom, id="class"),
        pytest.param(lambda: SECRET, id="function"),
        pytest.param(Decimal("31337.5"), id="decimal"),
        pytest.param(uuid.UUID(int=31337), id="uuid"),
        pytest.param(complex(31337, 1), id="complex"),
        pytest.param(date(2024, 1, 1), id="date"),
        pytest.param(datetime(2024, 1, 1), id="time without a zone"),
        pytest.param(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), id="time before year 1 in UTC"),
        pytest.param(
            datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))), id="time after year 9999 in UTC"
        ),
        pytest.param(2**64, id="integer over 64 bits"),
        pytest.param(-(2**63) - 1, id="integer under 64 bits"),
        pytest.param(SECRET + "\ud800", id="lone surrogate"),
        pytest.param({31337: SECRET}, id="int key"),
        pytest.param({SECRET.encode(): 1}, id="bytes key"),
        pytest.param({None: SECRET}, id="None key"),
        pytest.param(Table({7: [SECRET]}), id="table with an int for a name"),  # type: ignore[dict-item]
        pytest.param(Table({"a": [{SECRET}]}), id="set in a table"),
        pytest.param(loop(), id="list in itself"),
        pytest.param(table_of_itself(), id="table in itself"),
        pytest.param(np.array([SECRET]), id="array of str"),
        pytest.param(np.array([Custom()]), id="array of objects"),
        pytest.param(np.zeros(2, dtype=[("s3cret", "i4")]), id="structured array"),
        pytest.param(np.array([1j]), id="array of complex"),
        pytest.param(np.array(["2024-01-01"], "datetime64[ns]"), id="array of times"),
        pytest.param(np.zeros((1,) * 33), id="33-dimensional array"),
        pytest.param(np.datetime64("2024-01-01T00:00:00", "ns"), id="numpy time"),
        pytest.param(np.timedelta64(31337, "ns"), id="numpy duration"),
        pytest.param(np.void(b"s3cret"), id="numpy void"),
        pytest.param(np.complex64(31337), id="numpy complex"),
        pytest.param(np.ma.masked_array([31337], [True]), id="masked array"),
        pytest.param(np.dtype("int8"), id="element type"),
        pytest.param(np.add, id="numpy function"),
        pytest.param(np.random.default_rng(), id="generator"),
    ],
)
def test_what_cannot_travel_is_refused_without_quoting_it(value: Any) -> None:
    """Whatever cannot travel, at any depth, ends in a CodecError whose message has no part of the value."""
    for body in (value, [value], {"a": [value]}):
        with pytest.raises(CodecError) as caught:
            codec.encode("result", body)
        assert not re.search("s3cret|31337|2024", str(caught.value) + repr(caught.value.details))


wild = st.recursive(
    scalars
    | st.integers()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from([set(), object(), Decimal(1), np.float16(1), np.array("x"), np.dtype("u4"), np.uint8])
    | st.datetimes()
    | st.datetimes(timezones=zones()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=2) | st.integers() | st.binary(max_size=2), inner, max_size=3)
        | tables(inner)
    ),
    max_leaves=8,
)


@modest
@given(wild)
def test_what_encode_accepts_decode_accepts(value: Any) -> None:
    """Any value is either refused by encode, with a CodecError, or comes back from decode."""
    try:
        data = codec.encode("result", value)
    except CodecError:
        return
    codec.decode("result", data)


@pytest.mark.parametrize("shape", [(2**62, 0), (2**63 - 1, 0), (2**31, 2**31, 0), (0, 2**63 - 1)])
def test_the_largest_shapes_of_an_empty_array_travel(shape: tuple[int, ...]) -> None:
    """An array without bytes may name sizes up to what numpy can hold, and arrives with them."""
    assert round_trip(NDArray("int8", shape, b"")).shape == shape


@pytest.mark.parametrize("shape", [(2**63, 0), (2**40, 2**40, 0), (2**64, 0), (1,) * 33, (-1,), (True,), (1.0,)])
def test_a_shape_that_no_array_has_makes_no_ndarray(shape: tuple[Any, ...]) -> None:
    """Sizes that numpy could not hold, negative, or no integers are a ValueError when an NDArray is made."""
    with pytest.raises(ValueError, match=r"shape|dimensions"):
        NDArray("int8", shape, b"x" if shape == (1,) * 33 else b"")


# -- frames that are none --------------------------------------------------------------------------------------------

NDARRAY_BODY = b"\x93\xa4int8\x91\x02\xc4\x02ab"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "truncated", id="nothing"),
        pytest.param(b"\xc0", "not a warmlane frame", id="None"),
        pytest.param(b"\x92\x01\xa6result", "not a warmlane frame", id="two elements"),
        pytest.param(b"\x94\x01\xa6result\xc0\xc0", "not a warmlane frame", id="four elements"),
        pytest.param(frame(b"\xc0", version=b"\xc3"), "not a warmlane frame", id="version True"),
        pytest.param(frame(b"\xc0", version=b"\xcb" + bytes(8)), "not a warmlane frame", id="version 0.0"),
        pytest.param(b"\x93\x01\xc4\x06result\xc0", "not a warmlane frame", id="kind of bytes"),
        pytest.param(frame(b"\xc0", version=b"\x02"), "wire version 2.*upgrade", id="version 2"),
        pytest.param(frame(b"\xc0", version=b"\x00"), "wire version 0", id="version 0"),
        pytest.param(frame(b"\xc0", kind=b"s3cret"), "expected a frame of kind 'result'", id="another kind"),
        pytest.param(frame(b"\xc0") + b"\xc0", "bytes after the end", id="trailing byte"),
        pytest.param(frame(b"\xc0") * 2, "bytes after the end", id="two frames"),
        pytest.param(frame(b"\xc1"), "a byte that msgpack does not use", id="0xc1"),
        pytest.param(frame(b"\x92\xc0\xc1"), "a byte that msgpack does not use", id="0xc1 inside"),
        pytest.param(frame(b"\x81\xc4\x01a\xc0"), "key that is not a str", id="bytes key"),
        pytest.param(frame(b"\x81\x07\xc0"), "key that is not a str", id="int key"),
        pytest.param(frame(b"\x81\x90\xc0"), "key that is not a str", id="list key"),
        pytest.param(frame(b"\x82\xa1a\xc0\xa1a\xc3"), "a key twice", id="a key twice"),
        pytest.param(frame(b"\x82\xa1a\xc0\xd9\x01a\xc3"), "a key twice", id="a key twice, spelled otherwise"),
        pytest.param(frame(b"\xa2\xff\xfe"), "malformed", id="not UTF-8"),
        pytest.param(frame(b"\xa3\xed\xa0\x80"), "malformed", id="surrogate in UTF-8"),
        pytest.param(frame(b"\xa9s3cret"), "truncated", id="short str"),
        pytest.param(frame(b"\xcb\x00"), "truncated", id="short float"),
        pytest.param(frame(b"\xda\x00"), "truncated", id="short length"),
        pytest.param(frame(ext(5, b"s3cret")), "unknown extension type 5", id="extension 5"),
        pytest.param(frame(ext(-2, b"s3cret")), "unknown extension type -2", id="extension -2"),
        pytest.param(frame(b"\xd4\x00s"), "unknown extension type 0", id="fixed extension 0"),
        pytest.param(frame(b"\xc7\x05"), "truncated", id="extension without a type"),
        pytest.param(frame(b"\xd8\x01s3cret"), "truncated", id="short extension"),
        pytest.param(frame(b"\xd4\xff\x00"), "malformed time", id="time of 1 byte"),
        pytest.param(frame(ext(-1, b"")), "malformed time", id="time of no bytes"),
        pytest.param(frame(b"\xd8\xff" + bytes(16)), "malformed time", id="time of 16 bytes"),
        pytest.param(frame(ext(-1, bytes(4) + b"\x7f" + b"\xff" * 7)), "outside the years", id="time of another age"),
        pytest.param(frame(b"\xd7\xff" + b"\xff" * 8), "outside the years", id="over 999999999 nanoseconds"),
        pytest.param(frame(ext(1, b"\xc0")), "malformed array or table", id="array of nothing"),
        pytest.param(frame(ext(1, b"")), "truncated", id="array of no bytes"),
        pytest.param(frame(ext(1, NDARRAY_BODY + b"\xc0")), "bytes after the end", id="array with a trailing byte"),
        pytest.param(frame(ext(1, NDARRAY_BODY.replace(b"\x91\x02", b"\x91\x03"))), "disagree", id="array too short"),
        pytest.param(frame(ext(1, NDARRAY_BODY.replace(b"\x91\x02", b"\x91\xff"))), "negative", id="array of size -1"),
        pytest.param(
            frame(ext(1, NDARRAY_BODY.replace(b"\x91\x02", b"\x91\xc3"))), "integers", id="array of size True"
        ),
        pytest.param(frame(ext(1, NDARRAY_BODY.replace(b"int8", b"void"))), "element type", id="array of void"),
        pytest.param(frame(ext(1, ext(1, NDARRAY_BODY))), "malformed array or table", id="array of an array"),
        pytest.param(frame(ext(2, b"\x90")), "malformed array or table", id="table of a list"),
        pytest.param(frame(ext(2, b"\x81\xa1a\xa1b")), "malformed array or table", id="table with a str for a column"),
        pytest.param(frame(ext(2, b"\x82\xa1a\x90\xa1b\x91\xc0")), "one length", id="table of uneven columns"),
        pytest.param(frame(ext(2, b"\x82\xa1a\x90\xa1a\x90")), "a key twice", id="table with a column twice"),
        pytest.param("text", "a frame is bytes", id="str"),
        pytest.param(None, "a frame is bytes", id="no value"),
    ],
)
def test_what_is_no_frame_is_refused_without_quoting_it(data: Any, says: str) -> None:
    """Malformed, truncated, foreign and newer frames are a CodecError that says what is wrong and quotes nothing."""
    with pytest.raises(CodecError, match=says) as caught:
        codec.decode("result", data)
    assert "s3cret" not in str(caught.value)


def test_every_cut_of_a_frame_is_refused() -> None:
    """A frame that lost any number of bytes at its end is a CodecError."""
    data = codec.encode(
        "result", {"a": [1, 2.5, "x" * 40, b"y"], "t": Table({"c": [datetime(2024, 1, 1, tzinfo=UTC)]})}
    )
    for size in range(len(data)):
        with pytest.raises(CodecError):
            codec.decode("result", data[:size])


@modest
@given(st.binary(max_size=200) | st.binary(max_size=200).map(frame))
@example(frame(ext(1, b"\x93\xa4int8\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc4\x00")))
@example(frame(ext(1, b"\x93\xa4int8\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x00\xc4\x00")))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    """For any bytes, decode returns a value or raises a CodecError, and nothing else."""
    with contextlib.suppress(CodecError):
        codec.decode("result", data)


# -- limits ----------------------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("limits", "fits", "too_much", "says"),
    [
        pytest.param(Limits(max_bytes=100), "x" * 89, "x" * 90, "the limit is 100", id="bytes"),
        pytest.param(Limits(max_depth=5), nested(4), nested(5), "deeper than 5", id="depth"),
        pytest.param(
            Limits(max_depth=5), {"a": {"a": [[1]]}}, {"a": {"a": [[[]]]}}, "deeper than 5", id="depth of maps"
        ),
        pytest.param(
            Limits(max_depth=4), Table({"a": []}), Table({"a": [[]]}), "deeper than 4", id="depth inside a table"
        ),
        pytest.param(Limits(max_elements=10), [1] * 6, [1] * 7, "more than 10 elements", id="elements"),
        pytest.param(
            Limits(max_elements=10), {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": [0]}, "elements", id="keys"
        ),
        pytest.param(
            Limits(max_elements=10), Table({"a": [1, 2, 3]}), Table({"a": [1, 2, 3, 4]}), "elements", id="cells"
        ),
        pytest.param(
            Limits(max_nested=2),
            Table({"a": [Table({})]}),
            Table({"a": [Table({"b": [Table({})]})]}),
            "tables nested deeper than 2",
            id="tables in tables",
        ),
    ],
)
def test_limits_hold_in_both_directions(limits: Limits, fits: Any, too_much: Any, says: str) -> None:
    """A value at a limit passes encode and decode; one more is refused by encode, and by decode if another sent it."""
    assert plain(codec.decode("result", codec.encode("result", fits, limits), limits)) == plain(fits)
    with pytest.raises(CodecError, match=says):
        codec.encode("result", too_much, limits)
    with pytest.raises(CodecError, match=says):
        codec.decode("result", codec.encode("result", too_much), limits)


def test_a_refusal_tells_which_limit_was_passed() -> None:
    """A frame over the limit of bytes or of elements carries that limit's name in its details."""
    for limits, name in ((Limits(max_bytes=10), "bytes"), (Limits(max_elements=2), "elements")):
        with pytest.raises(CodecError) as caught:
            codec.encode("result", [1] * 20, limits)
        assert caught.value.details == {"limit": name}


def peak_of_decoding(data: bytes) -> int:
    """The most memory that decoding took beyond the frame itself, whether it succeeded or not."""
    codec._has_numpy()  # the first look-up of a package reads directories
    tracemalloc.start()
    try:
        codec.decode("result", data)
    except CodecError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def chain(code: int, links: int, around: bytes, core: bytes) -> bytes:
    for _ in range(links):
        core = ext(code, around + core)
    return core


MEGABYTE = 1_000_000
HOSTILE = {
    "an array of 2**32-1": array32(2**32 - 1),
    "a map of 2**32-1": map32(2**32 - 1),
    "arrays of 2**32-1 in each other": array32(2**32 - 1) * 30,
    "arrays that each promise what is left": b"".join(array32(20_000 - 5 * i) for i in range(30)) + bytes(20_000),
    "bytes of 2**32-1": b"\xc6\xff\xff\xff\xff",
    "a str of 2**32-1": b"\xdb\xff\xff\xff\xff",
    "an extension of 2**32-1": b"\xc9\xff\xff\xff\xff\x01",
    "4 MB of empty arrays": array32(4 * MEGABYTE) + b"\x90" * (4 * MEGABYTE),
    "4 MB of nested arrays": b"\x91" * (4 * MEGABYTE) + b"\xc0",
    "arrays in arrays": chain(1, 30, b"", bin32(bytes(MEGABYTE))),
    "tables in tables": chain(2, 9, b"\x81\xa1a\x91", bin32(bytes(MEGABYTE))),
    "four tables in each other": chain(2, 4, b"\x81\xa1a\x91", bin32(bytes(MEGABYTE))),
    "an array of 2**62 elements": ext(1, b"\x93\xa4int8\x91\xcf\x40" + bytes(7) + b"\xc4\x00"),
    "an array of no elements in 2**40 rows": ext(1, b"\x93\xa4int8\x92\xcf\x00\x00\x01" + bytes(6) + b"\xc4\x00"),
    "an array of 20,000 dimensions": ext(1, b"\x93\xa4int8" + array32(20_000) + bytes(20_000) + b"\xc4\x00"),
    "1 MB of text": b"\xdb" + MEGABYTE.to_bytes(4, "big") + b"x" * MEGABYTE,
    "1 MB of an array": ext(1, b"\x93\xa4int8\x91\xce" + MEGABYTE.to_bytes(4, "big") + bin32(bytes(MEGABYTE))),
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in HOSTILE.items()])
def test_a_hostile_frame_costs_no_more_than_a_small_multiple_of_itself(body: bytes) -> None:
    """However large the sizes that a frame claims, decoding it allocates at most ten times its own bytes."""
    data = frame(body)
    assert peak_of_decoding(data) < 10 * len(data) + 32 * 1024


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        pytest.param(b"\x90", 1, id="empty lists"),
        pytest.param(b"\x80", 1, id="empty maps"),
        pytest.param(b"\x81\xa0\x90", 3, id="maps of one"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x01", 1, id="times"),
        pytest.param(ext(2, b"\x80"), 2, id="empty tables"),
        pytest.param(ext(1, b"\x93\xa4int8\x90\xc4\x01a"), 5, id="tiny arrays"),
    ],
)
def test_a_frame_within_the_limits_decodes_into_bounded_memory(value: bytes, elements: int) -> None:
    """The dearest values that the limits let through cost about 100 bytes an element, and a few times their data."""
    count = 2_000
    data = frame(array32(count) + value * count)
    assert peak_of_decoding(data) < 120 * count * elements + 4 * len(data) + 32 * 1024
