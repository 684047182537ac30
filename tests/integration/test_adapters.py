"""Adapters of one base in memory: they share its weights and its tokenizer, and come and go by themselves."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.adapters import CLASSIFIER, FEATURES, TEXTS, add, add_all, alone, answer, close, load, lora
from tests.inprocess import Records, Served
from warmlane.jobs import LoadJob
from warmlane_workers.catalog import Catalog
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.flavor import reading


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {task: tiny.save(task, tmp_path_factory.mktemp(task)) for task in tiny.TASKS}


@pytest.fixture
def served(tmp_path: Path, checkpoints: dict[str, Path]) -> Iterator[Served]:
    with Served(tmp_path, roots=tuple(checkpoints.values())) as made:
        yield made


def test_a_base_is_read_once_and_counts_once(
    served: Served, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many adapters: each has its own bytes, and all tell the same base with the others that share it."""
    names = add_all(served, FEATURES, checkpoints[FEATURES])
    read, calls = reading.read_model, itertools.count()
    monkeypatch.setattr(reading, "read_model", lambda *args, **options: (next(calls), read(*args, **options))[1])
    reports = [load(served, name) for name in names]
    assert next(calls) == 1
    assert len({report["base"] for report in reports}) == 1
    assert reports[-1]["shared_with"] == sorted(f"{name}/1" for name in names[:-1])
    whole = reports[0]["base_bytes"]
    assert all(0 < report["bytes"] < whole / 3 for report in reports)
    assert sum(entry.bytes for entry in served.engine.cache.entries()) == whole + sum(
        report["bytes"] for report in reports
    )
    assert {(warm.model, warm.base, warm.base_bytes) for warm in served.engine.warm()} == {
        (report["model"], report["base"], whole) for report in reports
    }


def test_adapters_share_their_tokenizer(served: Served, checkpoints: dict[str, Path]) -> None:
    """Where its files say the same: a vocabulary takes more than an adapter does."""
    for name in add_all(served, FEATURES, checkpoints[FEATURES]):
        load(served, name)
    entries = [entry for entry in served.engine.cache.entries() if entry.below]
    assert len({id(entry.value.components["tokenizer"]) for entry in entries}) == 1


def test_an_adapter_stands_on_a_stored_model_that_is_its_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """The same files under a name of the store: they are told as the base, and unloaded by their name."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    load(served, "bare")
    assert load(served, "adapter")["base"] == "bare/1"
    assert [warm.base for warm in served.engine.warm()] == ["", "bare/1"]


def test_a_stored_model_stands_on_the_base_that_adapters_brought(served: Served, checkpoints: dict[str, Path]) -> None:
    """It takes nothing of its own then."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    base = load(served, "adapter")["base"]
    report = load(served, "bare")
    assert (report["base"], report["bytes"], report["shared_with"]) == (base, 0, ["adapter/1"])


def test_unloading_the_last_adapter_unloads_its_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """Nobody could unload it by a name; until then it stays for the others."""
    for name in add_all(served, FEATURES, checkpoints[FEATURES])[:2]:
        size = load(served, name)["base_bytes"]
    assert served.engine.unload("narrow") < size
    assert served.engine.unload("wide") > size
    assert served.engine.cache.entries() == []


def test_another_type_is_another_base(served: Served, checkpoints: dict[str, Path]) -> None:
    """Weights of two types share nothing."""
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    single = load(served, "adapter")
    half = served.engine.load(LoadJob(model="adapter", dtype="bfloat16"), context)
    assert single["base"] != half["base"]


def test_adapters_and_their_base_tell_one_kin(served: Served, checkpoints: dict[str, Path]) -> None:
    """To the registry, whatever their type, so that jobs on them meet; another checkpoint has another."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    served.add_directory("other", checkpoints[CLASSIFIER], CLASSIFIER)
    names = add_all(served, FEATURES, checkpoints[FEATURES])
    for name in ("bare", "other", *names):
        load(served, name)
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    served.engine.load(LoadJob(model=names[0], dtype="bfloat16"), context)
    told = [(warm.model.partition("/")[0], warm.kin) for warm in served.engine.warm()]
    [of_the_base] = {kin for name, kin in told if name != "other"}
    assert of_the_base
    assert dict(told)["other"] not in ("", of_the_base)


def test_callers_are_told_the_kin_of_an_adapter(served: Served, checkpoints: dict[str, Path]) -> None:
    """The one that its worker tells; a model that is no adapter goes by its own name only."""
    served.add_directory("bare", checkpoints[FEATURES], FEATURES)
    add(served, "adapter", FEATURES, checkpoints[FEATURES], lora())
    load(served, "adapter")
    told: list[Any] = []
    records, store = Records(), served.engine._store
    records.run = told.append  # type: ignore[assignment, method-assign]
    catalog = Catalog(records, store, lambda job, context: {})  # type: ignore[arg-type]
    for name in ("bare", "adapter"):
        catalog.announce(name, 1, store.read(name, 1))
    assert [op.info.kin for op in told] == ["", served.engine.warm()[0].kin]


def test_a_base_returns_from_host_memory(
    tmp_path: Path, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is parked when its last adapter has left; these are read again, and answer as before."""
    size = sum(path.stat().st_size for path in checkpoints[FEATURES].glob("*.safetensors"))
    place = dataclasses.replace(device.find("cpu", batch_tokens=512), cache_bytes=size * 3 // 2, host_bytes=9 * size)
    monkeypatch.setattr(device, "find", lambda name, **options: place)
    with Served(tmp_path, roots=tuple(checkpoints.values())) as served:
        names = add_all(served, FEATURES, checkpoints[FEATURES])[:2]
        served.add_directory("other", checkpoints[CLASSIFIER], CLASSIFIER)
        before = {key: answer(served, FEATURES, *key) for key in [(name, TEXTS[0]) for name in names]}
        load(served, "other")
        assert [warm.model for warm in served.engine.warm()] == ["other/1"]
        monkeypatch.setattr(reading, "read_model", lambda *args, **options: pytest.fail("it was read"))
        assert all(close(answer(served, FEATURES, *key), expected) for key, expected in before.items())


def test_an_adapter_that_writes_into_its_base_gets_one_of_its_own(
    served: Served, checkpoints: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """LoRA that trained biases keeps them in the base's place: the log says so, and the others answer as before."""
    add(served, "lora", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS"))
    add(served, "biased", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS", bias="all"), seed=1)
    load(served, "lora")
    assert "base" not in load(served, "biased")
    assert "bias changes its base" in caplog.text
    for name in ("lora", "biased"):
        assert close(answer(served, CLASSIFIER, name, TEXTS[0]), alone(served, CLASSIFIER, name, TEXTS[0]))
