"""Processors: a component of their own, in both directions. MLflow makes no pipeline of a model that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import transformers
from mlflow.exceptions import MlflowException

from interop.questions import QUESTIONS, picture, same, tone
from tests.tiny_media import image_text
from tests.tiny_native import components, seeded
from warmlane_workers import flavor

SPEECH = "automatic-speech-recognition"


def whisper() -> tuple[dict[str, Any], Any]:
    """The components of a Whisper, and its processor over two of them."""
    parts = components("speech-whisper")
    return parts, transformers.WhisperProcessor(parts["feature_extractor"], parts["tokenizer"])


def read_sound(processor: Any) -> Any:
    return processor(tone(), sampling_rate=16_000, return_tensors="np").input_features


def test_a_processor_is_a_component(tmp_path: Path) -> None:
    """A processor saved by warmlane loads in MLflow as a component; as with its own, it makes no pipeline then."""
    parts, processor = whisper()
    path = str(tmp_path / "model")
    flavor.save_model(parts, path, processor=processor, task=SPEECH)
    loaded = mlflow.transformers.load_model(path, return_type="components")
    assert type(loaded["processor"]) is transformers.WhisperProcessor
    assert same(read_sound(loaded["processor"]), read_sound(processor))
    with pytest.raises(MlflowException, match="processor"):
        mlflow.transformers.load_model(path)


def test_we_load_mlflows_processor(tmp_path: Path) -> None:
    """A processor saved by MLflow is among the components that warmlane loads."""
    parts, processor = whisper()
    mlflow.transformers.save_model(
        transformers.pipeline(SPEECH, device="cpu", **parts),
        str(tmp_path / "model"),
        processor=processor,
        pip_requirements=["transformers"],
    )
    loaded = flavor.load_model(tmp_path / "model", return_type="components")
    assert same(read_sound(loaded["processor"]), read_sound(processor))


def test_a_processor_that_its_pipeline_does_not_need(tmp_path: Path) -> None:
    """A pipeline that was made with a processor and works without it is still one after a save, in both."""
    parts, processor = whisper()
    source = transformers.pipeline(SPEECH, processor=processor, device="cpu", **parts)
    flavor.save_model(source, tmp_path / "model")
    question = QUESTIONS["speech-whisper"]
    expected = question.ask(source)
    assert same(question.ask(flavor.load_model(tmp_path / "model")), expected)
    assert same(question.ask(mlflow.transformers.load_model(str(tmp_path / "model"))), expected)


def describe(pipeline: Any) -> Any:
    return pipeline(images=picture(), text="<image> the cat")


def test_a_processor_that_its_pipeline_needs(tmp_path: Path) -> None:
    """A pipeline of pictures in texts comes back from warmlane, and from MLflow as components that make it again."""
    source = transformers.pipeline("image-text-to-text", device="cpu", **seeded(image_text))
    flavor.save_model(source, tmp_path / "model")
    assert same(describe(flavor.load_model(tmp_path / "model")), describe(source))
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"), return_type="components")
    assert same(describe(transformers.pipeline(**loaded)), describe(source))


def test_a_pipeline_that_mlflow_saved_with_its_processor(tmp_path: Path) -> None:
    """What MLflow gives as components only, warmlane gives as the pipeline that it was."""
    parts = seeded(image_text)
    source = transformers.pipeline("image-text-to-text", device="cpu", **parts)
    mlflow.transformers.save_model(
        source, str(tmp_path / "model"), processor=parts["processor"], pip_requirements=["transformers"]
    )
    assert same(describe(flavor.load_model(tmp_path / "model")), describe(source))
