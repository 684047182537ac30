"""What a load may be asked for: the form, the device, some of the components, arguments of the pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.artifacts import answer, bare, files, rewrite
from warmlane.errors import ArtifactError, DeviceError, InvalidBaseModel, InvalidInput, UnknownComponent
from warmlane_workers.flavor import load_components, load_model, persist_pretrained_model


def test_parts_that_make_no_pipeline_still_load_as_components(broken: Path) -> None:
    """Where no pipeline can be made the error points to components, and those load."""
    rewrite(broken, components=[])
    with pytest.raises(ArtifactError, match="components"):
        load_model(broken)
    assert set(load_model(broken, return_type="components")) == {"task", "model", "dtype"}


def test_an_unknown_return_type_is_refused(artifact: Path) -> None:
    """`return_type` is one of two words."""
    with pytest.raises(InvalidInput, match="pipeline, components"):
        load_model(artifact, return_type="model")


def test_a_load_gives_models_ready_to_answer(artifact: Path) -> None:
    """Models are in evaluation mode, so that no dropout changes an answer."""
    assert not load_model(artifact).model.training
    assert not load_components(artifact)["model"].training


def test_the_workers_door_gives_what_a_pipeline_takes(artifact: Path) -> None:
    """`load_components` has the task and the objects, and nothing else."""
    assert set(load_components(artifact)) == {"task", "model", "tokenizer"}


def test_some_components_are_read_without_the_weights(broken: Path) -> None:
    """`components=("tokenizer",)` touches no weights: they need not even be there."""
    (broken / "model" / "model.safetensors").unlink()
    found = load_model(broken, components=("tokenizer",))
    assert set(found) == {"tokenizer"}
    assert found["tokenizer"].decode(found["tokenizer"]("the dog")["input_ids"]) == "[CLS] the dog [SEP]"


@pytest.mark.parametrize("names", [("processor",), ["tokenizer", "image_processor"], "tokenizer", ("model",)])
def test_a_component_that_the_model_lacks_is_refused_with_those_it_has(artifact: Path, names: Any) -> None:
    """A list of names that the artifact records; a single text is no list."""
    with pytest.raises(UnknownComponent, match="the model has tokenizer"):
        load_model(artifact, components=names)


@pytest.mark.parametrize("device", ["cpu", -1, torch.device("cpu")], ids=str)
def test_a_device_is_named_in_any_way(artifact: Path, device: Any) -> None:
    """A name, a number (-1 is the CPU) or a `torch.device`; for pipelines and components."""
    assert load_model(artifact, device=device).device.type == "cpu"
    assert load_model(artifact, "components", device=device)["model"].device.type == "cpu"


@pytest.mark.parametrize("device", ["warp", "cuda:99", 99, "cpu:cpu", "", [0]], ids=repr)
def test_a_device_that_is_not_here_is_refused(artifact: Path, device: Any) -> None:
    """A device is never exchanged for another in silence, nor ends in an error of torch."""
    with pytest.raises(DeviceError, match="leave it out"):
        load_model(artifact, device=device)


def test_a_device_and_a_map_exclude_each_other(artifact: Path) -> None:
    """Of two answers to where a model lies, one is refused."""
    with pytest.raises(InvalidInput, match="device_map"):
        load_model(artifact, device="cpu", device_map="auto")


def test_a_device_map_places_the_model(artifact: Path) -> None:
    """With a map the model knows itself where it lies, and the pipeline works."""
    pipe = load_model(artifact, device_map="cpu")
    assert answer("text-classification", pipe) == answer("text-classification", load_model(artifact))


def test_arguments_of_the_pipeline_are_handed_on(artifact: Path, checkpoints: dict[str, Path]) -> None:
    """Whatever `transformers.pipeline` takes, a load takes."""
    pipe = bare("text-classification", checkpoints["text-classification"])
    expected = transformers.pipeline(pipe.task, model=pipe.model, tokenizer=pipe.tokenizer, top_k=2)
    assert load_model(artifact, top_k=2)("good") == expected("good")


def test_a_base_model_path_without_an_adapter_is_refused(artifact: Path) -> None:
    """Only a model that refers to its base by a path has one that may have moved."""
    with pytest.raises(InvalidBaseModel, match="leave it out"):
        load_model(artifact, base_model_path="/tmp")


@pytest.mark.parametrize("apart", [True, False], ids=["components-apart", "all-in-one"])
def test_a_layout_of_before_mlflow_2_4_1_loads(broken: Path, checkpoints: dict[str, Path], apart: bool) -> None:
    """Without `model_binary` the weights lie in `pipeline/`, and the tokenizer there or under `components/`."""
    (broken / "model").rename(broken / "pipeline")
    if apart:
        (broken / "pipeline" / "tokenizer.json").unlink()
    else:
        shutil.rmtree(broken / "components")
    rewrite(broken, model_binary=None, warmlane=None)
    expected = answer("text-classification", bare("text-classification", checkpoints["text-classification"]))
    assert answer("text-classification", load_model(broken)) == expected


def test_persist_of_an_artifact_with_weights_changes_nothing(broken: Path) -> None:
    """There is nothing to fetch, so nothing is written."""
    before = {name: (broken / name).stat().st_mtime_ns for name in files(broken)}
    assert persist_pretrained_model(broken).has_weights
    assert {name: (broken / name).stat().st_mtime_ns for name in files(broken)} == before
