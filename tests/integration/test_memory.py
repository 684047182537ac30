"""Models in memory: what their files say of their size, how they leave for host memory and return, when they expire.

No GPU: the host's memory stands for the device's. `tests/gpu` has the same on one.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.inprocess import Records
from warmlane.errors import (
    ArtifactError,
    CacheFull,
    ConfigurationError,
    JobCancelled,
    JobExpired,
    OutOfMemory,
)
from warmlane.jobs import LoadJob, PredictJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device, patience
from warmlane_workers.engine.engine import Engine
from warmlane_workers.engine.parking import ParkedWeights, can_park
from warmlane_workers.flavor import reading
from warmlane_workers.flavor.load import load_components
from warmlane_workers.flavor.save import save_model
from warmlane_workers.flavor.weights import loaded_bytes
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.pipelines.memory import within_memory
from warmlane_workers.settings import Size

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 30
CPU = device.find("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("text-classification", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> ModelStore:
    """The same model as `a`, `b` and `c`."""
    store = ModelStore(tmp_path_factory.mktemp("models"))
    for name in "abc":
        store.publish(name, lambda directory: save_model(checkpoint, directory))
    return store


@pytest.fixture(scope="module")
def size(store: ModelStore) -> int:
    """Bytes of one of them in memory."""
    return device.measure(load_components(store.path("a", 1))["model"])


Serve = Callable[..., Engine]


@pytest.fixture
def serve(store: ModelStore) -> Iterator[Serve]:
    """Starts an engine with so much memory."""
    engines: list[Engine] = []

    def start(memory: int, host: int = 0, ttl_s: float = 0.0, on_change: Callable[[], None] = lambda: None) -> Engine:
        place = dataclasses.replace(CPU, cache_bytes=memory, host_bytes=host)
        engine = Engine(store, place, source_roots=(), trust_remote_code=False, cache_ttl_s=ttl_s, on_change=on_change)
        engine.start()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.stop(LIMIT_S)


def context() -> JobContext:
    return JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]


def load(engine: Engine, model: str, **options: Any) -> Any:
    return engine.load(LoadJob(model=model, **options), context())


def ask(engine: Engine, model: str) -> Any:
    return engine.predict(PredictJob(model=model, inputs=["a cat", "a long story"], output="native"), context())


def warm(engine: Engine) -> list[str]:
    return sorted(model.model for model in engine.warm())


# -- who waits -------------------------------------------------------------------------------------------------------


def cancelled() -> JobContext:
    """A job that hears, when it asks, that it was cancelled."""
    return JobContext(Records(cancel_at=0), "0" * 32, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("late", [False, True], ids=["cancelled", "late"])
def test_a_job_that_waits_for_room_hears_that_it_is_over(serve: Serve, late: bool, size: int) -> None:
    """A load that is cancelled or late while a busy model takes the room ends long before that is idle."""
    engine = serve(size)
    load(engine, "a")
    (entry,) = engine.cache.entries()
    over = JobContext(Records(), "0" * 32, 1, left_s=0.01) if late else cancelled()  # type: ignore[arg-type]
    with (
        engine.cache.lease(entry.key, lambda room: pytest.fail("it is warm")),
        pytest.raises(JobExpired if late else JobCancelled),
    ):
        engine.load(LoadJob(model="b"), over)
    assert warm(engine) == ["a/1"]


def test_a_job_that_was_cancelled_while_it_waited_does_not_reach_the_device(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks once more when the model is there, if that took long."""
    engine = serve(10**9)
    job = PredictJob(model="a", inputs="a cat")
    engine.predict(job, cancelled())
    monkeypatch.setattr(patience, "HEED_S", 0.0)
    with pytest.raises(JobCancelled):
        engine.predict(job, cancelled())


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_files_tell_what_the_weights_will_take(store: ModelStore, dtype: str) -> None:
    """In any type, nearly: buffers that no file has are not in it."""
    told: list[int] = []
    model = load_components(store.path("a", 1), dtype=dtype, room=told.append)["model"]
    assert told == [pytest.approx(device.measure(model), rel=0.05)]


def test_files_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    """What is wrong with them is for the load to say."""
    assert loaded_bytes(tmp_path, None) == 0
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert loaded_bytes(tmp_path, None) == 0


def test_a_model_that_cannot_fit_is_refused_unread(serve: Serve, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files say so: no weights are read for it."""
    monkeypatch.setattr(reading, "read_model", lambda *args, **options: pytest.fail("it was read"))
    with pytest.raises(CacheFull):
        load(serve(size // 2), "a")


# -- host memory -----------------------------------------------------------------------------------------------------


def outputs(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(5, 15)[None]).logits  # type: ignore[no-any-return]


def test_a_model_answers_the_same_after_it_was_in_host_memory(store: ModelStore) -> None:
    """Out and in, twice: the second time its copy is there already."""
    model = load_components(store.path("a", 1))["model"]
    before, weights = outputs(model), ParkedWeights(model, torch.device("cpu"))
    for _ in range(2):
        weights.park()
        weights.restore()
        assert torch.equal(outputs(model), before)


def test_weights_in_host_memory_take_what_they_took(store: ModelStore, size: int) -> None:
    """All parameters lie in one piece, each at a multiple of 256 bytes; the bytes are told before the copy is made."""
    model = load_components(store.path("a", 1))["model"]
    weights = ParkedWeights(model, torch.device("cpu"))
    told = weights.bytes
    weights.park()
    assert weights.bytes == told
    assert len({parameter.untyped_storage().data_ptr() for parameter in model.parameters()}) == 1
    assert size <= told <= size + 256 * len(list(model.parameters()))


def test_tied_weights_stay_tied() -> None:
    """What was one tensor under two names is one on the way back."""
    table = torch.nn.Embedding(7, 4)
    head = torch.nn.Linear(4, 7, bias=False)
    head.weight = table.weight
    model = torch.nn.Sequential(table, head)
    weights = ParkedWeights(model, torch.device("cpu"))
    weights.park()
    weights.restore()
    assert head.weight is table.weight
    assert weights.bytes == 256


def test_views_of_one_tensor_keep_their_places() -> None:
    """Parameters that share memory, in whatever order of their elements, share it afterwards."""
    both = torch.arange(12.0).reshape(3, 4)
    model = torch.nn.ParameterList([torch.nn.Parameter(both[1:]), torch.nn.Parameter(both.T)])
    weights = ParkedWeights(model, torch.device("cpu"))
    weights.park()
    weights.restore()
    assert torch.equal(model[0], torch.arange(4.0, 12.0).reshape(2, 4))
    assert torch.equal(model[1], torch.arange(12.0).reshape(3, 4).T)
    assert model[0].untyped_storage().data_ptr() == model[1].untyped_storage().data_ptr()


def test_weights_that_came_to_a_model_on_the_device_are_copied_too() -> None:
    """An adapter that was added after the first copy leaves with its base."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    weights = ParkedWeights(model, torch.device("cpu"))
    weights.park()
    weights.restore()
    model.append(torch.nn.Linear(2, 2))
    expected = [parameter.clone() for parameter in model.parameters()]
    weights.park()
    weights.restore()
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), expected, strict=True))


def test_buffers_return_as_the_last_forward_left_them() -> None:
    """They may change on the device, so they are not taken from the first copy."""
    model = torch.nn.BatchNorm1d(2)
    weights = ParkedWeights(model, torch.device("cpu"))
    weights.park()
    weights.restore()
    model.running_mean += 1
    weights.park()
    weights.restore()
    assert torch.equal(model.running_mean, torch.ones(2))


def test_only_plain_tensors_on_the_device_can_be_parked() -> None:
    """Quantised weights are of classes that own their memory, and some models lie on several devices."""
    assert can_park(torch.nn.Linear(2, 2), torch.device("cpu"))
    assert not can_park(torch.nn.Linear(2, 2, device="meta"), torch.device("cpu"))


def test_an_evicted_model_returns_from_host_memory(serve: Serve, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read for it, its tasks are there, and it answers as before."""
    engine = serve(size * 3 // 2, host=3 * size)
    first = ask(engine, "a")
    load(engine, "b")
    assert warm(engine) == ["b/1"]
    monkeypatch.setattr(reading, "read_model", lambda *args, **options: pytest.fail("it was read"))
    assert ask(engine, "a") == first
    assert warm(engine) == ["a/1"]


def test_an_unload_reaches_what_is_in_host_memory(serve: Serve, size: int) -> None:
    """Nothing of the model is left, and the bytes are told."""
    engine = serve(size * 3 // 2, host=3 * size)
    load(engine, "a")
    load(engine, "b")
    assert engine.unload("a") > 0
    assert engine.unload("a") == 0


def test_an_unload_leaves_no_copy_of_a_model_that_came_back(serve: Serve, size: int) -> None:
    """Its copy is worth nothing without it."""
    engine = serve(size * 3 // 2, host=3 * size)
    for model in ("a", "b", "a"):
        load(engine, model)
    assert engine.host_bytes > 2 * size
    engine.unload("a")
    assert 0 < engine.host_bytes < 2 * size


# -- time to live ----------------------------------------------------------------------------------------------------


def test_an_idle_model_leaves_after_its_time_to_live(serve: Serve, size: int) -> None:
    """The engine sees to it by itself, and says so; a pinned model stays."""
    gone = threading.Event()

    def on_change() -> None:
        if warm(engine) == ["b/1"]:
            gone.set()

    engine = serve(9 * size, ttl_s=0.2, on_change=on_change)
    load(engine, "b", pin=True)
    load(engine, "a")
    assert gone.wait(LIMIT_S)


# -- full memory -----------------------------------------------------------------------------------------------------


def test_a_batch_without_memory_has_idle_models_leave_and_is_answered(
    serve: Serve, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller hears nothing of it."""
    engine = serve(9 * size)
    expected = ask(engine, "a")
    load(engine, "b")
    task = next(entry.value.task for entry in engine.cache.entries() if entry.key.name == "a")
    forward, full = task.forward, iter([True])

    def short(batch: Any, plan: Any) -> Any:
        if next(full, False):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(batch, plan)

    monkeypatch.setattr(task, "forward", short)
    assert ask(engine, "a") == expected
    assert warm(engine) == ["a/1"]


def test_a_load_without_memory_says_so(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no fault of the files."""

    def full(*args: Any, **options: Any) -> Any:
        with reading.translated("the model", ArtifactError):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(reading, "read_model", full)
    with pytest.raises(OutOfMemory, match="unload a model"):
        load_components(store.path("a", 1))


def test_another_error_is_no_lack_of_memory() -> None:
    """It passes as it is."""
    with pytest.raises(RuntimeError, match="shapes do not fit"), within_memory("the model"):
        raise RuntimeError("shapes do not fit")


# -- budgets ---------------------------------------------------------------------------------------------------------


def test_a_cpu_takes_no_second_tier() -> None:
    """Its host's memory is its own; 0 asks for none."""
    with pytest.raises(ConfigurationError, match="WARMLANE_CACHE_BYTES"):
        device.find("cpu", host_bytes=Size(share=0.1))
    assert device.find("cpu", host_bytes=Size(0)).host_bytes == 0


def test_a_container_has_the_memory_that_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the machine's would be more than the kernel lets it have."""
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(device, "_CGROUP_LIMIT", limit)
    unlimited = device.ram_bytes()
    limit.write_text("max\n")
    assert device.ram_bytes() == unlimited
    limit.write_text("500000000\n")
    assert device.find("cpu").cache_bytes == 250_000_000
