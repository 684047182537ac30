"""Adapters that bring the head which their base lacks: the usual classifier, trained over an encoder.

What the adapter replaces is neither asked of the base nor compared with it; everything else is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BertConfig, BertForSequenceClassification, BertModel

from tests.artifacts import TEXT, conf, logits, refused, rewrite
from tests.hub import Hub
from tests.tiny_peft import adapt
from warmlane.errors import ArtifactDamaged, PipelineMismatch, SourceError, SourceIncomplete, WeightsDiffer
from warmlane_workers.flavor import load_model, persist_pretrained_model, save_model

TASK = "text-classification"
REPO = "acme/encoder"
LABELS = {0: "dull", 1: "fair", 2: "fine"}


@pytest.fixture
def encoder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint without a head, whose configuration tells of two labels."""
    return Path(shutil.copytree(checkpoints["feature-extraction"], tmp_path / "encoder"))


@pytest.fixture(params=["directory", "hub"])
def name(request: pytest.FixtureRequest, hub: Hub, encoder: Path) -> str:
    """What the encoder goes by."""
    if request.param == "directory":
        return str(encoder)
    hub.push(REPO, encoder)
    return REPO


def over(name: str, method: str = "lora") -> Any:
    """A classifier of three labels over an encoder, adapted."""
    numbers = {label: number for number, label in LABELS.items()}
    base = BertForSequenceClassification.from_pretrained(name, id2label=LABELS, label2id=numbers)
    return adapt(base, method)


def as_memory(model: Any, tokenizer: Any, tmp_path: Path) -> Any:
    return {"model": model, "tokenizer": tokenizer}


def as_directory(model: Any, tokenizer: Any, tmp_path: Path) -> Any:
    model.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)  # else it asks the hub
    return tmp_path / "adapter"


FORMS = pytest.mark.parametrize("form", [as_memory, as_directory], ids=["memory", "adapter directory"])


def stored(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir() if entry.is_dir()}


# -- what is saved is what is loaded -----------------------------------------------------------------------------------


@FORMS
@pytest.mark.parametrize("method", ["lora", "prompt tuning"])
def test_the_base_is_referred_to_and_the_logits_are_the_same(
    name: str, tokenizer: Any, tmp_path: Path, target: Path, form: Callable[..., Any], method: str
) -> None:
    """To the last bit: as pipeline and as components, from the reference and with the base persisted."""
    model = over(name, method)
    expected = logits(model)
    save_model(form(model, tokenizer, tmp_path), target)
    assert (stored(target) - {"components"}, conf(target)["task"]) == ({"peft"}, TASK)
    assert torch.equal(logits(load_model(target).model), expected)
    assert persist_pretrained_model(target).has_weights
    assert torch.equal(logits(load_model(target).model), expected)
    assert torch.equal(logits(load_model(target, "components")["model"]), expected)


@FORMS
def test_biases_that_were_trained_are_kept(
    encoder: Path, tokenizer: Any, tmp_path: Path, target: Path, form: Callable[..., Any]
) -> None:
    """LoRA trains those of the base in place, and writes the head's twice."""
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=["query"], bias="all", init_lora_weights=False)
    model: Any = get_peft_model(BertForSequenceClassification.from_pretrained(encoder, num_labels=5), lora).eval()
    with torch.no_grad():
        model.get_base_model().bert.pooler.dense.bias += 1
    save_model(form(model, tokenizer, tmp_path), target)
    assert torch.equal(logits(load_model(target).model), logits(model))


def test_the_labels_are_those_of_the_model(encoder: Path, tokenizer: Any, target: Path) -> None:
    """The base's configuration knows neither their names nor how many there are."""
    model = over(str(encoder))
    save_model({"model": model, "tokenizer": tokenizer}, target)
    with torch.inference_mode():
        scores = model(**tokenizer(TEXT, return_tensors="pt")).logits.softmax(-1)[0]
    said = {row["label"]: row["score"] for row in load_model(target)(TEXT, top_k=None)}
    assert said == pytest.approx({label: float(scores[number]) for number, label in LABELS.items()})


def test_a_persisted_artifact_needs_no_warmlane(name: str, tokenizer: Any, target: Path) -> None:
    """MLflow's two steps, transformers and PEFT over the artifact's directories, make the same model and labels."""
    model = over(name)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    persist_pretrained_model(target)
    kind = getattr(transformers, conf(target)["pipeline_model_type"])
    loaded = PeftModel.from_pretrained(kind.from_pretrained(target / "model"), str(target / "peft"))
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.config.id2label == LABELS


def test_an_artifact_is_imported_as_it_is(encoder: Path, tokenizer: Any, tmp_path: Path, target: Path) -> None:
    """What the base in `model/` lacks is no damage where the adapter has it."""
    model = over(str(encoder))
    save_model({"model": model, "tokenizer": tokenizer}, target)
    persist_pretrained_model(target)
    save_model(target, tmp_path / "imported")
    assert torch.equal(logits(load_model(tmp_path / "imported").model), logits(model))


def test_a_base_may_be_given(encoder: Path, tokenizer: Any, tmp_path: Path, target: Path) -> None:
    """`base_model_path` refers to a directory that has the same weights, wherever the model was loaded from."""
    model = over(str(encoder))
    moved = Path(shutil.copytree(encoder, tmp_path / "moved"))
    save_model({"model": model, "tokenizer": tokenizer}, target, base_model_path=moved)
    assert conf(target)["local_base_model_path"] == str(moved)
    assert torch.equal(logits(load_model(target).model), logits(model))


# -- what is not replaced must be there, and be the same ---------------------------------------------------------------


def test_other_weights_of_the_base_still_count(name: str, tokenizer: Any, target: Path) -> None:
    """A base that was trained on below its head comes along, whole."""
    model = over(name)
    with torch.no_grad():
        model.get_base_model().bert.embeddings.word_embeddings.weight += 1
    save_model({"model": model, "tokenizer": tokenizer}, target)
    assert "model" in stored(target)
    assert torch.equal(logits(load_model(target).model), logits(model))


def test_a_given_base_with_other_weights_is_refused(
    encoder: Path, checkpoints: dict[str, Path], tokenizer: Any, target: Path
) -> None:
    """By the name of a tensor that the adapter does not replace."""
    source = {"model": over(str(encoder)), "tokenizer": tokenizer}
    twin = BertModel.from_pretrained(encoder)
    with torch.no_grad():
        twin.embeddings.word_embeddings.weight += 1
    twin.save_pretrained(encoder)
    error = refused(WeightsDiffer, "embeddings", source, target, base_model_path=encoder)
    assert error.details["tensor"] == "bert.embeddings.word_embeddings.weight"


def test_a_head_that_the_adapter_does_not_bring_is_missed(encoder: Path, tmp_path: Path, target: Path) -> None:
    """An adapter without a head over a base without one was never trained for the task."""
    adapt(BertForSequenceClassification.from_pretrained(encoder), "lora without a head").save_pretrained(
        str(tmp_path / "adapter")
    )
    refused(PipelineMismatch, "no trained head", tmp_path / "adapter", target, task=TASK)


def test_a_module_that_is_no_head_does_not_stand_for_one(encoder: Path, tmp_path: Path, target: Path) -> None:
    """What the adapter replaces is compared with what the base lacks, name by name."""
    lora = LoraConfig(target_modules=["query"], modules_to_save=["bert.pooler.dense"])
    model: Any = get_peft_model(BertForSequenceClassification.from_pretrained(encoder), lora)
    model.save_pretrained(str(tmp_path / "adapter"))
    refused(PipelineMismatch, "no trained head", tmp_path / "adapter", target, task=TASK)


def test_more_than_a_head_may_not_be_missing(encoder: Path, tmp_path: Path, target: Path) -> None:
    """A base without the pooler, on which the head was trained, is refused by the tensor's name."""
    source = as_directory(over(str(encoder)), None, tmp_path)
    BertModel(BertConfig.from_pretrained(encoder), add_pooling_layer=False).save_pretrained(encoder)
    error = refused(SourceIncomplete, "pooler", source, target)
    assert error.details["tensor"] == "bert.pooler.dense.bias"


def test_a_head_of_another_base_is_refused(encoder: Path, tmp_path: Path, target: Path) -> None:
    """Its width is not the base's."""
    source = as_directory(over(str(encoder)), None, tmp_path)
    config = BertConfig.from_pretrained(encoder, hidden_size=16)
    BertModel(config).save_pretrained(encoder)
    refused(SourceError, r"'classifier\.weight' does not fit", source, target)


@pytest.mark.parametrize("kept", ["dull", {"id2label": ["dull"]}, {"id2label": {0: ["dull"]}}], ids=str)
def test_labels_that_are_none_are_damage(encoder: Path, tokenizer: Any, target: Path, kept: Any) -> None:
    """What somebody made of the artifact's own words is told, and never a bare error of Python's."""
    save_model({"model": over(str(encoder)), "tokenizer": tokenizer}, target)
    rewrite(target, warmlane={**conf(target)["warmlane"], "head": kept})
    with pytest.raises(ArtifactDamaged, match="labels"):
        load_model(target)


# -- the task ---------------------------------------------------------------------------------------------------------


def test_the_card_of_a_base_for_the_same_task_is_believed(
    checkpoints: dict[str, Path], classifier: Path, tmp_path: Path, target: Path
) -> None:
    """An adapter says that it classifies texts; a base that does so too may know for what."""
    (classifier / "README.md").write_text("---\npipeline_tag: zero-shot-classification\n---\n")
    adapt(BertForSequenceClassification.from_pretrained(classifier)).save_pretrained(str(tmp_path / "adapter"))
    save_model(tmp_path / "adapter", target)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["task_type"], conf(target)["task"]) == ("SEQ_CLS", "zero-shot-classification")
