"""What a model can be saved from: objects, directories, both; and what a source says of its task by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from tests import tiny
from tests.artifacts import answer, bare, conf, files, refused
from warmlane.errors import SourceIncomplete, TaskConflict, TaskRequired
from warmlane_workers.flavor import load_model, save_model
from warmlane_workers.mlmodel import Artifact


def as_directory(task: str, checkpoint: Path) -> Any:
    return checkpoint


def as_text(task: str, checkpoint: Path) -> Any:
    return str(checkpoint)


def as_directories(task: str, checkpoint: Path) -> Any:
    return {"model": str(checkpoint), "tokenizer": str(checkpoint)}


def as_objects(task: str, checkpoint: Path) -> Any:
    pipe = bare(task, checkpoint)
    return {"model": pipe.model, "tokenizer": pipe.tokenizer}


def as_pipeline(task: str, checkpoint: Path) -> Any:
    return bare(task, checkpoint)


def as_directory_and_object(task: str, checkpoint: Path) -> Any:
    return {"model": checkpoint, "tokenizer": tiny.tokenizer(checkpoint)}


def as_object_and_directory(task: str, checkpoint: Path) -> Any:
    return {"model": bare(task, checkpoint).model, "tokenizer": str(checkpoint)}


SOURCES = [as_directory, as_text, as_directories, as_objects, as_pipeline]
MIXED = [as_directory_and_object, as_object_and_directory]


@pytest.mark.parametrize("source", SOURCES + MIXED, ids=lambda source: source.__name__)
@pytest.mark.parametrize("task", tiny.TASKS)
def test_a_model_answers_the_same_after_save_and_load(
    checkpoints: dict[str, Path], target: Path, task: str, source: Callable[[str, Path], Any]
) -> None:
    """Whatever kind of source a model is saved from, its loaded pipeline answers as the bare checkpoint does."""
    save_model(source(task, checkpoints[task]), target, task=task)
    pipe = load_model(target)
    assert type(pipe) is type(bare(task, checkpoints[task]))
    assert answer(task, pipe) == answer(task, bare(task, checkpoints[task]))


@pytest.mark.parametrize("task", tiny.TASKS)
def test_components_are_what_a_pipeline_is_made_of(checkpoints: dict[str, Path], target: Path, task: str) -> None:
    """`transformers.pipeline(**load_model(path, "components"))` works, and answers as the loaded pipeline does."""
    save_model(checkpoints[task], target)
    components = load_model(target, return_type="components")
    assert set(components) == {"task", "model", "tokenizer", "dtype"}
    assert not components["model"].training
    assert answer(task, transformers.pipeline(**components)) == answer(task, load_model(target))


@pytest.mark.parametrize("task", tiny.TASKS)
@pytest.mark.parametrize("source", [as_directory, as_objects, as_pipeline], ids=lambda source: source.__name__)
def test_the_task_is_known_without_being_told(
    checkpoints: dict[str, Path], target: Path, task: str, source: Callable[[str, Path], Any]
) -> None:
    """The architecture, or the pipeline itself, tells the task."""
    assert save_model(source(task, checkpoints[task]), target).task == task


def test_components_may_lie_in_directories_of_their_own(classifier: Path, target: Path, tmp_path: Path) -> None:
    """A model and its tokenizer come from two directories, neither of which holds both."""
    apart = tmp_path / "tokenizer"
    apart.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (classifier / name).rename(apart / name)
    save_model({"model": str(classifier), "tokenizer": str(apart)}, target)
    assert load_model(target)("good")[0]["label"] in ("bad", "fair", "good")


def test_what_is_stored_depends_on_the_model_and_not_on_how_it_was_given(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """A directory, a dict and a pipeline of one model make the same flavor and the same tensors."""
    made = {}
    for source in SOURCES:
        target = tmp_path / source.__name__
        save_model(source("text-classification", checkpoints["text-classification"]), target)
        flavor = {key: value for key, value in conf(target).items() if key != "warmlane"}
        tensors = safetensors.torch.load_file(target / "model" / "model.safetensors")
        made[source.__name__] = (flavor, {name: tensor.tolist() for name, tensor in tensors.items()})
    assert all(each == made["as_pipeline"] for each in made.values())


def test_a_directory_is_saved_without_loading_its_weights(
    checkpoints: dict[str, Path], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are copied as files: the model's class is never asked to read them."""
    monkeypatch.delattr(transformers.PreTrainedModel, "from_pretrained")
    save_model(checkpoints["text-classification"], target)
    assert (target / "model" / "model.safetensors").is_file()


def sharded(checkpoint: Path, directory: Path) -> Path:
    """The same checkpoint, its weights in several files behind an index."""
    tiny.tokenizer(checkpoint).save_pretrained(directory)
    AutoModelForSequenceClassification.from_pretrained(checkpoint).save_pretrained(directory, max_shard_size="40KB")
    assert len(list(directory.glob("*.safetensors"))) > 1
    return directory


def test_sharded_weights_are_taken_whole(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """Every shard and the index are in the artifact, which answers as the unsharded model does."""
    source = sharded(checkpoints["text-classification"], tmp_path / "sharded")
    save_model(source, target)
    shards = {f"model/{path.name}" for path in source.glob("*.safetensors*")}
    assert shards <= files(target)
    assert set(conf(target)["warmlane"]["files"]) == {name for name in shards if name.endswith(".safetensors")}
    expected = bare("text-classification", checkpoints["text-classification"])
    assert answer("text-classification", load_model(target)) == answer("text-classification", expected)


def test_a_missing_shard_is_refused_by_its_name(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """An index that names a file which is not there makes no artifact."""
    source = sharded(checkpoints["text-classification"], tmp_path / "sharded")
    lost = sorted(source.glob("*.safetensors"))[1]
    lost.unlink()
    refused(SourceIncomplete, lost.name, source, target)


def test_weights_in_memory_are_sharded_by_the_environment(
    checkpoints: dict[str, Path], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE` bounds each weight file of a model that saves itself."""
    monkeypatch.setenv("MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE", "40KB")
    pipe = bare("text-classification", checkpoints["text-classification"])
    save_model(pipe, target)
    assert len(list((target / "model").glob("*.safetensors"))) > 1
    assert answer("text-classification", load_model(target)) == answer("text-classification", pipe)


def test_the_card_tells_the_task(classifier: Path, target: Path) -> None:
    """`pipeline_tag` in the model card chooses the task, over the architecture, as it does on the hub."""
    (classifier / "README.md").write_text("---\npipeline_tag: zero-shot-classification\n---\n# A model\n")
    assert save_model(classifier, target).task == "zero-shot-classification"


@pytest.mark.parametrize("tag", ["no-such-task", 17, ["text-classification"], None])
def test_a_card_that_tells_no_task_is_passed_over(classifier: Path, target: Path, tag: Any) -> None:
    """Where the card's tag is no task of transformers the architecture tells it."""
    (classifier / "README.md").write_text(f"---\npipeline_tag: {json.dumps(tag)}\n---\n# A model\n")
    assert save_model(classifier, target).task == "text-classification"


def test_a_task_that_nothing_tells_must_be_given(classifier: Path, target: Path) -> None:
    """A checkpoint without architecture and card is refused, with an example of what to give; a given task does."""
    config = json.loads((classifier / "config.json").read_text())
    del config["architectures"]
    (classifier / "config.json").write_text(json.dumps(config))
    (classifier / "README.md").unlink()
    refused(TaskRequired, "give one", classifier, target)
    assert type(load_model(save_as(classifier, target, "text-classification")).model) is BertForSequenceClassification


def save_as(source: Any, target: Path, task: str) -> Path:
    save_model(source, target, task=task)
    return target


def test_a_task_must_not_contradict_the_pipeline(checkpoints: dict[str, Path], target: Path) -> None:
    """A pipeline knows its task; another one is refused, and the same by its other name is not."""
    pipe = bare("text-classification", checkpoints["text-classification"])
    refused(TaskConflict, "'text-classification'", pipe, target, task="feature-extraction")
    assert save_model(pipe, target, task="sentiment-analysis").task == "text-classification"


def test_a_task_by_its_other_name_is_recorded_by_its_own(classifier: Path, tmp_path: Path) -> None:
    """`sentiment-analysis` is text classification: its signature and its answers are the same."""
    artifact = save_model(str(classifier), tmp_path / "a", task="sentiment-analysis")
    assert artifact.task == "text-classification"
    assert artifact.signature is not None


def test_the_model_in_memory_is_saved_and_not_the_directory_it_came_from(
    checkpoints: dict[str, Path], target: Path
) -> None:
    """A model that was trained on since it was loaded is stored as it is now."""
    pipe = bare("text-classification", checkpoints["text-classification"])
    with torch.no_grad():
        pipe.model.classifier.bias += torch.tensor([5.0, 0.0, 0.0])
    save_model(pipe, target)
    assert answer("text-classification", load_model(target)) == answer("text-classification", pipe)


def test_echo_has_no_weights(target: Path) -> None:
    """The diagnostic model is a description and its papers."""
    made = save_model("warmlane:echo", target)
    assert (made.task, made.has_weights) == ("echo", False)
    assert Artifact.read(target).task == "echo"
    assert not {"model", "components"} & {path.name for path in target.iterdir()}
