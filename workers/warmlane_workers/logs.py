"""How worker processes log: one line a record on standard error, JSON unless somebody reads it at a terminal.

Payloads never get here. An exception is logged by its class and its place: its words may quote what a caller sent.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from warmlane.errors import ConfigurationError

FORMATS = ("json", "text")
#: What a record may carry beside its message, in `extra`.
_FIELDS = ("action", "job_id", "kind", "model", "outcome", "status", "pid")
#: What every line says that a job's thread logs while the job runs.
_about: ContextVar[dict[str, str] | None] = ContextVar("warmlane_job", default=None)


@contextmanager
def about_job(job_id: str, kind: str, model: str) -> Iterator[None]:
    """Whatever this thread logs inside, libraries included, names the job."""
    token = _about.set({"job_id": job_id, "kind": kind, "model": model})
    try:
        yield
    finally:
        _about.reset(token)


class _Lines(logging.Formatter):
    """For a terminal."""

    def formatException(self, ei: Any) -> str:
        kind, _, trace = ei
        return f"{kind.__name__} at\n{''.join(traceback.format_tb(trace))}" if kind is not None else ""


class _JsonLines(_Lines):
    """One JSON object a line: time, level, logger, message, and what is known of: action, job_id, kind, model, worker.

    Args:
        worker: the id of this process's worker, "" for a supervisor.
    """

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._worker,
            **(_about.get() or {}),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(worker: str = "") -> None:
    """One line a record on standard error, as `WARMLANE_LOG_FORMAT` and `WARMLANE_LOG_LEVEL` say; so are Python's
    warnings, and what ends a thread or the process.

    Raises:
        ConfigurationError: another format than there is.
    """
    form = os.environ.get("WARMLANE_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    if form not in FORMATS:
        raise ConfigurationError(f"WARMLANE_LOG_FORMAT: choose from {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines(worker) if form == "json" else _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    level = os.environ.get("WARMLANE_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _on_end(kind, trace, f"the process ends: {error}")
    # A thread may have a payload in hand: nothing of what its exception says.
    threading.excepthook = lambda end: _on_end(end.exc_type, end.exc_traceback, "a thread ends")


def _on_end(kind: type[BaseException], trace: TracebackType | None, message: str) -> None:
    """An exception that nobody caught. Ctrl-C is no news."""
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger(__name__).critical(
            message, exc_info=(kind, kind.__new__(kind), trace), extra={"action": "ended"}
        )
