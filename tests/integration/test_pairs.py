"""Pairs of texts: tokens of the second are of another segment, where the model was trained so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny_text
from tests.inprocess import Served, seeded

PAIR = {"text": "the cat sat on the tree", "text_pair": "a dog ran"}


def checkpoint(made: dict[str, Any], directory: Path, tokenizer_class: str) -> Path:
    """A model's directory whose tokenizer is of a plain class, as the one or the other transformers names it."""
    for part in made.values():
        part.save_pretrained(directory)
    file = directory / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tokenizer_class": tokenizer_class}))
    return directory


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    found = seeded(tiny_text.zero_shot_classification)
    found["model"].eval()
    return found


@pytest.fixture(scope="module")
def served(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("pairs")
    with Served(root) as engine:
        for name, written in (("old", "PreTrainedTokenizerFast"), ("new", "TokenizersBackend")):
            directory = checkpoint(made, root / name, written)
            engine.add_directory(name, directory, "text-classification")
            engine.add_directory(f"{name}-zero", directory, "zero-shot-classification")
        yield engine


@pytest.fixture(scope="module")
def scores(made: dict[str, Any]) -> Callable[..., Any]:
    """What the model says to a pair, with segments or without: probabilities (labels,)."""

    def found(text: str, pair: str, *, segments: bool) -> Any:
        inputs = made["tokenizer"](text, pair, return_tensors="pt", return_token_type_ids=segments)
        with torch.inference_mode():
            return made["model"](**inputs).logits[0].softmax(-1)

    return found


@pytest.mark.parametrize(("name", "segments"), [("old", True), ("new", False)])
def test_a_pair_is_read_as_its_model_was_trained(
    served: Served, scores: Callable[..., Any], name: str, segments: bool
) -> None:
    """What transformers 4 wrote gets segments, as it did there; what transformers 5 wrote gets none, as it does."""
    expected = scores(*PAIR.values(), segments=segments)
    answer = served.predict(name, [PAIR])
    assert answer["score"] == pytest.approx([float(expected.max())], abs=1e-5)
    other = scores(*PAIR.values(), segments=not segments)
    assert float((other - expected).abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "segments"), [("old-zero", True), ("new-zero", False)])
def test_a_label_is_the_second_of_a_pair(served: Served, scores: Callable[..., Any], name: str, segments: bool) -> None:
    """Zero-shot classification asks about pairs, and reads them in the same way."""
    row = {"sequences": PAIR["text"], "candidate_labels": ["dog"]}
    answer = served.predict(name, row, multi_label=True)
    against, _, for_it = scores(PAIR["text"], "This example is dog.", segments=segments)
    assert answer["scores"] == pytest.approx([float(for_it / (against + for_it))], abs=1e-5)


def test_a_model_without_segments_gets_none(tmp_path: Path) -> None:
    """Whatever class its tokenizer has: a prompt is still answered as by the bare pipeline."""
    made = seeded(tiny_text.text_generation)
    with Served(tmp_path / "store") as engine:
        engine.add_directory("old", checkpoint(made, tmp_path / "gpt", "PreTrainedTokenizerFast"), "text-generation")
        engine.add("new", "text-generation", made)
        assert engine.predict("old", "the cat") == engine.predict("new", "the cat")
