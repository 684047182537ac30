"""How worker processes log: each in a process of its own, since logging is a process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

SECRET = "a very secret text"


def logged(code: str, **env: str) -> str:
    """What a process that has configured its logging writes to standard error."""
    program = f"import logging\nfrom warmlane_workers.logs import *\nconfigure_logging('w1')\n{code}"
    variables = {name: text for name, text in os.environ.items() if not name.startswith("WARMLANE_LOG")}
    return subprocess.run(
        [sys.executable, "-c", program], env=variables | env, capture_output=True, text=True, check=False
    ).stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_record_is_an_object_in_a_line() -> None:
    """Where nobody reads it at a terminal a record is JSON: time, level, action, worker, and what else was given."""
    (line,) = lines(logged("logging.getLogger('a').warning('two\\nlines', extra={'action': 'died', 'status': 3})"))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "a",
        "message": "two\nlines",
        "worker": "w1",
        "action": "died",
        "status": 3,
    }


def test_what_is_logged_while_a_job_runs_names_it() -> None:
    """A library's line inside of a job has the job's id, kind and model; a line behind it has not."""
    inside, behind = lines(
        logged(
            "with about_job('j1', 'predict', 'm/3'):\n    logging.getLogger('lib').warning('x')\n"
            "logging.getLogger('lib').warning('y')"
        )
    )
    assert (inside["job_id"], inside["kind"], inside["model"]) == ("j1", "predict", "m/3")
    assert "job_id" not in behind


def test_an_exception_is_its_class_and_its_place() -> None:
    """What an exception says may quote a payload; a line has its class and where it was raised, in either format."""
    code = f"try:\n    raise ValueError({SECRET!r})\nexcept ValueError:\n    logging.getLogger('a').exception('bad')"
    (line,) = lines(logged(code))
    assert line["exception"].startswith("ValueError at\n")
    for form in ("json", "text"):
        text = logged(code, WARMLANE_LOG_FORMAT=form)
        assert "ValueError" in text
        assert SECRET not in text.replace(f"raise ValueError({SECRET!r})", "")


def test_a_thread_that_ends_by_an_exception_is_a_line() -> None:
    """What nobody caught in a thread is logged with its class, without its words."""
    code = f"def fail(): raise ValueError({SECRET!r})\nt = threading.Thread(target=fail); t.start(); t.join()"
    (line,) = lines(logged("import threading\n" + code))
    assert (line["level"], line["action"]) == ("CRITICAL", "ended")
    assert SECRET not in line["message"] + line["exception"]


def test_warnings_are_lines_too() -> None:
    """A warning of Python's is a record like another."""
    (line,) = lines(logged("import warnings; warnings.warn('old')"))
    assert "old" in line["message"]


def test_text_is_for_terminals() -> None:
    """`WARMLANE_LOG_FORMAT=text` gives lines for people."""
    text = logged("logging.getLogger('a').warning('hot')", WARMLANE_LOG_FORMAT="text")
    assert text.endswith("WARNING a: hot\n")


def test_another_format_is_refused() -> None:
    """A format that there is not is a ConfigurationError that lists those that are."""
    assert "choose from json, text" in logged("", WARMLANE_LOG_FORMAT="xml")
