"""A fleet whose workers hold no model and die as their jobs tell them: the real supervisor, broker and life cycle.

    python -m tests.mortal URL NAMESPACE DEVICES

Starts in a second where a worker with torch takes ten. An input is a word: how the process is to end. Any other input
is answered by the number of the process, after `WORK_S`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq

from warmlane.blame import Blame
from warmlane.errors import InternalError
from warmlane.jobs import PredictJob
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.store import RedisStore, connect
from warmlane_workers import actors, supervisor
from warmlane_workers.broker import LaneBroker
from warmlane_workers.context import JobContext
from warmlane_workers.lifecycle import Lifecycle

#: How long a job takes, in seconds: enough for some to be under way whenever their process is killed.
WORK_S = 0.005
THREADS = 16

#: The word of a job -> how its process ends.
ENDS: dict[str, Callable[[], Any]] = {
    "exit": lambda: os._exit(3),
    "exit as if all were well": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "out of memory": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def answer(job: PredictJob, context: JobContext) -> int:
    if job.inputs == "fail":
        raise InternalError("as it was told")
    time.sleep(WORK_S)
    ENDS.get(str(job.inputs), lambda: None)()
    return os.getpid()


def serve(url: str, namespace: str, arguments: list[str]) -> None:
    """The child: `--device D --worker-id ID --life LIFE [--crashed LIVES]`, until its standard input ends."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    store = RedisStore(connect(url, retry_s=30, connections=THREADS + 16), Keys(namespace), url)
    for life in options.get("--crashed", "").split(","):
        store.run(Blame(life))
    worker_id = options["--worker-id"]
    broker = LaneBroker(store, worker_id, THREADS)
    lifecycle = Lifecycle(store, worker_id, {"predict": answer}, 60, broker.settled, options["--life"])
    actors.declare(broker, lifecycle, [PREDICT_QUEUE])
    dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=20).start()
    while os.read(0, 1):
        pass


@contextmanager
def fleet(url: str, namespace: str, devices: str) -> Iterator[None]:
    """The supervisor in a process of its own, and its workers."""
    command = [sys.executable, "-m", "tests.mortal", url, namespace, devices]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()  # the workers hear the end of their standard input
        process.wait()


def main(url: str, namespace: str, devices: str, *arguments: str) -> None:
    if arguments:
        serve(url, namespace, list(arguments))
        os._exit(0)
    supervisor.RESTART_FIRST_S = supervisor.RESTART_LONGEST_S = 0.05
    command = [sys.executable, "-m", "tests.mortal", url, namespace, devices]
    supervisor.Supervisor(devices.split(","), f"{url} {namespace}", command).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
