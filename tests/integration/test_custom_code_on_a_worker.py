"""Custom code on a worker: the operator allows it, and each job asks for it, whether the model is warm or cold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from tests import tiny_code
from warmlane.errors import CustomCodeRefused
from warmlane.jobs import LoadJob, PredictJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore

CPU = device.find("cpu")


class Records:
    """A store that nobody reads: jobs report into it and are never cancelled."""

    def run(self, op: Any) -> bool:
        return False


def context() -> JobContext:
    return JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Engine]]:
    """Makes an engine over one custom model, on which the operator allows custom code or does not."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)  # another test's, which would be looked for code in its directory
    store = ModelStore(tmp_path / "store")
    checkpoint = tiny_code.save(tmp_path / "checkpoint")
    store.publish("custom", lambda directory: save_model(checkpoint, directory, trust_remote_code=True))
    engines: list[Engine] = []

    def make(allowed: bool) -> Engine:
        engine = Engine(store, CPU, source_roots=(), trust_remote_code=allowed, on_change=lambda: None)
        engines.append(engine)
        engine.start()
        return engine

    yield make
    for engine in engines:
        engine.stop(60)


def predict(engine: Engine, agreed: bool) -> Any:
    return engine.predict(PredictJob(model="custom", inputs="a dog", trust_remote_code=agreed), context())


def test_a_job_asks_for_it_whether_the_model_is_warm_or_cold(worker: Callable[[bool], Engine]) -> None:
    """Refused without asking, answered with asking, and refused again once it is warm; the file is named."""
    engine = worker(True)
    with pytest.raises(CustomCodeRefused, match=r"\w+\.py"):
        predict(engine, False)
    assert len(predict(engine, True).columns["label"]) == 1
    for ask in (lambda: predict(engine, False), lambda: engine.load(LoadJob(model="custom"), context())):
        with pytest.raises(CustomCodeRefused, match=r"\w+\.py"):
            ask()


def test_an_operator_who_does_not_allow_it_is_obeyed(worker: Callable[[bool], Engine]) -> None:
    """Whatever a job asks for; the error names the setting."""
    engine = worker(False)
    with pytest.raises(CustomCodeRefused, match="WARMLANE_TRUST_REMOTE_CODE"):
        predict(engine, True)
    with pytest.raises(CustomCodeRefused, match="WARMLANE_TRUST_REMOTE_CODE"):
        engine.load(LoadJob(model="custom", trust_remote_code=True), context())
