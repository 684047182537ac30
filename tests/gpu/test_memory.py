"""The GPU's memory: it returns when models leave, what the host keeps comes back, and a full device fails nothing that
fits."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.gpu.conftest import MODEL_BYTES, Serve, Serving
from warmlane.errors import CacheFull, OutOfMemory
from warmlane_workers.flavor import reading

Limit = Callable[[int], None]

#: As long as BERT reads, so that all rows of it are one batch.
LONG = "river stone house " * 150


def allocated() -> int:
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def never(*args: Any, **options: Any) -> Any:
    raise AssertionError("it was read from the store")


# -- leaving ---------------------------------------------------------------------------------------------------------


def test_an_unloaded_model_leaves_nothing_on_the_device(serve: Serve) -> None:
    """Tensors and the allocator's own reserve: what was free before is free again."""
    serving = serve()
    serving.ask("a", ["warm up"])
    serving.clear()
    before, free = allocated(), torch.cuda.mem_get_info()[0]
    serving.ask("a", ["a cat"] * 16)
    assert allocated() - before >= MODEL_BYTES * 0.9
    serving.clear()
    assert allocated() == before
    assert torch.cuda.mem_get_info()[0] >= free


def test_models_that_take_turns_leak_nothing(serve: Serve) -> None:
    """Twenty evictions end where the first did."""
    serving = serve(memory=MODEL_BYTES * 3 // 2)
    counts = []
    for _ in range(7):
        for name in "abc":
            serving.ask(name, ["a cat"])
        counts.append(allocated())
    assert max(counts) == min(counts)
    assert serving.warm() == ["c/1"]


def test_room_is_made_on_the_device_before_a_load(serve: Serve) -> None:
    """The old model is gone when the new one comes: at no time are both there."""
    serving = serve(memory=MODEL_BYTES * 3 // 2)
    serving.load("a")
    torch.cuda.reset_peak_memory_stats()
    before = allocated()
    serving.load("b")
    assert torch.cuda.max_memory_allocated() - before < MODEL_BYTES / 2


def test_a_model_larger_than_the_budget_is_refused_unread(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files say how large it would be."""
    serving = serve(memory=MODEL_BYTES // 2)
    monkeypatch.setattr(reading, "read_model", never)
    with pytest.raises(CacheFull):
        serving.load("a")


# -- host memory -----------------------------------------------------------------------------------------------------


def two_that_swap(serve: Serve) -> Serving:
    """A device with room for one of two models, and a host with room for both."""
    return serve(memory=MODEL_BYTES * 3 // 2, host=MODEL_BYTES * 3)


def test_an_evicted_model_waits_in_pinned_host_memory(serve: Serve) -> None:
    """Nothing of it is left on the device."""
    serving = two_that_swap(serve)
    serving.load("a")
    model, with_a = serving.model("a"), allocated()
    serving.load("b")
    assert {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())} == {"cpu"}
    assert next(model.parameters()).is_pinned()
    assert allocated() == pytest.approx(with_a, rel=0.05)


def test_a_model_comes_back_from_host_memory_unread_and_answers_the_same(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: the second time its copy is there already."""
    serving = two_that_swap(serve)
    rows = ["a cat", "a long story of rain"]
    first = {name: serving.ask(name, rows, "float32") for name in "ab"}
    monkeypatch.setattr(reading, "read_model", never)
    for _ in range(3):
        for name in "ab":
            assert serving.ask(name, rows, "float32") == first[name]
    assert serving.warm() == ["b/1"]


def test_swapping_leaks_nothing(serve: Serve) -> None:
    """Neither on the device nor in the host's tier."""
    serving = two_that_swap(serve)
    counts = []
    for _ in range(6):
        for name in "ab":
            serving.load(name)
        counts.append((allocated(), serving.engine.host_bytes))
    assert len(set(counts[1:])) == 1


def test_an_unload_empties_the_host_as_well(serve: Serve) -> None:
    """No copy stays, and no pinned page."""
    serving = two_that_swap(serve)
    before = allocated()
    serving.load("a")
    serving.load("b")
    serving.clear()
    assert (allocated(), serving.engine.host_bytes) == (before, 0)


# -- a full device ---------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_run_by_halves(serve: Serve, limit: Limit) -> None:
    """All rows are answered, as on a device with room."""
    serving = serve(batch_tokens=1_000_000)
    [expected] = serving.ask("a", [LONG], "float32", truncation=True)
    # 512 rows of 512 tokens have 2 GB in their widest layer alone.
    limit(700_000_000)
    answers = serving.ask("a", [LONG] * 512, "float32", truncation=True)
    assert len(answers) == 512
    assert {answer["label"] for answer in answers} == {expected["label"]}
    assert all(answer["score"] == pytest.approx(expected["score"], abs=1e-3) for answer in answers)


def test_a_load_that_does_not_fit_has_idle_models_leave(serve: Serve, limit: Limit) -> None:
    """The budget would allow both, the device does not."""
    serving = serve()
    serving.load("a")
    limit(MODEL_BYTES // 2)
    serving.load("b")
    assert serving.warm() == ["b/1"]


def test_a_load_that_fits_nowhere_says_so_and_harms_nothing(serve: Serve, limit: Limit) -> None:
    """What is pinned stays and is served; when there is memory again, the model loads."""
    serving = serve()
    serving.load("a", pin=True)
    before = allocated()
    limit(MODEL_BYTES // 2)
    with pytest.raises(OutOfMemory, match="unload a model"):
        serving.load("b")
    assert allocated() == before
    torch.cuda.set_per_process_memory_fraction(1.0)
    serving.load("b")
    assert serving.warm() == ["a/1", "b/1"]


# -- two processes ---------------------------------------------------------------------------------------------------

_HOLD = """
from warmlane_workers.engine import device
device.find("0")
device.hold(alone={alone})
print("held", flush=True)
input()
"""


def holder(alone: bool) -> subprocess.Popen[str]:
    """A process that claims the GPU as a worker does, until its input ends."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD.format(alone=alone)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def held(process: subprocess.Popen[str]) -> bool:
    """Whether it got the GPU; one that did not has ended."""
    assert process.stdout is not None
    return process.stdout.readline() == "held\n"


@pytest.mark.parametrize(
    ("first", "second", "shared"), [(True, True, False), (True, False, False), (False, False, True)]
)
def test_two_processes_share_a_gpu_only_where_both_have_a_budget(first: bool, second: bool, shared: bool) -> None:
    """A worker without one takes most of the device: it has it alone, and the other is told how to share."""
    one, other = holder(first), None
    try:
        assert held(one)
        other = holder(second)
        assert held(other) == shared
        if not shared:
            assert "WARMLANE_CACHE_BYTES" in other.communicate(timeout=60)[1]
    finally:
        for process in (one, other):
            if process is not None:
                process.communicate(timeout=60)
