"""Which form a caller sends, wants, and how long it would wait: headers only, no bodies.

`Accept` and `Content-Type` (RFC 9110) choose between JSON and msgpack; `Prefer: wait=N` (RFC 7240) asks for a long
poll. What cannot be honoured is refused before anything is enqueued.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.exceptions import HTTPException

JSON = "application/json"
MSGPACK = "application/msgpack"

#: What an answer can be, best first: the first wins where a caller likes several equally.
OFFERED = (JSON, MSGPACK)
#: The longest that one request waits for a job, in seconds. Proxies tend to cut at 60.
MAX_WAIT_S = 60

_ALIASES = {"application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK}
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_WAIT = re.compile(r"wait\s*=\s*(?P<quote>\"?)(?P<seconds>[0-9]{1,9})(?P=quote)\s*(;.*)?", re.IGNORECASE)


def answer_type(accept: str) -> str:
    """The media type to answer in; JSON for callers without a preference.

    Raises:
        HTTPException: 406, the header rules out both.
    """
    ranges = dict(_ranges(accept)) or {"*/*": 1.0}
    best = max(OFFERED, key=lambda media: _quality(media, ranges))
    if not _quality(best, ranges):
        raise HTTPException(406, detail=f"answers are {' or '.join(OFFERED)}; accept one of them")
    return best


def body_type(headers: Mapping[str, str]) -> str:
    """The media type of a request's body.

    Raises:
        HTTPException: 415, neither JSON nor msgpack, or compressed.
    """
    media = _bare(headers.get("content-type", ""))
    if media not in OFFERED:
        raise HTTPException(415, detail=f"send the job with Content-Type {' or '.join(OFFERED)}")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, detail="send the body as it is, without Content-Encoding")
    return media


def wait_seconds(prefer: Iterable[str]) -> int | None:
    """How long the caller would wait, at most `MAX_WAIT_S`; None where it does not say, or says it unreadably."""
    for preference in ",".join(prefer).split(","):
        match = _WAIT.fullmatch(preference.strip())
        if match is not None:  # the first of several counts
            return min(int(match["seconds"]), MAX_WAIT_S)
    return None


def _bare(media: str) -> str:
    """Without parameters, in lower case, under its usual name."""
    name = media.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def _ranges(accept: str) -> Iterable[tuple[str, float]]:
    for entry in accept.split(","):
        media, *parameters = entry.split(";")
        weight = "1"
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                weight = value.strip()
        if media.strip() and _QUALITY.fullmatch(weight):
            yield _bare(media), float(weight)


def _quality(media: str, ranges: Mapping[str, float]) -> float:
    """How much a caller wants a media type: the most specific range that covers it decides."""
    for covering in (media, media.partition("/")[0] + "/*", "*/*"):
        if covering in ranges:
            return ranges[covering]
    return 0.0
