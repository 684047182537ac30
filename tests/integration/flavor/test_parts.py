"""Components: what may be one, and which of them a task cannot do without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from tests import tiny
from tests.artifacts import conf, refused
from warmlane.errors import SourceError, UnsupportedModel
from warmlane_workers.flavor import load_model, save_model

SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PICTURE: dict[str, Any] = {"image_size": 8, "patch_size": 4}


def pictures() -> Any:
    return CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})


def words() -> Any:
    tokenizer = tiny.byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def llava(directory: Path) -> Path:
    """A model that reads a picture among words; its checkpoint has a processor."""
    tokenizer = words()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**PICTURE, **SMALL),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **SMALL),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(directory)
    processor: Any = LlavaProcessor
    processor(
        image_processor=pictures(),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(directory)
    return directory


def clip(directory: Path) -> Path:
    """A model that compares pictures with words; its checkpoint has a processor, which its task does without."""
    tokenizer = words()
    text = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, **SMALL}
    CLIPModel(CLIPConfig(text_config=text, vision_config={**PICTURE, **SMALL}, projection_dim=8)).save_pretrained(
        directory
    )
    processor: Any = CLIPProcessor
    processor(image_processor=pictures(), tokenizer=tokenizer).save_pretrained(directory)
    return directory


def test_a_processor_that_its_task_needs_is_found(tmp_path: Path, target: Path) -> None:
    """A checkpoint of an image-text-to-text model is saved with its processor, and answers after a load."""
    save_model(llava(tmp_path / "llava"), target)
    assert conf(target)["task"] == "image-text-to-text"
    assert conf(target)["processor_type"] == "LlavaProcessor"
    pipe = load_model(target, device="cpu")
    answers = pipe(images=[Image.new("RGB", (9, 9))], text=["<image> the dog"], generate_kwargs={"max_new_tokens": 2})
    assert "dog" in answers[0]["generated_text"]


def test_a_pipeline_with_a_processor_is_saved_again(tmp_path: Path, target: Path) -> None:
    """The pipeline that was loaded saves as its checkpoint did."""
    save_model(llava(tmp_path / "llava"), tmp_path / "first")
    save_model(load_model(tmp_path / "first", device="cpu"), target)
    assert type(load_model(target, device="cpu").processor).__name__ == "LlavaProcessor"


def test_a_processor_is_taken_apart_for_a_task_that_takes_none(tmp_path: Path, target: Path) -> None:
    """Its image processor lies in the processor's own file, and is a component like the tokenizer."""
    save_model(clip(tmp_path / "clip"), target)
    assert conf(target)["components"] == ["tokenizer", "image_processor"]
    assert "processor_type" not in conf(target)
    answers = load_model(target, device="cpu")(Image.new("RGB", (9, 9)), candidate_labels=["dog", "cat"])
    assert {answer["label"] for answer in answers} == {"dog", "cat"}


WRONG: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("tokenizer", "BertForSequenceClassification is no tokenizer", lambda pipe: pipe.model),
    ("tokenizer", "NoneType is no tokenizer", lambda pipe: None),
    ("tokenizer", "int is no tokenizer", lambda pipe: 5),
    ("feature_extractor", "is no feature extractor", lambda pipe: pipe.tokenizer),
    ("image_processor", "is no image processor", lambda pipe: pipe.tokenizer),
]


@pytest.mark.parametrize(("name", "message", "make"), WRONG, ids=[message for _, message, _ in WRONG])
def test_a_component_of_another_kind_is_refused(
    base: Any, tokenizer: Any, target: Path, name: str, message: str, make: Callable[[Any], Any]
) -> None:
    """The message names the component and what was given for it."""
    given = {"model": base, "tokenizer": tokenizer, name: make(SimpleNamespace(model=base, tokenizer=tokenizer))}
    assert refused(UnsupportedModel, message, given, target).details["field"] == name


@pytest.mark.parametrize("given", ["tokenizer", 17])
def test_a_processor_of_another_kind_is_refused(classifier: Path, tokenizer: Any, target: Path, given: Any) -> None:
    """A tokenizer is a component of its own."""
    processor = tokenizer if given == "tokenizer" else given
    refused(UnsupportedModel, "is no processor", classifier, target, processor=processor)


def test_a_revision_of_objects_is_refused(base: Any, tokenizer: Any, artifact: Path, target: Path) -> None:
    """Only a hub id has revisions: beside anything else one would be dropped in silence."""
    pipe = load_model(artifact, device="cpu")
    for given in ({"model": base, "tokenizer": tokenizer}, {"model": str(artifact / "model")}, artifact, pipe):
        error = refused(SourceError, "only a hub id does", given, target, revision="main")
        assert error.details["field"] == "revision"
