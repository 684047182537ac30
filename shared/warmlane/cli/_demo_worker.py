"""The demo's fleet: an embedded server and one worker in a temporary home, all gone at the end, however it ends.

Knows processes and directories; what the demo asks of the fleet is in `warmlane.cli.demo`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from warmlane.client import Client
from warmlane.embedded import EmbeddedServer
from warmlane.errors import InternalError, WarmlaneError
from warmlane.settings import Settings

#: How long a worker may take to import torch and say that it is there, in seconds.
_START_S = 180.0
#: How long a worker may take to end after SIGTERM before it is killed, in seconds.
_STOP_S = 30.0
#: How often the registry is read while the worker starts, in seconds.
_LOOK_S = 0.2
#: So many bytes of the worker's log are shown when it fails.
_TAIL_BYTES = 2000


@contextlib.contextmanager
def fleet(source_root: Path | None, *, offline: bool) -> Iterator[Settings]:
    """A server and a ready worker; yields the settings that reach them.

    Args:
        source_root: the directory from which the worker may read a model's source.
        offline: keep the worker from asking the model hub for anything.

    Raises:
        InternalError: the worker did not get ready, or died during the demo; the details have the end of its log.
        MissingExtra: the embedded server is not installed.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_unwinds())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warmlane-", ignore_cleanup_errors=True)))
        server = EmbeddedServer(home)
        stack.callback(server.detach)  # last one out: this stops the server
        server.attach()
        settings = Settings(redis_url=server.url, home=home, blobs=str(home / "blobs"))
        process = stack.enter_context(_worker(home, source_root or home, offline=offline))
        try:
            _await_ready(process, settings)
            yield settings
        except WarmlaneError as exc:
            if process.poll() is None:
                raise
            raise _died(process, home) from exc


@contextlib.contextmanager
def _worker(home: Path, source_root: Path, *, offline: bool) -> Iterator[subprocess.Popen[bytes]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WARMLANE_")}
    env |= {
        "WARMLANE_HOME": os.fspath(home),
        "WARMLANE_STORE": os.fspath(home / "models"),
        "WARMLANE_SOURCE_ROOTS": os.fspath(source_root),
        "TMPDIR": os.fspath(home),  # whatever it keeps there goes with the home
    }
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    with open(_log(home), "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "warmlane_workers", "--devices", "cpu"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process only, which then ends the worker in order
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL for the whole group when that takes too long or Ctrl-C comes again."""
    try:
        process.terminate()
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):  # nobody of the group is left: the usual case
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await_ready(process: subprocess.Popen[bytes], settings: Settings) -> None:
    deadline = time.monotonic() + _START_S
    pause = threading.Event()  # never set: a worker that starts has nothing to block on but its heartbeat
    with Client(settings=settings) as client:
        while not any(worker.state == "ready" for worker in client.workers()):
            if process.poll() is not None:
                raise _died(process, settings.home)
            if time.monotonic() > deadline:
                text = f"the worker is not ready after {_START_S:g} s"
                raise InternalError(text, log=_tail(settings.home))
            pause.wait(_LOOK_S)


def _died(process: subprocess.Popen[bytes], home: Path) -> InternalError:
    return InternalError(f"the worker ended with exit code {process.returncode}", log=_tail(home))


def _log(home: Path) -> Path:
    return home / "worker.log"


def _tail(home: Path) -> str:
    return _log(home).read_bytes()[-_TAIL_BYTES:].decode(errors="replace")


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, through every `finally`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
