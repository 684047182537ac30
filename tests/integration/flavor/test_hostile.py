"""Artifacts and arguments that somebody wrote to do harm, or by mistake: each ends in an error of ours, soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TextClassificationPipeline

from tests.artifacts import TEXT, conf, refused, rewrite
from warmlane.errors import (
    ArtifactDamaged,
    ArtifactError,
    InvalidInput,
    InvalidPromptTemplate,
    SourceError,
    UnsupportedModel,
)
from warmlane_workers.flavor import load_model, save_model


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/etc/passwd", "../other.safetensors", "model/../../x.safetensors", "MLmodel"]
)
def test_the_list_of_weights_names_no_other_file(broken: Path, name: str) -> None:
    """A list that leads out of the artifact is refused before anything is opened."""
    rewrite(broken, warmlane={"format": 1, "files": {name: [0, "x", 1]}})
    with pytest.raises(ArtifactDamaged, match="names another file"):
        load_model(broken)


@pytest.mark.parametrize("listed", [3, "x", [1], {"model/model.safetensors": 1}, {"model/model.safetensors": [1, 2]}])
def test_a_list_of_weights_of_another_shape_is_damage(broken: Path, listed: Any) -> None:
    """Whatever stands in its place."""
    rewrite(broken, warmlane={"format": 1, "files": listed})
    with pytest.raises(ArtifactDamaged):
        load_model(broken)


def test_a_link_deep_in_a_checkpoint_stays_within_the_roots(classifier: Path, target: Path, tmp_path: Path) -> None:
    """A tokenizer's templates are read from a directory below it: no link in there leads out."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (classifier / "additional_chat_templates").mkdir()
    (classifier / "additional_chat_templates" / "x.jinja").symlink_to(secret)
    refused(SourceError, "outside the directories", str(classifier), target, source_roots=(classifier,))


def test_a_tokenizer_that_is_no_json_is_told(broken: Path) -> None:
    """The tokenizers library raises the base class of all errors; it is one of ours."""
    (broken / "components" / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match="tokenizer does not load"):
        load_model(broken)


@pytest.mark.parametrize("tag", ["!!int ''", "!!float ''", "!!timestamp foo", "!!bool foo", "[" * 5000])
def test_yaml_that_its_reader_cannot_read_is_damage(broken: Path, tag: str) -> None:
    """Also where the reader ends in an error that is none of YAML's."""
    (broken / "MLmodel").write_text(f"a: {tag}\n")
    with pytest.raises(ArtifactDamaged, match="not readable as YAML"):
        load_model(broken)


@pytest.mark.parametrize("name", ["metadata", "model_config"])
@pytest.mark.parametrize(
    "value", [{"a": "x" * 200_000}, {("t", 1): 2}, {"a": numpy.ones(2)}, {"a": Path("x")}, ["x"]], ids=range(5)
)
def test_what_could_not_be_read_back_is_refused(classifier: Path, target: Path, name: str, value: Any) -> None:
    """Metadata and configuration are plain data of a size that is read in no time."""
    refused(InvalidInput, name, str(classifier), target, **{name: value})


@pytest.mark.parametrize("template", ["{prompt!z}", "{prompt:zz}", "{prompt:{prompt}}"])
def test_a_template_that_can_frame_nothing_is_refused(
    template: str, checkpoints: dict[str, Path], target: Path
) -> None:
    """It has the one field, and no text can be put there."""
    refused(
        InvalidPromptTemplate,
        "exactly one field",
        str(checkpoints["text-generation"]),
        target,
        prompt_template=template,
    )


def test_an_adapter_that_transformers_put_into_a_model_is_refused(classifier: Path, target: Path) -> None:
    """Such a model saves its adapter alone, and its weights would be lost."""
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    model.add_adapter(LoraConfig(target_modules=["query"]))
    source = {"model": model, "tokenizer": AutoTokenizer.from_pretrained(classifier)}
    refused(UnsupportedModel, "get_peft_model", source, target, task="text-classification")


def test_a_pipeline_made_by_its_class_knows_its_task(classifier: Path, target: Path) -> None:
    """It has no task of its own; its class serves one."""
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    pipe: Any = TextClassificationPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(classifier))
    save_model(pipe, target)
    assert conf(target)["task"] == "text-classification"
    assert load_model(target)(TEXT)[0]["label"] == pipe(TEXT)[0]["label"]
