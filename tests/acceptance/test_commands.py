"""The command line against a real fleet, as a shell script would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fleet import Fleet, minilm


def warmlane(fleet: Fleet, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmlane.cli", *arguments],
        env={**fleet.env, "WARMLANE_CONNECT_TIMEOUT": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_save_load_predict_and_unload_from_a_shell(warm_fleet: Fleet) -> None:
    """Each command prints one JSON document and ends with 0."""
    saved = warmlane(warm_fleet, "save", "shell", str(minilm()), "--json")
    assert json.loads(saved.stdout)["model"] == "shell/1", saved.stderr
    loaded = warmlane(warm_fleet, "load", "shell", "--dtype", "float32", "--json")
    assert json.loads(loaded.stdout)["dtype"] == "float32", loaded.stderr
    answers = warmlane(warm_fleet, "predict", "shell", "--params", '{"pooling": "mean"}', stdin="one\ntwo\n")
    rows = [json.loads(line) for line in answers.stdout.splitlines()]
    assert [(row["row"], len(row["output"])) for row in rows] == [(0, 384), (1, 384)]
    unloaded = warmlane(warm_fleet, "unload", "shell", "--json")
    assert json.loads(unloaded.stdout)["bytes"] > 80_000_000


def test_a_job_is_followed_by_its_id(warm_fleet: Fleet) -> None:
    """`--no-wait` prints the id that `job` and `cancel` take."""
    enqueued = warmlane(warm_fleet, "load", "minilm", "--no-wait", "--json")
    job_id = json.loads(enqueued.stdout)["id"]
    waited = warmlane(warm_fleet, "job", job_id, "--wait", "--json")
    assert json.loads(waited.stdout)["state"] == "SUCCEEDED", waited.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (("predict", "nobody", "text"), 3, "warmlane: model_not_found: "),
        (("job", "0" * 32), 3, "warmlane: job_not_found: "),
        (("predict", "minilm", "text", "--params", '{"no": 1}'), 2, "warmlane: invalid_params: "),
        (("--redis-url", "redis://127.0.0.1:1", "models"), 5, "warmlane: server_unreachable: "),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    warm_fleet: Fleet, arguments: tuple[str, ...], status: int, line: str
) -> None:
    """A script tells them apart by the code, a person reads one line and no traceback."""
    done = warmlane(warm_fleet, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_the_demo_shows_the_main_job_and_leaves_nothing_running() -> None:
    """`warmlane demo` ends with 0; no process and no directory of its own is left."""
    with tempfile.TemporaryDirectory(prefix="wl-") as scratch:
        command = [sys.executable, "-m", "warmlane.cli", "demo"]
        env = {**os.environ, "TMPDIR": scratch}
        demo = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110, check=False)
        assert demo.returncode == 0, demo.stderr
        for shown in ("float32", "bfloat16", "256", "jobs/s", "feature-extraction"):
            assert shown in demo.stdout
        assert list(Path(scratch).iterdir()) == []
        processes = [process for process in Path("/proc").iterdir() if process.name.isdecimal()]
        assert [process for process in processes if scratch in _command(process)] == []


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it ended while we looked
        return ""
