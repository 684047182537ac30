"""Adapters: the adapter and its base are kept apart, and together they say what they said before.

MLflow writes a base's weights beside an adapter under names that no base has, so that adapted layers come back random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BertForSequenceClassification

from tests.artifacts import answer, bare, conf, files, logits, refused, rewrite
from tests.hub import Hub
from tests.tiny_peft import METHODS, adapt
from warmlane.errors import (
    UnsupportedModel,
)
from warmlane_workers.flavor import load_model, save_model

TASK = "text-classification"
REPO = "acme/classifier"


def as_dict(model: Any, tokenizer: Any) -> Any:
    return {"model": model, "tokenizer": tokenizer}


def as_pipeline(model: Any, tokenizer: Any) -> Any:
    pipeline: Any = transformers.pipeline
    return pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")


FORMS = pytest.mark.parametrize("form", [as_dict, as_pipeline], ids=lambda form: form.__name__)


# -- where the base comes from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_base_from_nowhere_is_written_beside_its_adapter(
    homeless: Any, tokenizer: Any, target: Path, method: str
) -> None:
    """Under its own names: the base of the artifact is the base, and the adapted model answers as before."""
    expected = logits(homeless)
    model = adapt(homeless, method)
    adapted = logits(model)
    assert not torch.allclose(adapted, expected)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    assert {"model/model.safetensors", "peft/adapter_config.json", "peft/adapter_model.safetensors"} <= files(target)
    written = BertForSequenceClassification.from_pretrained(target / "model")
    assert torch.equal(logits(written), expected)
    assert torch.allclose(logits(load_model(target).model), adapted, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_base_from_a_directory_is_referred_to_by_its_path(
    base: Any, tokenizer: Any, checkpoints: dict[str, Path], target: Path, method: str
) -> None:
    """Only the adapter and the tokenizer are saved, and the adapted model answers as before."""
    model = adapt(base, method)
    adapted = logits(model)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    assert {path.name for path in target.iterdir() if path.is_dir()} == {"peft", "components"}
    flavor = conf(target)
    assert flavor["local_base_model_path"] == str(checkpoints[TASK])
    assert flavor["peft_adaptor"] == "peft"
    assert not {"model_binary", "source_model_revision"} & set(flavor)
    assert (flavor["pipeline_model_type"], flavor["task"]) == ("BertForSequenceClassification", TASK)
    assert torch.allclose(logits(load_model(target).model), adapted, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "ia3", "prompt tuning"])
def test_a_base_from_the_hub_is_referred_to_by_its_commit(
    hub: Hub, checkpoints: dict[str, Path], tokenizer: Any, target: Path, method: str
) -> None:
    """The repository and the commit that the base was loaded from, and no weights but the adapter's."""
    commit = hub.push(REPO, checkpoints[TASK])
    model = adapt(BertForSequenceClassification.from_pretrained(REPO), method)
    adapted = logits(model)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    flavor = conf(target)
    assert (flavor["source_model_name"], flavor["source_model_revision"]) == (REPO, commit)
    assert "model" not in {path.name for path in target.iterdir()}
    assert torch.allclose(logits(load_model(target).model), adapted, atol=1e-6)


@pytest.mark.parametrize("method", ["lora", "ia3", "lora without a head"])
def test_a_base_under_the_names_that_mlflow_gives_it_is_read(
    homeless: Any, tokenizer: Any, target: Path, method: str
) -> None:
    """MLflow writes a base with the adapter still in it; its tensors are found by their names without."""
    model: Any = adapt(homeless, method)
    adapted = logits(model)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    rewrite(target, warmlane=None)
    inner = {name: tensor for name, tensor in model.base_model.model.state_dict().items() if "base_layer" in name}
    assert inner, "PEFT wraps its layers in another way"
    model.base_model.model.save_pretrained(target / "model")
    assert torch.allclose(logits(load_model(target).model), adapted, atol=1e-6)


@FORMS
def test_a_pipeline_and_a_dict_are_saved_alike(
    base: Any, tokenizer: Any, target: Path, form: Callable[[Any, Any], Any]
) -> None:
    """The loaded pipeline's model is the adapted one."""
    model = adapt(base)
    expected = answer(TASK, as_pipeline(model, tokenizer))
    save_model(form(model, tokenizer), target)
    pipe = load_model(target)
    assert isinstance(pipe.model, PeftModel)
    assert answer(TASK, pipe) == expected


def test_a_save_leaves_the_model_in_memory_as_it_was(homeless: Any, tokenizer: Any, target: Path) -> None:
    """The adapter is still on, and its name and its weights are the same."""
    model = adapt(homeless)
    before, names = logits(model), list(model.state_dict())
    save_model({"model": model, "tokenizer": tokenizer}, target)
    assert list(model.state_dict()) == names
    assert torch.equal(logits(model), before)
    assert not model.training


def test_a_language_model_with_tied_weights_keeps_them(checkpoints: dict[str, Path], target: Path) -> None:
    """A base whose head is its embeddings is written, read and adapted again."""
    pipe = bare("text-generation", checkpoints["text-generation"])
    made = type(pipe.model)(pipe.model.config)
    made.load_state_dict(pipe.model.state_dict())
    made.name_or_path = made.config.name_or_path = ""
    torch.manual_seed(11)
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    model = get_peft_model(made, lora)
    adapted = logits(model)
    save_model({"model": model, "tokenizer": pipe.tokenizer}, target)
    loaded = load_model(target).model
    assert torch.allclose(logits(loaded), adapted, atol=1e-6)
    assert loaded.get_base_model().lm_head.weight is loaded.get_base_model().transformer.wte.weight


# -- names and numbers of adapters ------------------------------------------------------------------------------------


def test_an_adapter_may_have_any_name(homeless: Any, tokenizer: Any, target: Path) -> None:
    """Whatever it is called in memory, its files lie where loaders look for them."""
    model = adapt(homeless, name="weather")
    adapted = logits(model)
    save_model({"model": model, "tokenizer": tokenizer}, target)
    assert "peft/adapter_model.safetensors" in files(target)
    assert not [name for name in files(target) if "weather" in name]
    assert torch.allclose(logits(load_model(target).model), adapted, atol=1e-6)


def test_several_adapters_are_refused(base: Any, tokenizer: Any, target: Path) -> None:
    """An artifact has one; the message names them."""
    model = adapt(base)
    model.add_adapter("second", METHODS["lora"]())
    refused(UnsupportedModel, "default, second", {"model": model, "tokenizer": tokenizer}, target)


def test_a_merged_adapter_is_refused(base: Any, tokenizer: Any, target: Path) -> None:
    """Its base is not its base any more; unmerged it is saved."""
    model: Any = adapt(base)
    expected = logits(model)
    model.merge_adapter()
    source = {"model": model, "tokenizer": tokenizer}
    refused(UnsupportedModel, "unmerge_adapter", source, target)
    model.unmerge_adapter()
    save_model(source, target, check_weights=False)
    assert torch.allclose(logits(load_model(target).model), expected, atol=1e-4)
