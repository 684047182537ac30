"""Processors: given apart from the components, kept, and given back with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from tests import tiny
from tests.artifacts import conf, files
from warmlane.errors import InvalidInput, UnknownComponent
from warmlane_workers.flavor import load_model, save_model


@pytest.fixture
def processor(checkpoints: dict[str, Path]) -> Any:
    """One that needs no package for pictures or sound."""
    tokenizer = tiny.tokenizer(checkpoints["text-classification"])
    kind: Any = Wav2Vec2Processor
    features: Any = Wav2Vec2FeatureExtractor
    return kind(feature_extractor=features(), tokenizer=tokenizer)


@pytest.fixture(params=["object", "directory"])
def saved(
    checkpoints: dict[str, Path], processor: Any, tmp_path: Path, target: Path, request: pytest.FixtureRequest
) -> Path:
    """A classifier with a processor, however that was given."""
    given = processor
    if request.param == "directory":
        processor.save_pretrained(tmp_path / "processor")
        given = str(tmp_path / "processor")
    save_model(checkpoints["text-classification"], target, processor=given)
    return target


def test_a_processor_is_kept_beside_the_components(saved: Path) -> None:
    """It has its directory and its type in the flavor; MLflow's list of components does not name it."""
    assert "components/processor/processor_config.json" in files(saved)
    assert conf(saved)["processor_type"] == "Wav2Vec2Processor"
    assert conf(saved)["components"] == ["tokenizer"]


def test_a_processor_comes_back_with_the_components(saved: Path, processor: Any) -> None:
    """It is the saved one, tokenizer and all."""
    components = load_model(saved, return_type="components")
    assert set(components) == {"task", "model", "tokenizer", "processor", "dtype"}
    assert components["processor"].to_dict() == processor.to_dict()
    assert components["processor"].tokenizer("the dog")["input_ids"] == processor.tokenizer("the dog")["input_ids"]


def test_a_model_with_a_processor_makes_no_pipeline(saved: Path) -> None:
    """A text pipeline has no place for one: the load is refused before weights are read, and says what works."""
    (saved / "model" / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="return_type='components'"):
        load_model(saved)


def test_a_processor_is_a_component_by_its_name(saved: Path) -> None:
    """It can be loaded alone, without weights."""
    assert type(load_model(saved, components=["processor"])["processor"]) is Wav2Vec2Processor


def test_a_processor_in_the_dict_is_refused(classifier: Path, processor: Any, target: Path) -> None:
    """It has an argument of its own, as in MLflow."""
    with pytest.raises(UnknownComponent, match="processor"):
        save_model({"model": str(classifier), "processor": processor}, target)
