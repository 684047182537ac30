"""The supervisor over real processes: small programs in place of workers, real signals, real deaths.

A program says what happens to it on standard output, which it shares with the supervisor; tests wait for its words.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import NamedTuple

import pytest

from warmlane.errors import ConfigurationError
from warmlane_workers.supervisor import EXIT_CONFIGURATION, devices, visible

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10
#: The first pause before a restart in these tests, in seconds.
PAUSE_S = 0.04

SUPERVISE = f"""
import sys
from warmlane_workers import supervisor
supervisor.RESTART_FIRST_S = {PAUSE_S}
command = [sys.executable, "-I", "-S", "-c", sys.argv[2]]
sys.exit(supervisor.Supervisor(sys.argv[1].split(","), "a test", command).run())
"""

#: What every program starts with.
CHILD = """
import os, signal, sys, time
device, name = sys.argv[2], sys.argv[4]
def say(word):
    line = f"{device} {os.getpid()} {name} {time.monotonic()} {word}\\n"
    os.write(1, line.encode())
def wait_for_the_end_of_input():
    while os.read(0, 1024):
        pass
"""

#: Says how often it was told to stop; stops at the second time.
STUBBORN = """
told = 0
def on_term(number, frame):
    global told
    told += 1
    say(f"told {told}")
    if told == 2:
        os._exit(0)
signal.signal(signal.SIGTERM, on_term)
say("up")
wait_for_the_end_of_input()
say("alone")
"""


class Word(NamedTuple):
    """A line of a child."""

    device: str
    pid: int
    worker_id: str
    time: float
    text: str


class Supervised:
    """A supervisor's process and what its children say."""

    def __init__(self, names: str, program: str, directory: Path, **env: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, names, CHILD + program],
            env={**kept, "TMPDIR": str(directory), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.words: Queue[Word] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            device, pid, worker_id, moment, text = line.decode().strip().split(" ", 4)
            self.words.put(Word(device, int(pid), worker_id, float(moment), text))

    def hear(self) -> Word:
        return self.words.get(timeout=LIMIT_S)

    def hear_all(self, count: int) -> list[Word]:
        return [self.hear() for _ in range(count)]

    def end(self) -> int:
        """Wait for the supervisor and everything that holds its output; its exit status."""
        status = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert not self._reader.is_alive(), "a child outlived the supervisor"
        return status


@contextmanager
def supervised(names: str, program: str, directory: Path, **env: str) -> Iterator[Supervised]:
    made = Supervised(names, program, directory, **env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(LIMIT_S)
        made._reader.join(LIMIT_S)
        assert made.process.stdout is not None
        made.process.stdout.close()


# -- devices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"), [("cpu", ["cpu"]), ("0", ["0"]), ("0,1", ["0", "1"]), (" 3 , 1,", ["3", "1"])]
)
def test_devices_are_taken_as_named(text: str, names: list[str]) -> None:
    """A list of GPU numbers, or the CPU, in the order given."""
    assert devices(text) == names


@pytest.mark.parametrize("text", ["", ",", "gpu", "-1", "0,0", "cpu,cpu", "0;1", "cuda:0", "1.5"])
def test_other_devices_are_refused(text: str) -> None:
    """What names no device, or one twice, is a `ConfigurationError` that shows what to write."""
    with pytest.raises(ConfigurationError, match="--devices: cpu, all, or numbers"):
        devices(text)


@pytest.mark.parametrize(
    ("torch", "names"),
    [
        ("class cuda:\n    device_count = lambda: 3", ["0", "1", "2"]),
        ("class cuda:\n    device_count = lambda: 0", ["cpu"]),
        ("raise ImportError", ["cpu"]),
    ],
)
def test_all_means_every_gpu_or_the_cpu(tmp_path: Path, torch: str, names: list[str]) -> None:
    """`all` asks the torch that is installed, in a process of its own; where it sees no GPU the CPU serves."""
    (tmp_path / "torch.py").write_text(torch)
    assert devices("all", {"PYTHONPATH": str(tmp_path)}) == names


@pytest.mark.parametrize(
    ("device", "granted", "seen"),
    [
        ("cpu", None, ""),
        ("cpu", "0,1", ""),
        ("1", None, "1"),
        ("1", "4,7", "7"),
        ("0", "GPU-8a2f,GPU-11cc", "GPU-8a2f"),
    ],
)
def test_a_child_sees_its_device_only(device: str, granted: str | None, seen: str) -> None:
    """Numbers count within what the supervisor itself was granted; the CPU's child sees no GPU."""
    assert visible(device, {} if granted is None else {"CUDA_VISIBLE_DEVICES": granted}) == seen


@pytest.mark.parametrize(("device", "granted"), [("2", "4,7"), ("0", "")])
def test_a_gpu_that_was_not_granted_is_refused(device: str, granted: str) -> None:
    """Nobody gets past `CUDA_VISIBLE_DEVICES`; set but empty, it grants nothing."""
    with pytest.raises(ConfigurationError, match="grants"):
        visible(device, {"CUDA_VISIBLE_DEVICES": granted})


# -- life ------------------------------------------------------------------------------------------------------------


def test_each_child_gets_one_device_and_a_name_of_its_own(tmp_path: Path) -> None:
    """A child sees its GPU alone, under a name that no other has, and cannot be reached by the terminal's Ctrl-C."""
    program = "say(os.environ['CUDA_VISIBLE_DEVICES'] + f' {os.getsid(0) == os.getpid()}')\nwait_for_the_end_of_input()"
    with supervised("0,1", program, tmp_path, CUDA_VISIBLE_DEVICES="5,6") as fleet:
        words = sorted(fleet.hear_all(2))
        assert [word.text for word in words] == ["5 True", "6 True"]
        assert len({word.worker_id for word in words}) == 2
        fleet.process.terminate()
        assert fleet.end() == 0


def test_each_child_has_a_port_of_its_own_for_its_metrics(tmp_path: Path) -> None:
    """The first serves its metrics where the supervisor was told, the others on the ports that follow."""
    program = "say(os.environ['WARMLANE_METRICS_PORT'])\nwait_for_the_end_of_input()"
    with supervised("0,1", program, tmp_path, WARMLANE_METRICS_PORT="9100") as fleet:
        assert sorted(word.text for word in fleet.hear_all(2)) == ["9100", "9101"]
        fleet.process.terminate()
        assert fleet.end() == 0


def test_a_dead_child_is_restarted_with_back_off_while_the_other_lives_on(tmp_path: Path) -> None:
    """Each death doubles the pause before the same name starts again; the neighbour is not touched."""
    program = 'say("up")\nif device == "0":\n    os.kill(os.getpid(), signal.SIGKILL)\nwait_for_the_end_of_input()'
    with supervised("0,1", program, tmp_path) as fleet:
        dying, living = list[Word](), list[Word]()
        while len(dying) < 4 or not living:
            word = fleet.hear()
            (dying if word.device == "0" else living).append(word)
        assert len(living) == 1
        assert len({word.pid for word in dying}) == len(dying)
        assert len({word.worker_id for word in dying}) == 1
        gaps = [after.time - before.time for before, after in itertools.pairwise(dying)]
        assert all(gap >= PAUSE_S * 2**number for number, gap in enumerate(gaps))
        os.kill(living[0].pid, 0)  # still there
        fleet.process.terminate()
        assert fleet.end() == 0


def test_a_child_hears_which_lives_before_it_crashed(tmp_path: Path) -> None:
    """An exit and an abort count, whatever the status; SIGKILL and SIGTERM come from outside and do not."""
    program = f"""
ends = [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(0), lambda: os.kill(os.getpid(), signal.SIGTERM),
        os.abort, wait_for_the_end_of_input]
number = len(os.listdir({str(tmp_path / "lives")!r}))
os.mkdir({str(tmp_path / "lives")!r} + f"/{{number}}")
say(sys.argv[6] + " " + ",".join(sys.argv[8:]))
ends[number]()
"""
    (tmp_path / "lives").mkdir()
    with supervised("cpu", program, tmp_path) as fleet:
        lives, crashed = zip(*(word.text.partition(" ")[::2] for word in fleet.hear_all(5)), strict=True)
        assert len(set(lives)) == 5
        assert crashed == ("", "", lives[1], lives[1], f"{lives[1]},{lives[3]}")
        fleet.process.terminate()
        assert fleet.end() == 0


def test_a_child_that_cannot_be_configured_stops_all(tmp_path: Path) -> None:
    """Exit 78 is not restarted: the others are told to drain, and the supervisor exits with 78."""
    go = tmp_path / "go"
    os.mkfifo(go)
    gives_up = f'if device == "1":\n    open({str(go)!r}).read()\n    sys.exit({EXIT_CONFIGURATION})\n'
    program = gives_up + STUBBORN.replace("told == 2", "told == 1")
    with supervised("0,1", program, tmp_path) as fleet:
        assert fleet.hear().text == "up"
        go.write_text("")  # only now does the other give up
        assert fleet.hear().text == "told 1"
        assert fleet.end() == EXIT_CONFIGURATION


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_each_signal_is_passed_on_and_nobody_is_restarted(tmp_path: Path, first: signal.Signals) -> None:
    """The first SIGTERM or Ctrl-C reaches every child as SIGTERM, the second one too; then the supervisor is done."""
    with supervised("0,1", STUBBORN, tmp_path) as fleet:
        assert {word.text for word in fleet.hear_all(2)} == {"up"}
        fleet.process.send_signal(first)
        assert {(word.device, word.text) for word in fleet.hear_all(2)} == {("0", "told 1"), ("1", "told 1")}
        fleet.process.terminate()
        assert {(word.device, word.text) for word in fleet.hear_all(2)} == {("0", "told 2"), ("1", "told 2")}
        assert fleet.end() == 0
        assert fleet.words.empty()


def test_a_child_hears_that_its_supervisor_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the supervisor ends the standard input of its children, which is how they know to drain."""
    with supervised("0,1", STUBBORN, tmp_path) as fleet:
        assert {word.text for word in fleet.hear_all(2)} == {"up"}
        fleet.process.kill()
        assert {(word.device, word.text) for word in fleet.hear_all(2)} == {("0", "alone"), ("1", "alone")}
        assert fleet.end() == -signal.SIGKILL


def test_a_stop_during_a_pause_does_not_wait_for_the_restart(tmp_path: Path) -> None:
    """With its only child dead and not yet restarted, a stopped supervisor ends at once."""
    program = 'say("up")\nsys.exit(1)'
    with supervised("cpu", program, tmp_path) as fleet:
        words = fleet.hear_all(2)
        fleet.process.terminate()
        assert fleet.end() == 0
        assert {word.worker_id for word in words} == {words[0].worker_id}
