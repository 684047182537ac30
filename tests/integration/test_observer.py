"""What an engine tells of its work: batches, loads and evictions of real models, without a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.inprocess import Records
from warmlane.jobs import LoadJob, PredictJob
from warmlane.ops import ReportProgress
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor.load import load_components
from warmlane_workers.flavor.save import save_model
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.observer import Batch, Observer


class Seen(Observer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.batches: list[Batch] = []
        self.prepared_s: list[float] = []

    def batch(self, batch: Batch) -> None:
        self.batches.append(batch)

    def prepared(self, model: str, seconds: float) -> None:
        self.prepared_s.append(seconds)

    def wanted(self, model: str, *, warm: bool) -> None:
        self.told.append(("hit" if warm else "miss", model))

    def loaded(self, model: str, source: str, seconds: float) -> None:
        self.told.append(("loaded", model, source))

    def evicted(self, model: str, to: str) -> None:
        self.told.append(("evicted", model, to))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def engine(tmp_path: Path, seen: Seen) -> Iterator[Engine]:
    """With room for one of the two models `a` and `b`."""
    checkpoint = tiny.save("text-classification", tmp_path / "checkpoint")
    store = ModelStore(tmp_path / "models")
    for name in "ab":
        store.publish(name, lambda directory: save_model(checkpoint, directory))
    room = device.measure(load_components(store.path("a", 1))["model"]) * 3 // 2
    place = dataclasses.replace(device.find("cpu"), cache_bytes=room)
    engine = Engine(store, place, source_roots=(), trust_remote_code=False, on_change=lambda: None, observer=seen)
    engine.start()
    yield engine
    engine.stop(30)


def ask(engine: Engine, model: str) -> None:
    rows = ["a cat", "a dog", "a long story"]
    engine.predict(PredictJob(model=model, inputs=rows), JobContext(Records(), "0" * 32, 1))  # type: ignore[arg-type]


def test_a_hit_a_miss_a_load_and_an_eviction_are_told(engine: Engine, seen: Seen) -> None:
    """A cold model is a load and a miss, a warm one a hit, and what left for it an eviction."""
    ask(engine, "a")
    ask(engine, "a")
    ask(engine, "b")
    assert seen.told == [
        ("loaded", "a", "store"),
        ("miss", "a"),
        ("hit", "a"),
        ("evicted", "a", "nowhere"),
        ("loaded", "b", "store"),
        ("miss", "b"),
    ]


def test_a_load_tells_its_phases(engine: Engine) -> None:
    """A job that loads says what it waits for: a place in memory, then its weights."""
    told: list[tuple[str, str, float]] = []

    class Progresses(Records):
        def run(self, op: Any) -> bool:
            if isinstance(op, ReportProgress):
                told.append((op.state.value, op.progress.phase, op.progress.fraction))
            return False

    engine.load(LoadJob(model="a"), JobContext(Progresses(), "0" * 32, 1))  # type: ignore[arg-type]
    assert told[:4] == [
        ("LOADING", "loading", 0.0),
        ("LOADING", "making room", 0.1),
        ("LOADING", "moving weights", 0.2),
        ("RUNNING", "running", 0.0),
    ]


def test_batches_are_told_with_the_name_of_their_model(engine: Engine, seen: Seen) -> None:
    """All rows of a job are in its batches; no batch computes fewer tokens than it has."""
    ask(engine, "b")
    assert sum(batch.rows for batch in seen.batches) == 3
    assert {batch.model for batch in seen.batches} == {"b"}
    assert all(batch.padded >= batch.tokens > 0 and batch.run_s > 0 for batch in seen.batches)
    assert len(seen.prepared_s) == 1
