"""The engine beside a store that changes: aliases that move, versions that are deleted while they load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from warmlane.errors import ModelNotFound
from warmlane.jobs import LoadJob, PredictJob
from warmlane.model import ModelRef
from warmlane.results import State
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor.save import save_model
from warmlane_workers.modelstore import ModelStore


class Context(JobContext):
    """A job that reports to nobody.

    Args:
        while_loading: called when the load begins.
    """

    def __init__(self, while_loading: Callable[[], Any] = lambda: None) -> None:
        self.job_id = "0" * 32
        self.attempt = 1
        self._while_loading = while_loading

    def report(self, fraction: float, phase: str, state: State = State.RUNNING) -> None:
        pass

    def tell(self, state: State, phase: str, fraction: float = 0.0) -> None:
        if state is State.LOADING:
            self._while_loading()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("text-classification", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def store(tmp_path: Path, checkpoint: Path) -> ModelStore:
    """Two versions of `a`."""
    store = ModelStore(tmp_path / "models")
    for _ in range(2):
        store.publish("a", lambda directory: save_model(checkpoint, directory))
    return store


@pytest.fixture
def engine(store: ModelStore) -> Engine:
    return Engine(
        store, device.find("cpu", batch_tokens=512), source_roots=(), trust_remote_code=False, on_change=lambda: None
    )


def load(engine: Engine, model: str, context: Context | None = None) -> Any:
    return engine.load(LoadJob(model=model, pin=True), context or Context())["model"]


def warm(engine: Engine) -> list[str]:
    return sorted(model.model for model in engine.warm())


def test_an_alias_is_resolved_for_each_job(engine: Engine, store: ModelStore) -> None:
    """The same reference loads another version after the alias has moved, and the first stays warm."""
    store.set_alias(ModelRef("a", 1), "prod")
    assert load(engine, "a@prod") == "a/1"
    store.set_alias(ModelRef("a", 2), "prod")
    assert load(engine, "a@prod") == "a/2"
    assert warm(engine) == ["a/1", "a/2"]


def test_an_alias_unloads_its_version_only(engine: Engine, store: ModelStore) -> None:
    """`unload a@prod` lets go of what the alias means; of an alias that is none, of nothing."""
    load(engine, "a/1")
    load(engine, "a/2")
    store.set_alias(ModelRef("a", 1), "prod")
    assert engine.unload("a@absent") == 0
    assert engine.unload("a@prod") > 0
    assert warm(engine) == ["a/2"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_deleted_version_is_not_served_though_it_is_warm(engine: Engine, store: ModelStore, version: int) -> None:
    """From the delete on it is not found, also before its unload has arrived."""
    load(engine, f"a/{version}")
    store.delete(ModelRef("a", version))
    with pytest.raises(ModelNotFound, match=f"'a/{version}'"):
        engine.predict(PredictJob(model=f"a/{version}", inputs=["a cat"]), Context())
    engine.unload(f"a/{version}")
    assert warm(engine) == []


def test_a_version_that_is_deleted_while_it_loads_does_not_stay(engine: Engine, store: ModelStore) -> None:
    """Its load ends as not found and not as damaged, and leaves nothing warm that nobody would unload."""
    context = Context(lambda: store.delete(ModelRef("a", 2)))
    with pytest.raises(ModelNotFound, match="'a/2'"):
        load(engine, "a/2", context)
    assert warm(engine) == []
