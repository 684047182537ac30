"""The size of batches is measured when a model is warmed, and once in a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.inprocess import Records
from warmlane.budget import BatchBudget, KnownBudget
from warmlane.jobs import LoadJob, PredictJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore

JOB_ID = "0" * 32


class Budgets(Records):
    """A store that keeps what was measured."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[tuple[str, str], BatchBudget] = {}

    def run(self, op: Any) -> Any:
        if not isinstance(op, KnownBudget):
            return super().run(op)
        place = op.device, op.model
        if op.budget is not None:
            self.known[place] = op.budget
        return self.known.get(place)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "store")
    source = tiny.save("text-classification", tmp_path / "source")
    made.publish("m", lambda directory: save_model(source, directory, task="text-classification"))
    return made


@pytest.fixture
def records() -> Budgets:
    return Budgets()


def engine(store: ModelStore, batch_tokens: int = 0) -> Iterator[Engine]:
    made = Engine(
        store,
        device.find("cpu", batch_tokens=batch_tokens),
        source_roots=(),
        trust_remote_code=False,
        on_change=lambda: None,
    )
    made.start()
    yield made
    assert made.stop(30)


@pytest.fixture
def warm(store: ModelStore) -> Iterator[Engine]:
    yield from engine(store)


@pytest.fixture
def fixed(store: ModelStore) -> Iterator[Engine]:
    yield from engine(store, batch_tokens=300)


def load(engine: Engine, records: Budgets) -> int:
    report = engine.load(LoadJob(model="m"), JobContext(records, JOB_ID, 1))  # type: ignore[arg-type]
    tokens: int = report["batch_tokens"]
    return tokens


def test_a_load_measures_and_keeps_what_it_found(warm: Engine, records: Budgets) -> None:
    """The report tells the size; it is kept under the kind of device and the model with its type."""
    tokens = load(warm, records)
    assert records.known[warm.device.kind, "m/1 float32"].tokens == tokens
    assert tokens in {warm.device.batch_tokens * step // 4 for step in (1, 2, 4, 8, 16)}


def test_what_another_worker_has_measured_is_taken(warm: Engine, records: Budgets) -> None:
    """Nothing is run where the size is known."""
    records.known[warm.device.kind, "m/1 float32"] = BatchBudget(777, 30)
    assert load(warm, records) == 777


def test_the_operators_size_is_not_measured(fixed: Engine, records: Budgets) -> None:
    """Where WARMLANE_BATCH_TOKENS is set it holds for every model."""
    assert load(fixed, records) == 300
    assert not records.known


def test_a_predict_does_not_wait_for_a_measurement(warm: Engine, records: Budgets) -> None:
    """A model that a predict has loaded runs with the device's default."""
    job = PredictJob(model="m", inputs="the cat")
    warm.predict(job, JobContext(records, JOB_ID, 1))  # type: ignore[arg-type]
    assert not records.known
