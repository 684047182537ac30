"""Whatever warmlane saves from, MLflow loads: components, checkpoints, hub ids, element types, shards, custom code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import transformers

from interop.questions import QUESTIONS, TEXTS, same
from tests.hub import Hub
from tests.tiny_native import MAKERS, checkpoint, components, pipeline, weights_of
from warmlane_workers import flavor

Made = Callable[[str], Any]
TEXT = "text-classification"


@pytest.mark.parametrize("kind", MAKERS)
def test_components_load(kind: str, answer: Made, tmp_path: Path) -> None:
    """A dict of components in memory, of every kind, loads in MLflow as the pipeline that they make."""
    flavor.save_model(components(kind), tmp_path / "model", task=MAKERS[kind][0])
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_checkpoint_directory_loads(kind: str, answer: Made, tmp_path: Path) -> None:
    """A checkpoint whose files were copied and never loaded, of every kind, loads in MLflow."""
    flavor.save_model(str(checkpoint(kind, tmp_path / "checkpoint")), tmp_path / "model", task=MAKERS[kind][0])
    shutil.rmtree(tmp_path / "checkpoint")
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))


def test_a_dict_of_directories_loads(answer: Made, tmp_path: Path) -> None:
    """Components given as directories apart from each other are put together."""
    for name, part in components(TEXT).items():
        part.save_pretrained(tmp_path / name)
    parts = {name: str(tmp_path / name) for name in ("model", "tokenizer")}
    flavor.save_model(parts, tmp_path / "artifact", task=TEXT)
    loaded = mlflow.transformers.load_model(str(tmp_path / "artifact"))
    assert same(QUESTIONS[TEXT].ask(loaded), answer(TEXT))


@pytest.mark.parametrize("kind", ["text-classification", "speech-ctc", "image-classification"])
def test_a_reference_loads(kind: str, hub: Hub, answer: Made, tmp_path: Path) -> None:
    """A hub id saved by reference loads in MLflow from the hub, each component by its own name and commit."""
    repo = f"interop/{kind}"
    hub.push(repo, checkpoint(kind, tmp_path / "checkpoint"))
    flavor.save_model(repo, tmp_path / "model", task=MAKERS[kind][0], save_pretrained=False)
    assert not weights_of(tmp_path / "model")
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[kind].ask(loaded), answer(kind))


def test_a_pipeline_in_memory_is_referred_to(hub: Hub, answer: Made, tmp_path: Path) -> None:
    """A pipeline that was loaded from the hub is saved by reference, and loads in MLflow."""
    hub.push("interop/memory", checkpoint(TEXT, tmp_path / "checkpoint"))
    loaded = transformers.pipeline(TEXT, "interop/memory", device="cpu")
    flavor.save_model(loaded, tmp_path / "model", save_pretrained=False)
    assert not weights_of(tmp_path / "model")
    again = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[TEXT].ask(again), answer(TEXT))


def test_we_load_mlflows_reference(hub: Hub, answer: Made, tmp_path: Path) -> None:
    """What MLflow saved with `save_pretrained=False` loads in warmlane, by the same commit."""
    hub.push("interop/theirs", checkpoint(TEXT, tmp_path / "checkpoint"))
    source = transformers.pipeline(TEXT, "interop/theirs", device="cpu")
    mlflow.transformers.save_model(
        source, str(tmp_path / "model"), save_pretrained=False, pip_requirements=["transformers"]
    )
    assert not weights_of(tmp_path / "model")
    assert same(QUESTIONS[TEXT].ask(flavor.load_model(tmp_path / "model")), answer(TEXT))


def test_a_persisted_reference_loads(hub: Hub, answer: Made, tmp_path: Path) -> None:
    """After warmlane's persist MLflow loads the files, and asks the hub for nothing."""
    hub.push("interop/persisted", checkpoint(TEXT, tmp_path / "checkpoint"))
    flavor.save_model("interop/persisted", tmp_path / "model", task=TEXT, save_pretrained=False)
    flavor.persist_pretrained_model(tmp_path / "model")
    del hub.repositories["interop/persisted"]
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[TEXT].ask(loaded), answer(TEXT))


def test_what_mlflow_persisted_loads(hub: Hub, answer: Made, tmp_path: Path) -> None:
    """MLflow's persist of warmlane's reference gives a directory that both load."""
    hub.push("interop/both", checkpoint(TEXT, tmp_path / "checkpoint"))
    flavor.save_model("interop/both", tmp_path / "model", task=TEXT, save_pretrained=False)
    mlflow.transformers.persist_pretrained_model(str(tmp_path / "model"))
    assert weights_of(tmp_path / "model") == {"model/model.safetensors"}
    assert same(QUESTIONS[TEXT].ask(flavor.load_model(tmp_path / "model")), answer(TEXT))
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[TEXT].ask(loaded), answer(TEXT))


@pytest.mark.parametrize("name", ["bfloat16", "torch.float16", "float64"])
def test_an_element_type_is_loaded_in(name: str, bare: Made, tmp_path: Path) -> None:
    """The type that a save was asked to record is the type in which MLflow loads."""
    flavor.save_model(bare(TEXT), tmp_path / "model", dtype=name)
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert loaded.model.dtype == getattr(torch, name.removeprefix("torch."))


def test_half_weights_stay_half(tmp_path: Path) -> None:
    """Weights of bfloat16 in memory load in MLflow as bfloat16, bit by bit, with nothing said."""
    source = pipeline(TEXT)
    source.model.to(torch.bfloat16)
    flavor.save_model(source, tmp_path / "model")
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    kept = loaded.model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in source.model.state_dict().items())


@pytest.mark.parametrize("kept", ["bfloat16", "float32"])
def test_we_load_the_type_that_mlflow_recorded(kept: str, bare: Made, tmp_path: Path) -> None:
    """MLflow's `torch_dtype` is the type in which warmlane loads."""
    mlflow.transformers.save_model(
        bare(TEXT), str(tmp_path / "model"), torch_dtype=getattr(torch, kept), pip_requirements=["transformers"]
    )
    assert flavor.load_model(tmp_path / "model").model.dtype == getattr(torch, kept)


def test_shards_load(bare: Made, answer: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in several files, by the guide's environment variable, load in MLflow."""
    monkeypatch.setenv("MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE", "40KB")
    flavor.save_model(bare(TEXT), tmp_path / "model")
    assert len(weights_of(tmp_path / "model")) > 1
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(QUESTIONS[TEXT].ask(loaded), answer(TEXT))


def test_constructor_arguments_do_not_hinder(tmp_path: Path) -> None:
    """What warmlane keeps for itself of a pipeline's arguments, MLflow passes over."""
    kind = "token-classification"
    parts = components(kind)
    source = transformers.pipeline(kind, aggregation_strategy="simple", device="cpu", **parts)
    flavor.save_model(source, tmp_path / "model")
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert same(loaded(TEXTS, aggregation_strategy="simple"), source(TEXTS))


CUSTOM = '''"""A model of its own."""
from transformers import BertConfig, BertForSequenceClassification

class OwnConfig(BertConfig):
    model_type = "interop-own"

class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig
'''


def test_custom_code_loads(tmp_path: Path, answer: Made) -> None:
    """A checkpoint that brings its own code, saved with both agreeing, loads in MLflow by that code."""
    source = checkpoint(TEXT, tmp_path / "checkpoint")
    config = transformers.BertConfig.from_pretrained(source).to_dict()
    config |= {"model_type": "interop-own", "architectures": ["OwnForSequenceClassification"]}
    config["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForSequenceClassification": "own.OwnForSequenceClassification",
    }
    transformers.PreTrainedConfig.from_dict(config).to_json_file(source / "config.json", use_diff=False)
    (source / "own.py").write_text(CUSTOM)
    flavor.save_model(str(source), tmp_path / "model", task=TEXT, trust_remote_code=True)
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"))
    assert type(loaded.model).__name__ == "OwnForSequenceClassification"
    assert same(QUESTIONS[TEXT].ask(loaded), answer(TEXT))
