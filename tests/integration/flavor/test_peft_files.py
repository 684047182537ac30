"""Adapters as directories, bases that are referred to by their path, and what damage there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import PeftModel

from tests.artifacts import conf, files, logits, refused, rewrite
from tests.tiny_peft import adapt
from warmlane.errors import (
    ArtifactChanged,
    ArtifactDamaged,
    ArtifactIncomplete,
    InvalidBaseModel,
    SourceError,
    SourceIncomplete,
    WeightsDiffer,
)
from warmlane_workers.flavor import load_model, save_model

TASK = "text-classification"
REPO = "acme/classifier"


# -- adapters as directories ------------------------------------------------------------------------------------------


@pytest.fixture
def directory(base: Any, tmp_path: Path) -> Path:
    """An adapter as PEFT saves one, which names its base by a path."""
    adapt(base).save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def test_the_directory_of_an_adapter_is_a_source(homeless: Any, directory: Path, target: Path) -> None:
    """Its files are copied; the base, the tokenizer and the task are those of the base that it names."""
    save_model(directory, target)
    copied = (target / "peft" / "adapter_model.safetensors").read_bytes()
    assert copied == (directory / "adapter_model.safetensors").read_bytes()
    assert conf(target)["task"] == TASK
    assert "components/tokenizer/tokenizer.json" in files(target)
    assert torch.allclose(logits(load_model(target).model), logits(adapt(homeless)), atol=1e-6)


def test_an_adapter_whose_base_is_gone_is_refused(directory: Path, target: Path) -> None:
    """Where the base that it names is not to be found nothing can be told of the model."""
    change(directory, base_model_name_or_path="/nowhere/at/all")
    refused(SourceError, "no such directory", directory, target)


def test_an_adapter_that_names_no_base_is_refused(directory: Path, target: Path) -> None:
    """The remedy is to give one."""
    change(directory, base_model_name_or_path=None)
    refused(SourceError, "base_model_path", directory, target)


@pytest.mark.parametrize("named", [None, "/nowhere/at/all"], ids=str)
def test_an_adapter_takes_the_base_that_is_given(
    checkpoints: dict[str, Path], directory: Path, target: Path, named: str | None
) -> None:
    """`base_model_path` replaces what the adapter names, so that a base that moved is no hindrance."""
    change(directory, base_model_name_or_path=named)
    save_model(directory, target, base_model_path=checkpoints[TASK])
    assert conf(target)["local_base_model_path"] == str(checkpoints[TASK])
    assert isinstance(load_model(target).model, PeftModel)


def change(directory: Path, **changes: Any) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("path", [".", "nowhere"])
def test_an_adapter_takes_no_base_without_a_configuration(directory: Path, target: Path, path: str) -> None:
    """A path that leads to no checkpoint is refused, and never taken for a hub id."""
    refused(InvalidBaseModel, r"config\.json", directory, target, base_model_path=path)


def test_an_adapter_without_safetensors_is_refused(directory: Path, target: Path) -> None:
    """A pickle is never read."""
    (directory / "adapter_model.safetensors").rename(directory / "adapter_model.bin")
    refused(SourceIncomplete, "adapter_model.safetensors", directory, target)


# -- bases by their path ----------------------------------------------------------------------------------------------


def trained_on(base: Any, tokenizer: Any) -> Any:
    """An adapter over a base that is no longer what its directory holds."""
    with torch.no_grad():
        base.bert.embeddings.word_embeddings.weight += 1
    return {"model": adapt(base), "tokenizer": tokenizer}


def test_a_base_that_was_trained_on_comes_along(base: Any, tokenizer: Any, target: Path) -> None:
    """A reference to the directory that it came from would give other answers."""
    source = trained_on(base, tokenizer)
    save_model(source, target)
    assert "model/model.safetensors" in files(target)
    assert "local_base_model_path" not in conf(target)
    assert torch.allclose(logits(load_model(target).model), logits(source["model"]), atol=1e-6)


def test_a_given_base_must_be_that_of_the_model(
    base: Any, tokenizer: Any, checkpoints: dict[str, Path], target: Path
) -> None:
    """Who asks for a reference by path to another base is refused, by the name of a tensor."""
    source = trained_on(base, tokenizer)
    error = refused(WeightsDiffer, "check_weights=False", source, target, base_model_path=checkpoints[TASK])
    assert error.details["tensor"] == "bert.embeddings.word_embeddings.weight"


def test_a_base_may_lie_elsewhere_at_load(
    base: Any, tokenizer: Any, classifier: Path, checkpoints: dict[str, Path], target: Path, tmp_path: Path
) -> None:
    """`base_model_path` says where; without it the error asks for it."""
    model = adapt(base)
    save_model({"model": model, "tokenizer": tokenizer}, target, base_model_path=classifier)
    assert conf(target)["local_base_model_path"] == str(classifier)
    moved = classifier.rename(tmp_path / "moved")
    with pytest.raises(ArtifactIncomplete, match="base_model_path"):
        load_model(target)
    assert torch.allclose(logits(load_model(target, base_model_path=moved).model), logits(model), atol=1e-6)


@pytest.mark.parametrize("path", ["empty", "absent"])
def test_a_base_without_a_configuration_is_refused(base: Any, tokenizer: Any, target: Path, path: str) -> None:
    """`base_model_path` is a checkpoint's directory."""
    (target.parent / "empty").mkdir()
    source = {"model": adapt(base), "tokenizer": tokenizer}
    refused(InvalidBaseModel, r"config\.json", source, target, base_model_path=target.parent / path)


def test_a_base_outside_the_roots_is_not_read(base: Any, tokenizer: Any, target: Path, tmp_path: Path) -> None:
    """A reference by path is held to the same roots as a source, at load too."""
    save_model({"model": adapt(base), "tokenizer": tokenizer}, target)
    with pytest.raises(SourceError, match="outside the directories"):
        load_model(target, source_roots=(tmp_path / "roots",))


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(base: Any, tokenizer: Any, target: Path) -> Path:
    """An artifact of an adapter."""
    save_model({"model": adapt(base), "tokenizer": tokenizer}, target)
    return target


def weights(artifact: Path) -> Path:
    return artifact / "peft" / "adapter_model.safetensors"


def forget(artifact: Path) -> None:
    """Take the fingerprints away: MLflow keeps none."""
    rewrite(artifact, warmlane=None)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_of_the_adapter_is_named(adapted: Path, name: str) -> None:
    """PEFT would look for it on the hub."""
    forget(adapted)
    (adapted / "peft" / name).unlink()
    with pytest.raises(ArtifactIncomplete, match=name):
        load_model(adapted)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")  # all that PEFT says
def test_an_adapter_that_lacks_tensors_is_damaged(adapted: Path) -> None:
    """PEFT leaves random weights in their place; here the tensor is named."""
    forget(adapted)
    tensors = safetensors.torch.load_file(weights(adapted))
    lost = sorted(tensors)[0]
    del tensors[lost]
    safetensors.torch.save_file(tensors, weights(adapted), {"format": "pt"})
    with pytest.raises(ArtifactDamaged, match="save the model again") as caught:
        load_model(adapted)
    assert lost in caught.value.message


def test_an_adapter_of_another_shape_is_damaged(adapted: Path) -> None:
    """One that was trained for a wider base does not fit."""
    forget(adapted)
    tensors = safetensors.torch.load_file(weights(adapted))
    wide = {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}
    safetensors.torch.save_file(wide, weights(adapted), {"format": "pt"})
    with pytest.raises(ArtifactDamaged, match="does not fit"):
        load_model(adapted)


def test_an_adapter_that_was_exchanged_is_noticed(adapted: Path) -> None:
    """Its weights are known by their fingerprint, as a model's are."""
    content = bytearray(weights(adapted).read_bytes())
    content[-1] ^= 1
    weights(adapted).write_bytes(content)
    with pytest.raises(ArtifactChanged, match="adapter_model"):
        load_model(adapted)


def test_an_adapter_that_is_cut_short_is_damaged(adapted: Path) -> None:
    """With fingerprints by its size, without them by its header."""
    weights(adapted).write_bytes(weights(adapted).read_bytes()[:-10])
    with pytest.raises(ArtifactDamaged, match="bytes"):
        load_model(adapted)
    forget(adapted)
    with pytest.raises(ArtifactDamaged, match="is damaged"):
        load_model(adapted)
