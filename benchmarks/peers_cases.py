"""The models that `benchmarks.peers` measures: MiniLM with its weights, and two classifiers drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet import minilm


@dataclass(frozen=True)
class Case:
    """A model, how it is asked, and how much faster than each peer warmlane wants to be.

    Attributes:
        params: of warmlane's predict, so that it answers what the peers answer.
        rows: how many of the texts it is asked.
        aims: name of another system -> rows per CPU second, as a multiple of its own.
    """

    name: str
    task: str
    make: Callable[[Path], Path]
    rows: int
    params: dict[str, Any] = field(default_factory=dict)
    aims: dict[str, float] = field(default_factory=dict)


_DIRECT = {"direct, sorted": 0.95, "bare pipeline": 1.0}
_AIMS = {**_DIRECT, "Dramatiq": 1.7, "LitServe": 2.5, "Ray Serve": 3.0, "MLflow": 3.5}
_TINY = {"Dramatiq": 5.0, "MLflow": 5.0, "bare pipeline": 1.0}


def _distilbert(home: Path) -> Path:
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification

    return _save(
        home / "distilbert",
        DistilBertForSequenceClassification(DistilBertConfig()),  # type: ignore[no-untyped-call]
        AutoTokenizer.from_pretrained(minilm()),  # type: ignore[no-untyped-call]
    )


def _tiny(home: Path) -> Path:
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    return _save(home / "tiny", BertForSequenceClassification(config), AutoTokenizer.from_pretrained(minilm()))  # type: ignore[no-untyped-call]


def _save(directory: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


CASES = (
    Case(
        "minilm",
        "feature-extraction",
        lambda home: minilm(),
        256,
        {"pooling": "mean", "normalize": True, "truncation": True},
        _AIMS,
    ),
    Case("distilbert", "text-classification", _distilbert, 128, {"truncation": True}, _AIMS),
    Case("tiny", "text-classification", _tiny, 1024, {"truncation": True}, _TINY),
)
