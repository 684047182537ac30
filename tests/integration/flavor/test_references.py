"""Reference-only artifacts: the repository and the commit of what is in memory or named, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import constants

from tests import tiny, tiny_code
from tests.artifacts import answer, bare, conf, files, refused
from tests.hub import Hub
from warmlane.errors import CustomCodeRefused, HubUnavailable, ReferenceImpossible, SourceError, WeightsDiffer
from warmlane_workers.flavor import load_model, save_model

TASK = "text-classification"
REPO = "acme/classifier"


@pytest.fixture
def commit(hub: Hub, checkpoints: dict[str, Path]) -> str:
    """Of the classifier on the hub."""
    return hub.push(REPO, checkpoints[TASK])


@pytest.fixture
def pipe(commit: str) -> Any:
    """A pipeline that was loaded from the hub."""
    pipeline: Any = transformers.pipeline
    return pipeline(TASK, model=REPO, device="cpu")


@pytest.fixture
def later(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """What the branch moves to: other weights and another tokenizer."""
    directory = tiny.save("text-classification", tmp_path / "later", torch.bfloat16)
    words = tiny.tokenizer(directory)
    words.add_tokens(["later"])
    words.save_pretrained(directory)
    return directory


def test_a_hub_id_is_stored_as_its_commit(hub: Hub, commit: str, checkpoints: dict[str, Path], target: Path) -> None:
    """Model and tokenizer by repository and commit, and no weights are fetched until the load."""
    save_model(REPO, target, save_pretrained=False)
    flavor = conf(target)
    assert (flavor["source_model_name"], flavor["source_model_revision"]) == (REPO, commit)
    assert (flavor["tokenizer_name"], flavor["tokenizer_revision"]) == (REPO, commit)
    assert "model_binary" not in flavor
    assert not [path for path in target.iterdir() if path.is_dir()]
    assert not [path for path in hub.paths if path.endswith(".safetensors")]
    assert answer(TASK, load_model(target)) == answer(TASK, bare(TASK, checkpoints[TASK]))


@pytest.mark.parametrize("name", ["branch", "commit"])
def test_a_revision_is_recorded_as_its_commit(hub: Hub, commit: str, later: Path, target: Path, name: str) -> None:
    """A branch moves and a commit does not, so that is what is kept."""
    moved = hub.push(REPO, later, branch="next")
    save_model(REPO, target, save_pretrained=False, revision={"branch": "next", "commit": moved}[name])
    assert conf(target)["source_model_revision"] == moved
    assert load_model(target).model.dtype is torch.bfloat16


def test_a_revision_of_a_directory_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """Directories have none."""
    refused(SourceError, "revision", str(checkpoints[TASK]), target, revision="main")


def test_a_pipeline_is_stored_as_the_commit_it_was_loaded_from(
    hub: Hub, commit: str, pipe: Any, later: Path, target: Path
) -> None:
    """Not the one that the branch has moved to since: neither the model nor the tokenizer is another then."""
    expected = answer(TASK, pipe)
    hub.push(REPO, later)
    save_model(pipe, target, save_pretrained=False)
    assert conf(target)["source_model_revision"] == commit
    assert conf(target)["tokenizer_revision"] == commit
    assert not [path for path in target.iterdir() if path.is_dir()]
    assert answer(TASK, load_model(target)) == expected


def test_a_pipeline_that_worked_is_still_what_the_hub_has(pipe: Any, commit: str, target: Path) -> None:
    """Padding and truncation that a call leaves in a tokenizer are no change."""
    pipe(["a", "the old dog"], truncation=True, padding=True)
    save_model(pipe, target, save_pretrained=False)
    assert conf(target)["tokenizer_revision"] == commit


def test_weights_that_were_trained_on_are_not_the_hubs(pipe: Any, target: Path) -> None:
    """A reference would give the original answers: refused by the name of a tensor."""
    with torch.no_grad():
        pipe.model.classifier.bias[0] += 1
    error = refused(WeightsDiffer, "check_weights=False", pipe, target, save_pretrained=False)
    assert error.details["tensor"] == "classifier.bias"


def test_a_reference_can_be_had_unseen(pipe: Any, commit: str, checkpoints: dict[str, Path], target: Path) -> None:
    """`check_weights=False` refers to the hub all the same, whose weights the load gives."""
    with torch.no_grad():
        pipe.model.classifier.bias[0] += 1
    save_model(pipe, target, save_pretrained=False, check_weights=False)
    assert answer(TASK, load_model(target)) == answer(TASK, bare(TASK, checkpoints[TASK]))


def test_a_tensor_that_the_hub_does_not_have_is_a_difference(pipe: Any, target: Path) -> None:
    """A resized vocabulary is as much another model as a trained one."""
    pipe.model.resize_token_embeddings(len(pipe.tokenizer) + 1, mean_resizing=False)
    refused(WeightsDiffer, "embeddings", pipe, target, save_pretrained=False)


def test_weights_in_another_element_type_are_the_same_weights(pipe: Any, target: Path) -> None:
    """A model that was converted is a reference to load in that type."""
    pipe.model.to(torch.bfloat16)
    save_model(pipe, target, save_pretrained=False)
    assert conf(target)["torch_dtype"] == "torch.bfloat16"
    assert load_model(target).model.dtype is torch.bfloat16


def test_a_tokenizer_that_changed_is_stored(pipe: Any, target: Path) -> None:
    """It lies in the artifact, while the model remains a reference."""
    pipe.tokenizer.add_tokens(["zebra"])
    save_model(pipe, target, save_pretrained=False)
    assert "components/tokenizer/tokenizer.json" in files(target)
    assert not {"tokenizer_name", "tokenizer_revision", "model_binary"} & set(conf(target))
    assert load_model(target).tokenizer.tokenize("a zebra") == ["a", "zebra"]


def test_a_tokenizer_from_a_directory_is_stored(commit: str, checkpoints: dict[str, Path], target: Path) -> None:
    """What did not come from the hub, and is not there either, cannot be referred to."""
    save_model({"model": REPO, "tokenizer": str(checkpoints["text-generation"])}, target, save_pretrained=False)
    assert "components/tokenizer/tokenizer.json" in files(target)
    assert "tokenizer_revision" not in conf(target)


def test_a_headless_model_of_a_repository_is_its_base(commit: str, checkpoints: dict[str, Path], target: Path) -> None:
    """Features come from the base of a classifier, by reference too."""
    pipeline: Any = transformers.pipeline
    pipe = pipeline("feature-extraction", model=REPO, device="cpu")
    save_model(pipe, target, save_pretrained=False)
    assert conf(target)["pipeline_model_type"] == "BertModel"
    assert answer("feature-extraction", load_model(target)) == answer("feature-extraction", pipe)


def test_a_reference_loads_without_the_hub(hub: Hub, pipe: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in the cache, a commit never needs the hub again."""
    save_model(pipe, target, save_pretrained=False)
    expected = answer(TASK, pipe)
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    try:
        assert answer(TASK, load_model(target)) == expected
    finally:
        hub.start()


def test_a_reference_can_be_made_without_the_hub(
    hub: Hub, commit: str, pipe: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the cache is there to compare with."""
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    try:
        save_model(pipe, target, save_pretrained=False)
    finally:
        hub.start()
    assert conf(target)["source_model_revision"] == commit


def test_without_hub_and_cache_nothing_is_written(
    hub: Hub, commit: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that trying again may help."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused(HubUnavailable, "try again later", REPO, target, save_pretrained=False)
    assert error.retryable


@pytest.mark.parametrize("form", ["pipeline", "dict", "directory"])
def test_what_came_from_nowhere_cannot_be_referred_to(checkpoints: dict[str, Path], target: Path, form: str) -> None:
    """MLflow would store the weights after all; here the wish is refused, and the remedy named."""
    pipe = bare(TASK, checkpoints[TASK])
    source = {
        "pipeline": pipe,
        "dict": {"model": pipe.model, "tokenizer": pipe.tokenizer},
        "directory": checkpoints[TASK],
    }
    refused(ReferenceImpossible, "leave it out", source[form], target, save_pretrained=False)


def test_weights_from_the_hub_are_stored_by_default(commit: str, pipe: Any, target: Path) -> None:
    """An artifact with weights says where they came from, and needs it no more."""
    save_model(REPO, target)
    assert {"model/model.safetensors", "components/tokenizer/tokenizer.json"} <= files(target)
    assert conf(target)["source_model_name"] == REPO
    assert not {"source_model_revision", "tokenizer_revision"} & set(conf(target))
    cached = (target / "model" / "model.safetensors").read_bytes()
    assert len(cached) == conf(target)["warmlane"]["files"]["model/model.safetensors"][0]
    assert answer(TASK, load_model(target)) == answer(TASK, pipe)


@pytest.mark.parametrize("form", ["id", "pipeline"])
def test_custom_code_is_referred_to_and_needs_agreement(hub: Hub, tmp_path: Path, target: Path, form: str) -> None:
    """The code of a repository is that of the recorded commit, and runs as little unasked as any other."""
    commit = hub.push("acme/bag", tiny_code.save(tmp_path / "bag", words=3))
    pipeline: Any = transformers.pipeline
    pipe = pipeline(TASK, model="acme/bag", trust_remote_code=True, device="cpu")
    expected = answer(TASK, pipe)
    save_model({"id": "acme/bag", "pipeline": pipe}[form], target, save_pretrained=False, trust_remote_code=True)
    assert (conf(target)["source_model_revision"], conf(target)["tokenizer_revision"]) == (commit, commit)
    hub.push("acme/bag", tiny_code.save(tmp_path / "other", sign=-1, words=1))
    assert answer(TASK, load_model(target, trust_remote_code=True)) == expected
    shutil.rmtree(target)
    refused(CustomCodeRefused, "trust_remote_code", "acme/bag", target, save_pretrained=False)
