"""A worker's name: stable over its restarts, used by one process at a time. Knows files and locks, not Redis.

The name decides whose unacknowledged messages are whose, so a restarted worker finds what its last life had taken
without waiting for a time-out. It is random, kept in a file of this machine, and guarded by a lock that the worker's
process holds and the kernel drops when it dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import tempfile
import uuid
from pathlib import Path

from warmlane.errors import ConfigurationError


def claim(scope: str, device: str, directory: Path | None = None) -> tuple[str, int]:
    """A free name for a worker on a device, and the locked file descriptor that keeps it; pass that on to the worker.

    Args:
        scope: what sets fleets on one machine apart: the server's URL and the namespace.
        directory: where the lock files lie; default: one a user in the system's temporary directory.
    """
    base = directory or Path(tempfile.gettempdir()) / f"warmlane-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.lstat().st_uid != os.getuid():
        raise ConfigurationError(f"{base} belongs to somebody else; set TMPDIR to a directory of your own")
    digest = hashlib.sha256(scope.encode()).hexdigest()[:12]
    slot = 0
    while True:
        descriptor = os.open(base / f"{digest}-{device}-{slot}.id", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            slot += 1
            continue
        return f"{_host()}-{_kind(device)}-{_token(descriptor)}", descriptor


def _token(descriptor: int) -> str:
    """The random part, made when the file is first used."""
    kept = os.read(descriptor, 8).decode("ascii", "replace")
    if re.fullmatch(r"[0-9a-f]{8}", kept):
        return kept
    token = uuid.uuid4().hex[:8]
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, token.encode(), 0)
    return token


def _host() -> str:
    # Dramatiq looks for a worker's keys by a pattern; a name must have no character that means something there.
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "host"


def _kind(device: str) -> str:
    return device if device == "cpu" else f"gpu{device}"
