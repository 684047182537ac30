"""Running batches on a GPU: the same tokens as plain `generate`, and their memory comes and goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from tests import tiny
from tests.gpu.conftest import Serve, Serving
from warmlane_workers.engine import running
from warmlane_workers.engine.running import RunningBatch

GREEDY: dict[str, Any] = {"do_sample": False, "return_full_text": False}


def batch_of(serving: Serving) -> RunningBatch | None:
    """The batch in which the greedy texts of the one warm model run."""
    [entry] = serving.engine.cache.entries()
    return entry.value.running.get(False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_answers_in_a_running_batch_as_alone(serve: Serve, dtype: str) -> None:
    """It passes its check in each type; in single precision sixteen texts at a time are those of one at a time."""
    serving = serve()
    rows = tiny.texts(16, longest=12)

    def ask(row: str) -> Any:
        return serving.ask("generate", [row], dtype, max_new_tokens=10, **GREEDY)

    alone = [ask(row) for row in rows]
    batch = batch_of(serving)
    assert batch is not None
    assert batch.runs
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, rows))
    assert dtype != "float32" or together == alone
    assert batch.runs


def test_keys_and_values_leave_with_the_batch(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's own count is what it was before the batch began."""
    serving = serve()
    serving.ask("generate", ["the cat"], "float32", max_new_tokens=2, num_beams=2, **GREEDY)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    serving.ask("generate", ["the cat"], "float32", max_new_tokens=2, **GREEDY)
    batch = batch_of(serving)
    assert batch is not None
    assert torch.cuda.memory_allocated() > before
    monkeypatch.setattr(running, "LINGER_S", 0.0)
    batch.wait(30)
    assert not batch.runs
    assert torch.cuda.memory_allocated() == pytest.approx(before, abs=2**20)
