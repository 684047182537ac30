"""Which workers are candidates for a job, of those in the registry."""

from __future__ import annotations

import dataclasses
from collections import Counter

from warmlane.results import WarmModel, WorkerInfo
from warmlane.routing import CANDIDATES, Registry

GIB = 2**30


def worker(name: str, *models: str, running: int = 0, state: str = "ready", queue: str = "predict") -> WorkerInfo:
    warm = tuple(WarmModel(f"{model}/1", "fill-mask", "float32", "cpu", GIB, False, 0.0) for model in models)
    return WorkerInfo(name, "node", 1, "cpu", state, 64, running, 4 * GIB, (queue, "manage"), warm)


def test_warm_workers_are_named_the_least_busy_first() -> None:
    """Every worker that holds a version of the model is warm for it."""
    workers = [worker("a", "m", running=3), worker("b", "other"), worker("c", "m", running=1)]
    assert Registry(workers).route("predict", "m@prod").warm == ("c", "a")


def test_only_ready_workers_of_the_queue_are_named() -> None:
    """One that drains, and one of another pool, get nothing."""
    workers = [worker("a", "m", state="draining"), worker("b", "m", queue="predict.a100"), worker("c")]
    found = Registry(workers).route("predict", "m")
    assert (found.warm, found.cold) == ((), (("c", 0),))
    assert Registry(workers).route("predict.a100", "m").warm == ("b",)


def test_workers_with_room_are_the_better_homes() -> None:
    """A worker whose budget is taken stands behind those that need to evict nothing."""
    full = [worker(f"full-{number}", "p", "q", "r", "s") for number in range(3)]
    found = Registry([*full, worker("free", "p")]).route("predict", "m", size=GIB)
    assert found.cold[0] == ("free", 1)


def test_a_base_that_adapters_share_takes_its_room_once() -> None:
    """Whatever shares it; and not again where it is a model of the worker's own."""

    def adapter(name: str, base: str) -> WarmModel:
        return WarmModel(f"{name}/1", "fill-mask", "float32", "cpu", 1, False, 0.0, base, GIB)

    brought = dataclasses.replace(worker("a"), models=(adapter("x", "Bert@1"), adapter("y", "Bert@1")))
    assert brought.held_bytes == GIB + 2
    own = dataclasses.replace(worker("b", "m"), models=(*worker("b", "m").models, adapter("x", "m/1")))
    assert own.held_bytes == GIB + 1
    found = Registry([own, brought, worker("full", "p", "q")]).route("predict", "m", size=3 * GIB - 2)
    assert found.cold[-1] == ("full", 2)


def with_base(name: str, model: str, kin: str) -> WorkerInfo:
    """A worker that holds one model of a kin."""
    made = worker(name, model)
    return dataclasses.replace(made, models=(dataclasses.replace(made.models[0], kin=kin),))


def test_an_adapter_goes_where_its_base_is_warm() -> None:
    """A worker that holds the base, or another adapter of it, is as good as warm; one that holds the adapter itself is
    better."""
    workers = [worker("a", "m"), with_base("b", "sibling", "bert@1"), with_base("c", "stranger", "bert@2")]
    assert Registry(workers).route("predict", "adapter", kin="bert@1").warm == ("b",)
    assert Registry(workers).route("predict", "m", kin="bert@1").warm == ("a",)
    assert Registry(workers).route("predict", "other").warm == ()


def test_adapters_of_one_base_meet() -> None:
    """That nobody holds any of them: they have one home, and the same candidates for it; another base has others."""
    registry = Registry([worker(f"w-{number}") for number in range(10)])
    found = [registry.route("predict", f"adapter-{number}", kin="bert@1") for number in range(5)]
    assert len(set(found)) == 1
    assert registry.route("predict", "adapter-0", kin="bert@2").cold != found[0].cold
    assert registry.route("predict", "adapter-0", kin="bert@2").model != found[0].model


def test_every_client_names_the_same_homes() -> None:
    """The order of candidates is that of a hash, whatever the order of the registry."""
    workers = [worker(f"w-{number}") for number in range(10)]
    found = Registry(workers).route("predict", "m")
    assert found == Registry(list(reversed(workers))).route("predict", "m")
    assert len(found.cold) == CANDIDATES


def test_a_worker_that_leaves_moves_no_models_but_its_own() -> None:
    """Without one of ten workers, each model whose best home was another one keeps it."""
    workers = [worker(f"w-{number}") for number in range(10)]
    models = [f"model-{number}" for number in range(300)]
    before = {model: Registry(workers).route("predict", model).cold[0][0] for model in models}
    after = {model: Registry(workers[1:]).route("predict", model).cold[0][0] for model in models}
    assert all(after[model] == home for model, home in before.items() if home != "w-0")
    homes = Counter(before.values())
    assert len(homes) == 10
    assert max(homes.values()) < 3 * min(homes.values())
