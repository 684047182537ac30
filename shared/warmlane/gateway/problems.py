"""What went wrong, as RFC 9457 problem documents. The one place where errors become HTTP statuses.

A caller reads what it can mend. What it cannot (5xx) is told in general words and logged here, because those messages
name hosts and settings. No document quotes a payload or carries a traceback.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from warmlane.errors import (
    BlobMissing,
    BlobStoreUnavailable,
    CodecError,
    IdempotencyConflict,
    InvalidInput,
    JobNotFound,
    ModelNotFound,
    PayloadTooLarge,
    QueueFull,
    ResultExpired,
    ServerUnreachable,
    WarmlaneError,
)
from warmlane.gateway.encoding import to_json

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"

#: Error class -> HTTP status; a class that is not listed has its nearest ancestor's, and 500 without one.
STATUS: Mapping[type[WarmlaneError], int] = {
    InvalidInput: 422,
    PayloadTooLarge: 413,
    CodecError: 400,
    ModelNotFound: 404,
    JobNotFound: 404,
    ResultExpired: 410,
    IdempotencyConflict: 409,
    QueueFull: 429,
    ServerUnreachable: 503,
    BlobMissing: 410,
    BlobStoreUnavailable: 503,
}

#: The codes of refusals that are HTTP's own, beside those of `warmlane.errors`.
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 406: "not_acceptable", 415: "unsupported_media_type"}
#: What a caller reads of an error that it cannot mend.
_GENERAL = {
    500: "the gateway failed; its log tells why",
    503: "the job store or the blob store does not answer; try again",
}
#: When a caller should try again after a 429 or a 503, in seconds.
RETRY_AFTER_S = 5
#: Messages may name a field, and a caller chooses the names of its fields: no longer than this, in characters.
MAX_TEXT = 500


def status_of(error: WarmlaneError) -> int:
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def problem(
    status: int,
    code: str,
    detail: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document; always JSON, whatever the caller accepts."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": _short(detail),
        "details": {key: _short(value) for key, value in (details or {}).items()},
    }
    return Response(json.dumps(to_json(body)), status, headers, PROBLEM)


async def on_warmlane_error(request: Request, error: Exception) -> Response:
    """One of our errors: what speaks against the request, or a store that does not answer."""
    assert isinstance(error, WarmlaneError)
    status = status_of(error)
    if status < 500:
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else None
        return problem(status, error.code, error.message, error.details, headers)
    logger.error("%s: %s", error.code, error.message, extra={"action": "gateway_error", "code": error.code})
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return problem(status, error.code, _GENERAL[status], headers=headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """A refusal that is HTTP's own: no such path or method, 406, 415."""
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, error.detail, headers=error.headers)


async def on_bug(request: Request, error: Exception) -> Response:
    """Anything else. Starlette raises it again behind this answer, so that the server logs the traceback."""
    return problem(500, "internal_error", _GENERAL[500])


async def on_disconnect(request: Request, error: Exception) -> Response:
    """The caller left in the middle of its body: nobody reads this."""
    return Response(status_code=400)


def _short(value: Any) -> Any:
    return value[:MAX_TEXT] + "…" if isinstance(value, str) and len(value) > MAX_TEXT else value


HANDLERS: Mapping[Any, Any] = {
    WarmlaneError: on_warmlane_error,
    HTTPException: on_http_error,
    ClientDisconnect: on_disconnect,
    Exception: on_bug,
}
