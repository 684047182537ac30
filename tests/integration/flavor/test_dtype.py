"""Element types: that of the weights is recorded; a save and a load may ask for another, in any spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.artifacts import bare, conf, rewrite
from warmlane.errors import ArtifactError, InvalidInput
from warmlane.model import DTYPES
from warmlane_workers.flavor import load_model, save_model


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_is_accepted_in_all_its_spellings(checkpoints: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    """`bfloat16`, `torch.bfloat16` and the object itself record the same, and load so; the stored weights stay."""
    for number, spelling in enumerate((dtype, f"torch.{dtype}", getattr(torch, dtype))):
        path = tmp_path / str(number)
        assert save_model(checkpoints["feature-extraction"], path, dtype=spelling).dtype == dtype
        assert conf(path)["torch_dtype"] == f"torch.{dtype}"
        assert load_model(path).model.dtype is getattr(torch, dtype)
    stored = (path / "model" / "model.safetensors").read_bytes()
    assert stored == (checkpoints["feature-extraction"] / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_at_load_overrides_the_recorded_one(artifact: Path, dtype: Any) -> None:
    """The type that a load asks for wins, in any spelling, for pipelines and components."""
    assert load_model(artifact, dtype=dtype).model.dtype is torch.bfloat16
    assert load_model(artifact, "components", dtype=dtype)["model"].dtype is torch.bfloat16
    assert load_model(artifact).model.dtype is torch.float32


@pytest.mark.parametrize("dtype", ["int8", "bogus", "", "torch.", "Float32", "torch.int64", 16, torch.int8, float])
def test_other_dtypes_are_refused_with_the_list(artifact: Path, target: Path, dtype: Any) -> None:
    """What is no floating-point type of ours is an `InvalidInput` at save and at load, before anything happens."""
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16, float64"):
        save_model(artifact, target, dtype=dtype)
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16, float64"):
        load_model(artifact, dtype=dtype)
    assert not target.exists()


def test_the_weights_own_dtype_is_recorded(tmp_path: Path, target: Path) -> None:
    """Without a word about it, a bfloat16 checkpoint is recorded and loaded as bfloat16."""
    save_model(tiny.save("feature-extraction", tmp_path / "bf16", torch.bfloat16), target)
    assert conf(target)["torch_dtype"] == "torch.bfloat16"
    assert load_model(target).model.dtype is torch.bfloat16


@pytest.mark.parametrize("recorded", ["bogus", "int8", "torch.complex64", "load"])
def test_a_recorded_dtype_that_is_none_is_a_damaged_artifact(broken: Path, recorded: str) -> None:
    """MLflow writes down whatever it was given; we do not look it up in torch."""
    with pytest.raises(ArtifactError, match="dtype"):
        load_model(rewrite(broken, torch_dtype=recorded))


def test_a_dtype_by_the_guides_word_is_the_same(artifact: Path, checkpoints: dict[str, Path], target: Path) -> None:
    """`torch_dtype` means `dtype`, at save and at load; of two, `dtype` wins."""
    assert save_model(checkpoints["feature-extraction"], target, torch_dtype="bfloat16").dtype == "bfloat16"
    assert load_model(artifact, torch_dtype="bfloat16").model.dtype is torch.bfloat16
    assert load_model(artifact, dtype="float16", torch_dtype="bfloat16").model.dtype is torch.float16


def test_a_dtype_at_save_does_not_convert_a_model_in_memory(checkpoints: dict[str, Path], target: Path) -> None:
    """The stored weights keep their type, so that a load in that type loses nothing; the caller's model stays too."""
    pipe = bare("text-classification", checkpoints["text-classification"])
    save_model(pipe, target, dtype="bfloat16")
    assert pipe.model.dtype is torch.float32
    assert load_model(target).model.dtype is torch.bfloat16
    assert torch.equal(load_model(target, dtype="float32").model.classifier.weight, pipe.model.classifier.weight)


def test_a_model_in_memory_is_recorded_in_its_own_type(checkpoints: dict[str, Path], target: Path) -> None:
    """A model that was converted since it was loaded is stored, recorded and loaded as it is now."""
    pipe = bare("text-classification", checkpoints["text-classification"])
    pipe.model.to(torch.bfloat16)
    save_model(pipe, target)
    assert conf(target)["torch_dtype"] == "torch.bfloat16"
    assert load_model(target).model.dtype is torch.bfloat16


def test_components_tell_the_type_that_they_were_loaded_in(artifact: Path) -> None:
    """The key `dtype` of loaded components is the effective type, as `transformers.pipeline` takes it."""
    assert load_model(artifact, "components")["dtype"] is torch.float32
    assert load_model(artifact, "components", dtype="float64")["dtype"] is torch.float64
