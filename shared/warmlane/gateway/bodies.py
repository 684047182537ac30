"""Bodies: bytes of a request to a job, and an answer to bytes. Refuses what is too large before it is in memory.

A request is an object `{"kind": "predict", ...}` with the fields of that kind's job, as JSON or as a msgpack frame of
kind "request"; an answer is JSON or a frame of kind "response" with the same object in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from warmlane import codec, jobs
from warmlane.codec import LIMITS, Limits
from warmlane.errors import CodecError, InvalidInput, PayloadTooLarge
from warmlane.gateway.encoding import from_json, to_json
from warmlane.gateway.negotiation import JSON
from warmlane.jobs import Job, JobOptions

#: An answer is a job's record around a result: any result that could be written can also be handed out.
ANSWER_LIMITS = Limits(LIMITS.max_bytes + 64 * 1024, LIMITS.max_depth + 1, LIMITS.max_elements + 10_000)
#: The fields in which JSON may stand for tables, arrays and bytes; elsewhere an object is an object.
_PAYLOAD = ("inputs", "params")
_OPTIONS = frozenset(JobOptions.__annotations__)
#: A JSON string, or what is left of one at the end. Possessive, so that hostile text costs one pass.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


async def read_limited(chunks: AsyncIterator[bytes], announced: str | None, limit: int = LIMITS.max_bytes) -> bytes:
    """A body of at most `limit` bytes.

    Args:
        announced: the Content-Length header; refused by it before anything is read.

    Raises:
        PayloadTooLarge: the body is larger.
    """
    if announced is not None and announced.isdecimal() and int(announced[:20]) > limit:
        _too_large(limit)
    body = bytearray()
    async for chunk in chunks:
        if len(body) + len(chunk) > limit:
            _too_large(limit)
        body += chunk
    return bytes(body)


def _too_large(limit: int) -> NoReturn:
    raise PayloadTooLarge(f"the body is larger than {limit} bytes; send fewer rows in a job", limit=limit)


def read_job(media: str, body: bytes) -> tuple[Job, JobOptions]:
    """The job that a body asks for, and the options that stand between its fields.

    Raises:
        CodecError: not JSON, not a frame, or past a limit of the codec.
        InvalidInput: well-formed, but no job.
    """
    request = _read_json(body) if media == JSON else codec.decode("request", body)
    if not isinstance(request, dict) or not isinstance(request.get("kind"), str):
        raise InvalidInput(
            f"a job is an object with a `kind`, one of {', '.join(jobs.KINDS)}, and the fields of that kind",
            field="kind",
        )
    fields = {name: value for name, value in request.items() if name != "kind" and name not in _OPTIONS}
    options: Any = {name: value for name, value in request.items() if name in _OPTIONS}
    if media == JSON:
        fields |= {name: from_json(fields[name], name) for name in _PAYLOAD if name in fields}
    return jobs.make(request["kind"], fields), options


def write(media: str, answer: dict[str, Any]) -> bytes:
    """An answer as bytes."""
    if media == JSON:
        return json.dumps(to_json(answer), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return codec.encode("response", answer, ANSWER_LIMITS)


def _read_json(body: bytes) -> Any:
    _check_elements(body)
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise CodecError(f"malformed JSON ({type(exc).__name__})") from None
    _check_values(value, depth=1)
    return value


def _check_elements(body: bytes) -> None:
    """Refuse more elements than a frame may have before building them: three bytes can cost sixty."""
    if _elements(body) > LIMITS.max_elements and _elements(_STRING.sub(b"", body)) > LIMITS.max_elements:
        raise CodecError(f"more than {LIMITS.max_elements} elements in a body")


def _elements(text: bytes) -> int:
    """No fewer than the text has: each container begins with a bracket, each element but the first with a comma."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") + 1


def _check_values(value: Any, depth: int) -> None:
    """What JSON allows and a frame does not, so that it is refused here and not in the middle of enqueuing."""
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
    elif isinstance(value, list | dict):
        if depth >= LIMITS.max_depth:
            raise CodecError(f"nested deeper than {LIMITS.max_depth}")
        if isinstance(value, dict):
            _check_values(list(value), depth)
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item, depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CodecError("a string with half a surrogate pair") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise CodecError("an object with a key twice")
    return value
