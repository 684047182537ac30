"""Models on a GPU: where they lie, in which type, and that they answer there as anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny
from tests.fleet import Fleet
from tests.gpu.conftest import MODEL_BYTES, Serve
from warmlane_workers.engine.device import measure
from warmlane_workers.flavor.load import load_components


def resident_of_its_own() -> int:
    """Bytes of this process in host memory that are not mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) * 1024


def test_a_model_lies_on_the_device_whole(serve: Serve) -> None:
    """All weights and buffers are there; the report says so, and what they take."""
    serving = serve()
    report = serving.load("a", pin=True)
    model = serving.model("a")
    assert {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())} == {"cuda:0"}
    assert (report["device"], report["bytes"], report["pinned"]) == ("cuda:0", measure(model), True)
    assert report["bytes"] == pytest.approx(MODEL_BYTES, rel=0.1)


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1.0), ("bfloat16", 0.5), ("float16", 0.5)])
def test_a_type_override_decides_what_a_model_takes(serve: Serve, dtype: str, share: float) -> None:
    """The device's own count grows by half in a type of half the size."""
    serving = serve()
    before = torch.cuda.memory_allocated()
    report = serving.load("a", dtype)
    assert report["dtype"] == dtype
    assert torch.cuda.memory_allocated() - before == pytest.approx(MODEL_BYTES * share, rel=0.1)


def test_weights_go_straight_to_the_device(serve: Serve) -> None:
    """The host does not hold the model as well."""
    serving = serve()
    serving.load("b")  # what a first load takes for ever
    before = resident_of_its_own()
    serving.load("a")
    assert resident_of_its_own() - before < MODEL_BYTES / 2


def test_the_device_answers_as_the_cpu_does(serve: Serve) -> None:
    """Single precision: the same scores, but for the order of sums."""
    serving = serve()
    rows = tiny.texts(32)
    components = load_components(serving.store.path("a", 1), dtype="float32", device="cpu")
    answers = serving.ask("a", rows, "float32")
    for row, answer in zip(rows, answers, strict=True):
        with torch.inference_mode():
            logits = components["model"](**components["tokenizer"](row, return_tensors="pt")).logits[0]  # (labels,)
        assert answer["score"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-3)


def test_a_batch_answers_as_each_row_alone(serve: Serve) -> None:
    """Whatever rows meet on the device: floats within 1e-4."""
    serving = serve()
    rows = tiny.texts(64)
    together = serving.ask("embed", rows, "float32", pooling="mean")
    for row, vector in zip(rows, together, strict=True):
        np.testing.assert_allclose(vector, serving.ask("embed", row, "float32", pooling="mean"), atol=1e-4)


def test_half_precision_answers_like_single(serve: Serve) -> None:
    """bfloat16 has 8 bits of precision, and is fast here: the vectors point the same way."""
    serving = serve()
    rows = tiny.texts(16)
    exact = np.stack(serving.ask("embed", rows, "float32", pooling="mean", normalize=True))
    half = np.stack(serving.ask("embed", rows, "bfloat16", pooling="mean", normalize=True)).astype(np.float32)
    assert ((exact * half).sum(-1) > 0.99).all()


def test_greedy_generation_is_the_same_alone_and_in_a_batch(serve: Serve) -> None:
    """Token by token."""
    serving = serve()
    rows = ["the cat", "a long story of rain", "play"]
    together = serving.ask("generate", rows, "float32", max_new_tokens=8, do_sample=False)
    assert together == [serving.ask("generate", row, "float32", max_new_tokens=8, do_sample=False) for row in rows]


def test_a_worker_serves_on_the_gpu_it_was_given(tmp_path: Path) -> None:
    """Its process sees that one as number 0, and the registry says so."""
    with Fleet(tmp_path) as fleet:
        fleet.start_worker("--devices", "0")
        source = tiny.save("text-classification", tmp_path / "source")
        with fleet.client() as client:
            client.save("classify", source).result(timeout=60)
            assert client.load("classify").result(timeout=60)["device"] == "cuda:0"
            assert len(client.predict("classify", ["a cat"]).result(timeout=60)) == 1
            assert [worker.device for worker in client.workers()] == ["cuda:0"]
