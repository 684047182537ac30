"""Whose a GPU is: one worker's alone, or several workers' that each say how much they take. Knows files and locks.

A worker that was given no budget takes most of the device, so two of those would promise the same memory twice.
The lock is the process's; the kernel drops it when the process dies.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from warmlane.errors import DeviceError


def claim(device: str, *, alone: bool, directory: Path | None = None) -> int:
    """Take a device, or a part of it, until the process ends or the returned descriptor is closed.

    Args:
        device: names the device on this machine, whoever sees it under which number: its UUID.
        alone: nobody else may have a part of it.
        directory: where the lock files lie; default: one a user in the system's temporary directory.

    Raises:
        DeviceError: another process has it alone, or has a part of it and this one wants it alone.
    """
    base = directory or Path(tempfile.gettempdir()) / f"warmlane-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(base / f"{device}.gpu", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DeviceError(
            "another worker of this machine uses the GPU; to share it, give each of them its part: "
            "WARMLANE_CACHE_BYTES=0.4 for two"
        ) from None
    return descriptor
