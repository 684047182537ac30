"""Damaged artifacts: cut, garbled, exchanged. Each is told apart, none ends in an error of a library."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

from tests.artifacts import rewrite
from warmlane.errors import ArtifactChanged, ArtifactDamaged, ArtifactError, ArtifactIncomplete
from warmlane_workers.flavor import load_model, save_model


def without_model(path: Path) -> None:
    shutil.rmtree(path / "model")


def without_weights(path: Path) -> None:
    (path / "model" / "model.safetensors").unlink()


def without_model_config(path: Path) -> None:
    (path / "model" / "config.json").unlink()


def without_component(path: Path) -> None:
    shutil.rmtree(path / "components")


def without_tokenizer_files(path: Path) -> None:
    (path / "components" / "tokenizer" / "tokenizer.json").unlink()


def with_cut_weights(path: Path) -> None:
    os.truncate(path / "model" / "model.safetensors", 1000)


def with_pickled_weights(path: Path) -> None:
    (path / "model" / "model.safetensors").rename(path / "model" / "pytorch_model.bin")


def with_another_size(path: Path) -> None:
    config = json.loads((path / "model" / "config.json").read_text())
    (path / "model" / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def with_noise_for_weights(path: Path) -> None:
    weights = path / "model" / "model.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)


def with_one_bit_of_another(path: Path) -> None:
    weights = path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)


def with_a_garbled_config(path: Path) -> None:
    (path / "model" / "config.json").write_text('{"model_type": ')


def with_a_garbled_tokenizer(path: Path) -> None:
    (path / "components" / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0"')


BROKEN = [
    (ArtifactIncomplete, without_model, "model/model.safetensors is missing"),
    (ArtifactIncomplete, without_weights, "model/model.safetensors is missing"),
    (ArtifactIncomplete, without_model_config, "config.json is missing"),
    (ArtifactIncomplete, without_component, "'tokenizer' is missing"),
    (ArtifactIncomplete, without_tokenizer_files, "'tokenizer' is missing: none of tokenizer.json"),
    (ArtifactDamaged, with_cut_weights, "has 1000 bytes, .* were saved"),
    (ArtifactDamaged, with_another_size, "do not fit"),
    (ArtifactChanged, with_noise_for_weights, "is not the file that was saved"),
    (ArtifactChanged, with_one_bit_of_another, "is not the file that was saved"),
    (ArtifactError, with_a_garbled_config, "does not load"),
    (ArtifactError, with_a_garbled_tokenizer, "the tokenizer does not load"),
]


@pytest.mark.parametrize(("error", "damage", "message"), BROKEN, ids=[case[1].__name__ for case in BROKEN])
def test_each_damage_is_told_apart(
    broken: Path, error: type[ArtifactError], damage: Callable[[Path], None], message: str
) -> None:
    """Missing, cut short, exchanged: each is an error of its own that names the file, and none is of a library."""
    damage(broken)
    with pytest.raises(error, match=message) as caught:
        load_model(broken)
    assert type(caught.value) is error


def test_a_copy_of_the_weights_is_as_good(broken: Path) -> None:
    """Another modification time makes the load compare the hash, and the same content passes."""
    os.utime(broken / "model" / "model.safetensors", (1, 1))
    assert load_model(broken)("good")[0]["label"] in ("bad", "fair", "good")


def test_an_artifact_without_fingerprints_loads(broken: Path) -> None:
    """MLflow keeps none, so the files alone must do."""
    load_model(rewrite(broken, warmlane=None))


UNSEEN = [
    (ArtifactIncomplete, without_model, "model/ is missing"),
    (ArtifactIncomplete, without_weights, r"\*\.safetensors is missing"),
    (ArtifactIncomplete, with_pickled_weights, r"\*\.safetensors is missing"),
    (ArtifactDamaged, with_cut_weights, "weights are damaged"),
    (ArtifactDamaged, with_noise_for_weights, "weights are damaged"),
]


@pytest.mark.parametrize(("error", "damage", "message"), UNSEEN, ids=[case[1].__name__ for case in UNSEEN])
def test_a_damage_is_seen_without_fingerprints_too(
    broken: Path, error: type[ArtifactError], damage: Callable[[Path], None], message: str
) -> None:
    """An artifact of MLflow's tells of a damage when its weights are read."""
    damage(rewrite(broken, warmlane=None))
    with pytest.raises(error, match=message):
        load_model(broken)


@pytest.mark.parametrize("task", ["text-classification", "feature-extraction"])
def test_weights_that_lack_a_layer_are_refused_at_load(checkpoints: dict[str, Path], target: Path, task: str) -> None:
    """transformers would fill the layer with random numbers, and every answer would be noise."""
    save_model(str(checkpoints[task]), target, task=task)
    path = rewrite(target, warmlane=None) / "model" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost = next(name for name in tensors if "encoder.layer" in name or "attention" in name)
    del tensors[lost]
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ArtifactIncomplete, match="incomplete") as caught:
        load_model(target)
    assert lost in caught.value.message
