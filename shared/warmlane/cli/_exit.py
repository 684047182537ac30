"""Exit codes, and the one line that says what went wrong. The table in `HELP` is what scripts may rely on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from warmlane.errors import (
    CodecError,
    ConfigurationError,
    InvalidInput,
    JobCancelled,
    JobExpired,
    JobNotFound,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    ServerUnreachable,
    WarmlaneError,
)

HELP = """\
exit codes:
  0    done
  1    the job failed; of many rows, some failed
  2    wrong usage, wrong input, a setting is wrong or an extra is missing
  3    not found: no such model or job, or its result has expired
  4    not done within --timeout; the job goes on
  5    the server does not answer
  6    the job was cancelled, or its deadline passed
  130  Ctrl-C; jobs that were enqueued go on

Errors are one line on stderr, `warmlane: <code>: <message>`; with --json that line is the error as a JSON object.
WARMLANE_DEBUG=1 adds the traceback.
"""


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    UNREACHABLE = 5
    ENDED = 6
    INTERRUPTED = 130


_CODES: Sequence[tuple[type[WarmlaneError], Exit]] = (
    (ResultTimeout, Exit.TIMEOUT),
    (ServerUnreachable, Exit.UNREACHABLE),
    (ModelNotFound, Exit.NOT_FOUND),
    (JobNotFound, Exit.NOT_FOUND),
    (ResultExpired, Exit.NOT_FOUND),
    (JobCancelled, Exit.ENDED),
    (JobExpired, Exit.ENDED),
    (InvalidInput, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (CodecError, Exit.USAGE),
)


def code_of(error: WarmlaneError) -> Exit:
    """The exit code of an error; FAILED for what the table does not name."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def complain(code: str, message: str, details: Mapping[str, Any], *, as_json: bool) -> None:
    """The one line on stderr."""
    message = " ".join(message.split())
    if as_json:
        line = json.dumps({"code": code, "message": message, "details": dict(details)}, default=str)
    else:
        line = f"warmlane: {code}: {message}"
    print(line, file=sys.stderr)
