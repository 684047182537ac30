"""The wire format: msgpack with a version tag. The only file that imports msgpack, and the place where its limits live.

A frame is the msgpack array `[WIRE_VERSION, kind, body]`. A body holds None, bool, 64-bit int, float, str, bytes, list,
dict with str keys, and three extensions: -1 a point in time (UTC, as msgpack defines it), 1 an ndarray, 2 a table.

Every frame, incoming and outgoing, is first walked without building anything: depth, number of elements, key types,
extension codes and lengths are checked on the bytes, so that a hostile frame costs no memory. Whatever is wrong ends
in one `CodecError`, whose message never quotes the data.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgpack

from warmlane.errors import CodecError
from warmlane.results import DTYPES, MAX_DIMENSIONS, NDArray, Table, is_dataframe

WIRE_VERSION = 1

EXT_TIME = -1
EXT_NDARRAY = 1
EXT_TABLE = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a frame may cost. One that keeps them decodes into about 100 bytes an element, and its data."""

    max_bytes: int = 16 * 1024 * 1024  #: of the whole frame
    max_depth: int = 32  #: containers inside containers; the frame itself counts as one
    max_elements: int = 1_000_000  #: values and keys, at all depths together
    max_nested: int = 4  #: tables and arrays inside tables; each is copied once for each table around it


LIMITS = Limits()


def encode(kind: str, body: Any, limits: Limits = LIMITS) -> bytes:
    """Pack a body into a frame.

    Raises:
        CodecError: a value of a type that cannot travel, or a limit passed.
    """
    try:
        data: bytes = msgpack.packb([WIRE_VERSION, kind, body], default=_pack_other, datetime=True)
    except CodecError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise CodecError(_explain_unpackable(exc)) from exc
    _Walk(data, limits).frame()
    return data


def decode(kind: str, data: bytes, limits: Limits = LIMITS) -> Any:
    """The body of a frame of the given kind.

    Raises:
        CodecError: not a frame, of another kind or version, malformed, truncated, or past a limit.
    """
    _Walk(data, limits).frame()
    try:
        frame = msgpack.unpackb(
            data, strict_map_key=True, timestamp=3, ext_hook=_unpack_ext, object_pairs_hook=_unpack_map
        )
    except CodecError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise CodecError(f"malformed frame ({type(exc).__name__})") from exc
    if not isinstance(frame, list) or len(frame) != 3 or type(frame[0]) is not int or not isinstance(frame[1], str):
        raise CodecError("not a warmlane frame; is another program writing to these keys?")
    if frame[0] != WIRE_VERSION:
        raise CodecError(
            f"frame of wire version {frame[0]}, this warmlane speaks {WIRE_VERSION}: upgrade the older side"
        )
    if frame[1] != kind:
        raise CodecError(f"expected a frame of kind {kind!r}")
    return frame[2]


def _explain_unpackable(exc: Exception) -> str:
    if isinstance(exc, UnicodeEncodeError):
        return "a str with lone surrogates cannot travel; send bytes"
    return "a value nested too deeply, or of a type that cannot travel"


def _pack_other(value: Any) -> Any:
    """What msgpack itself cannot pack. numpy and pandas are recognised by name, never imported for it."""
    if isinstance(value, Table):
        columns = {name: list(column) for name, column in value.columns.items()}
        return msgpack.ExtType(EXT_TABLE, msgpack.packb(columns, default=_pack_other, datetime=True))
    if isinstance(value, NDArray):
        return msgpack.ExtType(EXT_NDARRAY, msgpack.packb([value.dtype, list(value.shape), value.data]))
    if isinstance(value, datetime):
        if value.tzinfo is not None:  # a subclass, such as pandas' Timestamp
            return datetime.combine(value.date(), value.timetz())
        raise CodecError("a datetime without a time zone cannot travel; give it one, e.g. datetime.now(timezone.utc)")
    if isinstance(value, int):
        raise CodecError("an integer beyond 64 bits cannot travel; send it as str or float")
    origin, name = type(value).__module__, type(value).__name__
    if origin == "numpy" and name == "ndarray":
        return _pack_other(_from_numpy(value))
    if origin == "numpy" and getattr(getattr(value, "dtype", None), "name", None) in DTYPES and value.shape == ():
        return value.item()
    if is_dataframe(value):
        return _pack_other(_from_pandas(value))
    raise CodecError(f"a value of type {name} cannot travel; send str, numbers, lists, dicts or arrays")


def _from_numpy(array: Any) -> NDArray:
    if array.dtype.name not in DTYPES:  # before its elements are touched: they may be objects
        raise CodecError(f"an array of element type {array.dtype.name} cannot travel; use one of {', '.join(DTYPES)}")
    try:
        return NDArray(array.dtype.name, array.shape, array.astype(array.dtype.newbyteorder("<"), order="C").tobytes())
    except ValueError as exc:
        raise CodecError(f"an array that cannot travel: {exc}") from exc


def _from_pandas(frame: Any) -> Table:
    try:
        return Table.from_pandas(frame)
    except ValueError as exc:
        raise CodecError(f"cannot travel: {exc}") from exc


def _unpack_ext(code: int, data: bytes) -> Any:
    body = msgpack.unpackb(data, strict_map_key=True, timestamp=3, ext_hook=_unpack_ext, object_pairs_hook=_unpack_map)
    try:
        if code == EXT_TABLE and isinstance(body, dict) and all(isinstance(column, list) for column in body.values()):
            return Table(body)
        if code == EXT_NDARRAY and isinstance(body, list) and len(body) == 3 and isinstance(body[1], list):
            dtype, shape, raw = body
            if isinstance(dtype, str) and isinstance(raw, bytes) and len(shape) <= MAX_DIMENSIONS:
                array = NDArray(dtype, tuple(shape), raw)
                return array.to_numpy() if _has_numpy() else array
    except ValueError as exc:
        raise CodecError(f"malformed array or table: {exc}") from exc
    raise CodecError("malformed array or table")


@functools.cache
def _has_numpy() -> bool:
    return importlib.util.find_spec("numpy") is not None


def _unpack_map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CodecError("a map with a key twice")
    return result


#: First byte -> (bytes of length that follow it, bytes of payload that come with it).
_FIXED = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXT_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_EXT_SIZED = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_CONTAINER = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_MAPS = (0xDE, 0xDF)
_STRINGS = frozenset(range(0xA0, 0xC0)) | {0xD9, 0xDA, 0xDB}
#: The points in time that a datetime can hold, in seconds since the epoch.
_TIMES = range(-62_135_596_800, 253_402_300_800)


class _Walk:
    """One pass over a frame's bytes that builds nothing and refuses everything that `decode` would not take."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        if not isinstance(data, bytes):
            raise CodecError("a frame is bytes")
        if len(data) > limits.max_bytes:
            raise CodecError(f"frame of {len(data)} bytes, the limit is {limits.max_bytes}", limit="bytes")
        self.data = data
        self.limits = limits
        self.elements = 0
        self.nested = 0

    def frame(self) -> None:
        self.value(0, len(self.data), depth=0)

    def value(self, at: int, end: int, depth: int) -> None:
        """Walk exactly one value that fills `data[at:end]`."""
        data, max_elements, max_depth = self.data, self.limits.max_elements, self.limits.max_depth
        # One entry for each open container: [values still to come, whether they are keys and values by turns].
        left: list[int] = [1]
        is_map: list[bool] = [False]
        while left:
            if not left[-1]:
                left.pop()
                is_map.pop()
                continue
            if at >= end:
                raise CodecError("truncated frame")
            first = data[at]
            at += 1
            if is_map[-1] and left[-1] % 2 == 0 and first not in _STRINGS:
                raise CodecError("a map key that is not a str")
            left[-1] -= 1
            self.elements += 1
            if self.elements > max_elements:
                raise CodecError(f"more than {max_elements} elements in a frame", limit="elements")
            if first <= 0x7F or first >= 0xE0:  # a small integer
                continue
            if first in _FIXED:
                at += _FIXED[first]
            elif 0xA0 <= first <= 0xBF:  # a short str
                at += first & 0x1F
            elif first in _SIZED:
                at, length = self._length(at, _SIZED[first], end)
                at += length
            elif first <= 0x9F or first in _CONTAINER:
                if first <= 0x9F:
                    count, mapping = first & 0x0F, first <= 0x8F
                else:
                    at, count = self._length(at, _CONTAINER[first], end)
                    mapping = first in _MAPS
                count *= 2 if mapping else 1
                if count > end - at:  # each element takes a byte at least
                    raise CodecError("truncated frame")
                if count > max_elements - self.elements:  # no need to walk up to the first that is too many
                    raise CodecError(f"more than {max_elements} elements in a frame", limit="elements")
                left.append(count)
                is_map.append(mapping)
                if depth + len(left) - 1 > max_depth:
                    raise CodecError(f"nested deeper than {max_depth}")
            else:
                at = self._ext(first, at, end, depth + len(left))
            if at > end:
                raise CodecError("truncated frame")
        if at != end:
            raise CodecError("bytes after the end of a frame")

    def _length(self, at: int, width: int, end: int) -> tuple[int, int]:
        if at + width > end:
            raise CodecError("truncated frame")
        return at + width, int.from_bytes(self.data[at : at + width], "big")

    def _ext(self, first: int, at: int, end: int, depth: int) -> int:
        if first in _EXT_FIXED:
            length = _EXT_FIXED[first]
        elif first in _EXT_SIZED:
            at, length = self._length(at, _EXT_SIZED[first], end)
        else:
            raise CodecError("a byte that msgpack does not use")
        if at + 1 + length > end:
            raise CodecError("truncated frame")
        code = int.from_bytes(self.data[at : at + 1], "big", signed=True)
        at += 1
        if code == EXT_TIME:
            self._time(self.data[at : at + length])
        elif code in (EXT_NDARRAY, EXT_TABLE):
            if depth > self.limits.max_depth:
                raise CodecError(f"nested deeper than {self.limits.max_depth}")
            if self.nested == self.limits.max_nested:
                raise CodecError(f"tables nested deeper than {self.limits.max_nested}")
            self.nested += 1
            self.value(at, at + length, depth)
            self.nested -= 1
        else:
            raise CodecError(f"unknown extension type {code}")
        return at + length

    def _time(self, raw: bytes) -> None:
        """Three layouts: seconds; nanoseconds above 34 bits of seconds; nanoseconds and 64 bits of seconds."""
        nanoseconds = 0
        if len(raw) == 4:
            seconds = int.from_bytes(raw, "big")
        elif len(raw) == 8:
            nanoseconds, seconds = divmod(int.from_bytes(raw, "big"), 1 << 34)
        elif len(raw) == 12:
            nanoseconds, seconds = struct.unpack(">Iq", raw)
        else:
            raise CodecError("malformed time")
        if seconds not in _TIMES or nanoseconds >= 1_000_000_000:
            raise CodecError("a time outside the years 1 to 9999 in UTC")
