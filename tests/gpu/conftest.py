"""What needs a GPU: `python -m pytest tests/gpu` on a machine that has one. Elsewhere nothing here is collected, so no
test is ever skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tests import tiny
from tests.inprocess import Records
from warmlane.jobs import LoadJob, PredictJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]

#: Nearly what each of the models `a`, `b` and `c` takes, in bytes.
MODEL_BYTES = 80_000_000


class Serving:
    """An engine on the GPU, and what one asks of it."""

    def __init__(self, store: ModelStore, place: device.Device) -> None:
        self.store = store
        self.engine = Engine(store, place, source_roots=(), trust_remote_code=False, on_change=lambda: None)
        self.engine.start()

    def load(self, model: str, dtype: str | None = None, **options: Any) -> dict[str, Any]:
        return self.engine.load(LoadJob(model=model, dtype=dtype, **options), self._context())

    def ask(self, model: str, rows: Any, dtype: str | None = None, **params: Any) -> Any:
        job = PredictJob(model=model, inputs=rows, dtype=dtype, params=params, output="native")
        return self.engine.predict(job, self._context())

    def model(self, name: str) -> Any:
        """The object of a warm model."""
        [entry] = [entry for entry in self.engine.cache.entries() if entry.key.name == name]
        return entry.value.components["model"]

    def warm(self) -> list[str]:
        return sorted(model.model for model in self.engine.warm())

    def clear(self) -> None:
        """Unload everything."""
        for name in self.store.names():
            self.engine.unload(name)

    def _context(self) -> JobContext:
        return JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]


Serve = Callable[..., Serving]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """`a`, `b`, `c`: a classifier of 80 MB each; `classify`, `embed`, `generate`: tiny ones."""
    root = tmp_path_factory.mktemp("gpu")
    store = ModelStore(root / "models")
    config = BertConfig(
        vocab_size=20_000, hidden_size=512, num_hidden_layers=3, num_attention_heads=8, intermediate_size=2048
    )
    large = root / "large"
    torch.manual_seed(7)
    BertForSequenceClassification(config).save_pretrained(large)
    tiny.word_tokenizer().save_pretrained(large)
    sources = dict.fromkeys("abc", large)
    tasks = {"classify": "text-classification", "embed": "feature-extraction", "generate": "text-generation"}
    sources |= {name: tiny.save(task, root / name) for name, task in tasks.items()}
    for name, source in sources.items():
        store.publish(name, lambda directory, source=source: save_model(source, directory))  # type: ignore[misc]
    return store


@pytest.fixture
def serve(store: ModelStore) -> Iterator[Serve]:
    """Starts an engine on the GPU, with budgets in bytes where they are given; the device is empty afterwards."""
    started: list[Serving] = []

    def start(memory: int | None = None, host: int = 0, batch_tokens: int | None = None) -> Serving:
        place = device.find("0")
        place = dataclasses.replace(
            place,
            cache_bytes=memory or place.cache_bytes,
            host_bytes=host,
            batch_tokens=batch_tokens or place.batch_tokens,
        )
        serving = Serving(store, place)
        serving.ask("classify", ["warm up"])  # CUDA's workspaces, which stay
        serving.clear()
        started.append(serving)
        return serving

    yield start
    torch.cuda.set_per_process_memory_fraction(1.0)
    for serving in started:
        serving.clear()
        serving.engine.stop(30)


@pytest.fixture
def limit() -> Callable[[int], None]:
    """Leaves this process so many bytes beside what it has now."""

    def set_limit(spare: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + spare) / total)

    return set_limit
