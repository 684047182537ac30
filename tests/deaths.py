"""Kill a persist before each of its changes to the file system, with SIGKILL, and tell what is left each time.

    python -m tests.deaths ARTIFACT SCRATCH

A process of its own, because it forks: it imports torch once, and each of its children dies at another step. The steps
are heard of by Python's audit events, so none of the code that is killed knows of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import huggingface_hub

from tests.artifacts import TEXT
from warmlane_workers.flavor import load_model, persist_pretrained_model
from warmlane_workers.mlmodel import Artifact

_CHANGES = frozenset({"os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.truncate"})
#: How many of an event's arguments are paths, if several.
_PATHS = {"os.rename": 2, "os.link": 2}


def dies(action: Callable[[], object], watched: Path, step: int) -> str | None:
    """Run an action in a child that is killed before its `step`-th change below a directory.

    Returns:
        What it was about to do; None where it came to its end first.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run(action, str(watched), step, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return told
    assert status == 0, "the child failed"
    return None


def _run(action: Callable[[], object], watched: str, step: int, writing: int) -> None:
    """The child: never returns."""
    left = count(step, -1)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if _changes(event, arguments, watched) and next(left) == 1:
            os.write(writing, f"{event} {Path(str(arguments[0])).name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    try:
        action()
    except BaseException:  # noqa: BLE001 - a child tells its parent by its status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _changes(event: str, arguments: tuple[Any, ...], watched: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        return str(path).startswith(watched) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    # A path that is relative is one of a directory that is being removed.
    return event in _CHANGES and any(
        str(path).startswith(watched) or not os.path.isabs(str(path)) for path in arguments[: _PATHS.get(event, 1)]
    )


def scores(artifact: Path) -> list[Any]:
    return [[item["label"], item["score"]] for item in load_model(artifact)(TEXT, top_k=None)]


def left_by(artifact: Path, scratch: Path, *, cold: bool) -> Iterator[dict[str, Any]]:
    """What each death leaves: `had_weights` and `scores` of the artifact, and the same after a second persist.

    Args:
        cold: die in the download, into an empty cache, and not in the artifact. It has many steps, most of them the
            client's own; every seventh stands for the others.
    """
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    for step in count(1, 7 if cold else 1):
        target = Path(shutil.copytree(artifact, scratch / f"{'cold' if cold else 'warm'}-{step}"))
        if cold:
            shutil.rmtree(cache, ignore_errors=True)
        event = dies(partial(persist_pretrained_model, target), cache if cold else target, step)
        if event is None:
            return
        left = {"event": event, "had_weights": Artifact.read(target).has_weights, "scores": scores(target)}
        persist_pretrained_model(target)
        hidden = sorted(path.name for path in target.iterdir() if path.name.startswith("."))
        after = {"has_weights": Artifact.read(target).has_weights, "hidden": hidden, "scores_after": scores(target)}
        yield {**left, **after}


def main(artifact: Path, scratch: Path) -> None:
    found = [death for cold in (False, True) for death in left_by(artifact, scratch, cold=cold)]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
