"""A worker's name: who gets which, and who keeps it."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from warmlane_workers import identity


class Claims:
    """Claims names, and closes their locks at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.locks: dict[str, int] = {}

    def __call__(self, device: str = "cpu", scope: str = "redis://somewhere warmlane") -> str:
        name, lock = identity.claim(scope, device, self.directory)
        self.locks[name] = lock
        return name

    def release(self, name: str) -> None:
        """What the kernel does when the worker's process is gone."""
        os.close(self.locks.pop(name))

    def close(self) -> None:
        for name in list(self.locks):
            self.release(name)


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claims]:
    claims = Claims(tmp_path / "ids")
    yield claims
    claims.close()


def test_two_workers_on_one_device_differ(claim: Claims) -> None:
    """A name in use is never given out again."""
    assert len({claim() for _ in range(4)}) == 4


def test_a_released_name_is_given_out_again(claim: Claims) -> None:
    """The next worker after a dead one has its name, so it finds what the dead one had taken."""
    first, second = claim(), claim()
    claim.release(first)
    assert claim() == first
    claim.release(second)
    assert claim() == second


def test_a_name_survives_all_its_processes(claim: Claims, tmp_path: Path) -> None:
    """The name lies in a file: after everything has ended, a new process gets it."""
    name = claim()
    claim.release(name)
    code = "import sys; from pathlib import Path; from warmlane_workers import identity; "
    code += "print(identity.claim(sys.argv[1], 'cpu', Path(sys.argv[2]))[0])"
    command = [sys.executable, "-c", code, "redis://somewhere warmlane", str(tmp_path / "ids")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip() == name


def test_a_child_that_holds_the_lock_keeps_the_name(claim: Claims) -> None:
    """The lock goes with the descriptor: while a child has it, the name is taken, even if its parent has closed it."""
    name = claim()
    lock = claim.locks[name]
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[lock])
    claim.release(name)
    assert claim() != name
    child.communicate(timeout=10)
    assert claim() == name


def test_fleets_and_devices_do_not_share_names(claim: Claims) -> None:
    """Another server, another namespace or another device has names of its own, and the device shows."""
    names = [claim(), claim(scope="redis://elsewhere warmlane"), claim(scope="redis://somewhere other"), claim("0")]
    assert len(set(names)) == 4
    assert "-cpu-" in names[0]
    assert "-gpu0-" in names[3]


@pytest.mark.parametrize(
    ("host", "start"),
    [("*", "-"), ("node[1]?.lan", "node-1--.lan"), ("a:b c\n", "a-b-c-"), ("", "host"), ("ünode", "-node")],
)
def test_a_hostile_host_name_makes_a_harmless_name(
    claim: Claims, monkeypatch: pytest.MonkeyPatch, host: str, start: str
) -> None:
    """Nothing of a host's name can act as a pattern or a separator among Redis keys."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    name = claim()
    assert re.fullmatch(r"[A-Za-z0-9.-]+-cpu-[0-9a-f]{8}", name)
    assert name.startswith(f"{start}-cpu-")


@pytest.mark.parametrize("content", [b"", b"*]......", b"\xff\xfe", b"DEADBEEF", b"0123456789abcdef"])
def test_a_damaged_file_gets_a_new_name(claim: Claims, content: bytes) -> None:
    """A file with anything but a token in it is written anew, and then kept."""
    claim.release(claim())
    (file,) = claim.directory.iterdir()
    file.write_bytes(content)
    name = claim()
    assert re.search(r"-[0-9a-f]{8}$", name)
    claim.release(name)
    assert claim() == name


def test_a_link_in_place_of_a_name_is_not_followed(claim: Claims, tmp_path: Path) -> None:
    """A symbolic link among the lock files is refused: nobody makes a worker write elsewhere."""
    claim.release(claim())
    (file,) = claim.directory.iterdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    file.unlink()
    file.symlink_to(victim)
    with pytest.raises(OSError):
        claim()
    assert victim.read_text() == "mine"


def test_the_directory_is_private_and_the_lock_is_exclusive(claim: Claims) -> None:
    """Only the worker's user can read the files, and nobody else can take the lock."""
    claim()
    assert claim.directory.stat().st_mode & 0o077 == 0
    (file,) = claim.directory.iterdir()
    with file.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
