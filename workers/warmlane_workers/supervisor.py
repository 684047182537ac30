"""One child process a device: started with only that device in sight, restarted when it dies, told to stop by signals.

Imports neither torch nor Redis. The first SIGTERM or SIGINT is passed on as a drain, the second as a stop. A child that
outlives its supervisor drains by itself: its standard input is a pipe whose other end the supervisor holds.

How a child ended tells whether what it ran may be to blame: one that was killed from outside was not crashed by a job.
The next child hears which lives of the last ones ended in a crash, and says so in Redis (`warmlane.blame`).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from warmlane.errors import ConfigurationError
from warmlane_workers import identity
from warmlane_workers.settings import METRICS_PORT

logger = logging.getLogger(__name__)

#: Pause before a dead child is started again: the first, and the longest, in seconds.
RESTART_FIRST_S = 0.5
RESTART_LONGEST_S = 30.0
#: A child that lived so long is healthy: the next pause is the first again.
HEALTHY_S = 60.0
#: How a child says that starting it again is pointless.
EXIT_CONFIGURATION = 78
#: Signals that come from outside: an operator, a container that stops, the kernel when memory runs out. Any other end
#: of a child that was not told to stop is a crash.
_KILLS = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})
#: So many crashed lives are told of, the newest: one that could not be blamed, with no server there, is told of again.
_TOLD_LIVES = 8


def devices(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """`cpu`, `0,1`, or `all` (every GPU; the CPU where there is none), as a list.

    Raises:
        ConfigurationError: anything else.
    """
    if text == "all":
        return [str(number) for number in range(_count_gpus(os.environ if env is None else env))] or ["cpu"]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or any(name != "cpu" and not name.isdecimal() for name in names) or len(set(names)) != len(names):
        raise ConfigurationError("--devices: cpu, all, or numbers of GPUs such as 0,1, each once")
    return names


def _count_gpus(env: Mapping[str, str]) -> int:
    code = "import torch; print(torch.cuda.device_count())"
    found = subprocess.run([sys.executable, "-c", code], env=dict(env), capture_output=True, text=True, check=False)  # noqa: S603
    return int(found.stdout) if found.returncode == 0 and found.stdout.strip().isdecimal() else 0


def visible(device: str, env: Mapping[str, str]) -> str:
    """What `CUDA_VISIBLE_DEVICES` must be for a child; numbers count within what this process itself may see."""
    if device == "cpu":
        return ""
    grant = env.get("CUDA_VISIBLE_DEVICES")
    if grant is None:
        return device
    granted = [name for name in grant.split(",") if name]  # set but empty grants none
    if int(device) >= len(granted):
        raise ConfigurationError(
            f"--devices {device}: CUDA_VISIBLE_DEVICES grants {len(granted)} GPUs, numbered from 0"
        )
    return granted[int(device)]


@dataclass
class Child:
    """A device's process and its history of failures.

    Attributes:
        number: of the children, from 0.
        life: names the process.
        crashed: the lives that ended in a crash.
    """

    device: str
    worker_id: str
    lock: int
    number: int = 0
    process: subprocess.Popen[bytes] | None = None
    life: str = ""
    crashed: deque[str] = field(default_factory=lambda: deque(maxlen=_TOLD_LIVES))
    started: float = 0.0
    failures: int = 0
    restart_at: float = field(default=0.0)


class Supervisor:
    """Keeps one child a device alive until it is told to stop.

    Args:
        scope: names the fleet, see `identity.claim`.
        command: what a child runs; default: this package's worker process.
    """

    def __init__(self, names: Sequence[str], scope: str, command: Sequence[str] | None = None) -> None:
        self._command = list(command or [sys.executable, "-m", "warmlane_workers.app"])
        self._children = [Child(name, *identity.claim(scope, name), number=number) for number, name in enumerate(names)]
        self._signals = 0
        self._sent = 0

    def run(self) -> int:
        """Serve until stopped; the exit status."""
        wake = self._startup()
        while any(child.process or not self._signals for child in self._children):
            self._serve_once(wake)
            status = self._reap()
            if status is not None:
                return status
        return 0

    def _startup(self) -> int:
        read, write = os.pipe()
        os.set_blocking(write, False)
        os.set_blocking(read, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to wake the loop
        return read

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1

    def _serve_once(self, wake: int) -> None:
        now = time.monotonic()
        if not self._signals:
            for child in self._children:
                if child.process is None and now >= child.restart_at:
                    self._start(child)
        while self._sent < self._signals:
            self._sent += 1
            for child in self._children:
                if child.process is not None:
                    child.process.send_signal(signal.SIGTERM)
        due = [child.restart_at - now for child in self._children if child.process is None and not self._signals]
        select.select([wake], [], [], max(0.0, min(due)) if due else None)
        try:
            os.read(wake, 4096)
        except BlockingIOError:
            return  # a restart is due

    def _start(self, child: Child) -> None:
        env = dict(os.environ)
        env["CUDA_VISIBLE_DEVICES"] = visible(child.device, env)
        env.setdefault("TOKENIZERS_PARALLELISM", "false")  # one text a call: helpers would only wait and be woken
        if env.get(METRICS_PORT):
            env[METRICS_PORT] = str(int(env[METRICS_PORT]) + child.number)
        child.life = uuid.uuid4().hex
        command = [*self._command, "--device", child.device, "--worker-id", child.worker_id, "--life", child.life]
        command += ["--crashed", ",".join(child.crashed)] if child.crashed else []
        child.process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            env=env,
            stdin=subprocess.PIPE,
            pass_fds=[child.lock],  # the name stays taken while this process lives, even if we do not
            start_new_session=True,  # Ctrl-C is for us to pass on
        )
        child.started = time.monotonic()
        logger.info("worker %s started", child.worker_id, extra={"action": "child_started", "pid": child.process.pid})

    def _reap(self) -> int | None:
        """Note who died; an exit status when nothing can be served."""
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            status = child.process.returncode
            if child.process.stdin is not None:
                child.process.stdin.close()
            child.process = None
            if self._signals:
                continue
            if status == EXIT_CONFIGURATION:
                self._stop_others()
                return EXIT_CONFIGURATION
            if status not in _KILLS:
                child.crashed.append(child.life)
            now = time.monotonic()
            child.failures = 0 if now - child.started >= HEALTHY_S else child.failures + 1
            pause = min(RESTART_LONGEST_S, RESTART_FIRST_S * 2 ** max(0, child.failures - 1))
            child.restart_at = now + pause
            logger.error(
                "worker %s died (status %s), starting again in %.1f s",
                child.worker_id,
                status,
                pause,
                extra={"action": "child_died", "status": status},
            )
        return None

    def _stop_others(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        for child in self._children:
            if child.process is not None:
                child.process.wait()
