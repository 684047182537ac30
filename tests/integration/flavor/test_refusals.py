"""Saves that are refused: each for a reason of its own code, with a remedy, before anything is written.

The rows are those in which MLflow refuses too, and those in which it fails later or goes wrong in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMultipleChoice

from tests import tiny
from tests.artifacts import answer, bare, files, refused
from warmlane.errors import (
    InvalidBaseModel,
    InvalidCodePaths,
    InvalidPromptTemplate,
    InvalidShardSize,
    InvalidSignature,
    MissingModel,
    ModelDistributed,
    PathNotEmpty,
    PipelineMismatch,
    ReferenceImpossible,
    RequirementsConflict,
    SaveRefused,
    SourceError,
    SourceIncomplete,
    TaskConflict,
    TaskRequired,
    UnknownComponent,
    UnsupportedInferenceTask,
    UnsupportedModel,
    UnsupportedSource,
    UnsupportedTask,
    WarmlaneError,
)
from warmlane_workers.flavor import load_model, save_model


@pytest.fixture
def pipe(checkpoints: dict[str, Path]) -> Any:
    return bare("text-classification", checkpoints["text-classification"])


# -- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [None, 17, b"bytes", ["list"], object()], ids=lambda source: type(source).__name__)
def test_what_is_no_source_is_refused_with_the_kinds_that_are(target: Path, source: Any) -> None:
    """An object of another kind is an `UnsupportedSource` that says what would do."""
    refused(UnsupportedSource, "a pipeline, a dict of components", source, target)


def test_a_model_by_itself_is_no_source(pipe: Any, target: Path) -> None:
    """A model lacks its tokenizer, so it goes into a dict of components."""
    refused(UnsupportedSource, r"\{'model': .*BertForSequenceClassification", pipe.model, target)


@pytest.mark.parametrize("key", ["processor", "dtype", "torch_dtype", "config", "tokeniser", ""])
def test_an_unknown_component_is_refused_with_those_that_there_are(classifier: Path, target: Path, key: str) -> None:
    """A key that no artifact has is named, with those that one has."""
    error = refused(UnknownComponent, "model, tokenizer", {"model": str(classifier), key: str(classifier)}, target)
    assert repr(key) in error.message


@pytest.mark.parametrize("source", [{}, {"tokenizer": "x"}, {"model": None}], ids=["empty", "tokenizer", "none"])
def test_components_without_a_model_are_refused(target: Path, source: dict[str, Any]) -> None:
    """`model` is the one component that must be there."""
    refused(MissingModel, "needs the key 'model'", source, target)


@pytest.mark.parametrize("model", [17, torch.nn.Linear(2, 2)], ids=lambda model: type(model).__name__)
def test_a_model_of_another_library_is_refused(target: Path, model: Any) -> None:
    """What transformers cannot save is named by its class."""
    refused(UnsupportedModel, f"a {type(model).__name__} .*from_pretrained", {"model": model}, target)


def test_a_component_that_is_no_directory_is_refused(target: Path, tmp_path: Path) -> None:
    """A path that leads nowhere is a `SourceError`."""
    refused(SourceError, "no such directory", {"model": str(tmp_path / "nowhere")}, target)


def test_a_dict_without_its_tokenizer_is_refused(pipe: Any, target: Path) -> None:
    """A task that reads text needs a tokenizer; transformers would make one up."""
    refused(SourceIncomplete, "needs a tokenizer", {"model": pipe.model}, target)


# -- tasks -----------------------------------------------------------------------------------------------------------


def test_a_model_whose_task_nothing_tells_is_refused(pipe: Any, target: Path) -> None:
    """An architecture without a task of its own needs `task`."""
    model = BertForMultipleChoice(BertConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2))
    refused(TaskRequired, "task: .*give one", {"model": model, "tokenizer": pipe.tokenizer}, target)


@pytest.mark.parametrize("source", ["directory", "pipeline"])
def test_an_unknown_task_is_refused_with_those_that_exist(
    classifier: Path, pipe: Any, target: Path, source: str
) -> None:
    """A task without a pipeline in this transformers is an `UnsupportedTask`, also beside a pipeline."""
    given = {"directory": classifier, "pipeline": pipe}[source]
    refused(UnsupportedTask, "text-classification", given, target, task="text-guessing")


@pytest.mark.parametrize("task", ["summarization", "fill-mask", "text-generation", "image-classification"])
def test_a_task_that_the_model_was_not_made_for_is_refused(classifier: Path, target: Path, task: str) -> None:
    """A classifier has no head for another task; its answers would come from random weights."""
    refused(PipelineMismatch, task, classifier, target, task=task)


def test_a_head_that_was_never_trained_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """A base model saved as a classifier would answer by random weights."""
    source = checkpoints["feature-extraction"]
    refused(PipelineMismatch, "BertForSequenceClassification", source, target, task="text-classification")


def test_an_llm_task_that_there_is_not_is_refused_with_those_that_there_are(pipe: Any, target: Path) -> None:
    """The message lists the three."""
    refused(UnsupportedInferenceTask, "llm/v1/chat, llm/v1/completions", pipe, target, task="llm/v1/rerank")


@pytest.mark.parametrize(
    ("kind", "task", "served"),
    [
        ("text-classification", "llm/v1/chat", "no llm/v1 task"),
        ("feature-extraction", "llm/v1/chat", "llm/v1/embeddings"),
        ("text-generation", "llm/v1/embeddings", "llm/v1/chat, llm/v1/completions"),
    ],
)
def test_an_llm_task_that_the_pipeline_does_not_serve_is_refused(
    checkpoints: dict[str, Path], target: Path, kind: str, task: str, served: str
) -> None:
    """The message lists those that a pipeline of its task serves."""
    refused(UnsupportedInferenceTask, served, bare(kind, checkpoints[kind]), target, task=task)


def test_an_llm_task_has_a_signature_of_its_own(checkpoints: dict[str, Path], target: Path) -> None:
    """Another one beside it is refused."""
    signature = {"inputs": [{"type": "string", "required": True}], "outputs": None, "params": None}
    source = checkpoints["text-generation"]
    refused(InvalidSignature, "leave it out", source, target, task="llm/v1/chat", signature=signature)


@pytest.mark.parametrize("task", [None, "text-classification"])
def test_metadata_must_not_name_another_task(classifier: Path, target: Path, task: str | None) -> None:
    """`metadata.task` is the task that was asked for, or nothing."""
    refused(TaskConflict, "metadata.task", classifier, target, task=task, metadata={"task": "fill-mask"})


# -- prompt templates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["{prompt}", "a {prompt} b", "{{x}} {prompt}", "{prompt!r}", "{prompt:>10}"])
def test_a_template_with_one_prompt_is_kept(checkpoints: dict[str, Path], target: Path, template: str) -> None:
    """It is in the metadata, where MLflow looks for it."""
    save_model(checkpoints["text-generation"], target, prompt_template=template)
    assert files(target)
    assert "prompt_template" in (target / "MLmodel").read_text()


@pytest.mark.parametrize("template", ["", "no field", "{prompt} {prompt}", "{prompt} {x}", "{}", "{0}", "{x}", "{", 17])
def test_a_template_without_one_prompt_is_refused(checkpoints: dict[str, Path], target: Path, template: Any) -> None:
    """A template frames one input, at one place."""
    match = r"exactly one field, \{prompt\}"
    refused(InvalidPromptTemplate, match, checkpoints["text-generation"], target, prompt_template=template)


def test_a_task_without_prompts_takes_no_template(classifier: Path, target: Path) -> None:
    """The message lists the tasks that take one, though the task came from the source."""
    refused(InvalidPromptTemplate, "text-generation", classifier, target, prompt_template="{prompt}")


def test_a_prompt_template_for_messages_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """A chat's messages have a template of their own, so it could frame nothing."""
    options = {"task": "llm/v1/chat", "prompt_template": "{prompt}"}
    refused(InvalidPromptTemplate, "chat template", checkpoints["text-generation"], target, **options)


# -- arguments -------------------------------------------------------------------------------------------------------


def test_a_path_that_is_taken_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """A directory with something in it is left as it is; an empty one is used."""
    target.mkdir()
    (target / "precious").write_text("mine")
    for path in (target, target / "precious"):
        with pytest.raises(PathNotEmpty, match="empty or an absent"):
            save_model(checkpoints["text-classification"], path)
    assert files(target) == {"precious"}
    (target / "precious").unlink()
    assert save_model(checkpoints["text-classification"], target).task == "text-classification"


def test_a_directory_cannot_be_stored_by_reference(classifier: Path, target: Path) -> None:
    """Only the hub keeps commits, so `save_pretrained=False` of a directory is refused."""
    refused(ReferenceImpossible, "save_pretrained=False", classifier, target, save_pretrained=False)


@pytest.mark.parametrize("size", ["-5MB", "0MB", "many", "", "5", "MB", "1.5.2GB", "nanMB", "infGB", "5 apples"])
def test_a_shard_size_that_is_none_is_refused(
    classifier: Path, target: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """The environment variable is read before anything is written."""
    monkeypatch.setenv("MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE", size)
    refused(InvalidShardSize, "500MB", classifier, target)


ARGUMENTS: list[tuple[type[WarmlaneError], str, dict[str, Any]]] = [
    (RequirementsConflict, "excludes", {"conda_env": {"name": "x"}, "pip_requirements": ["torch"]}),
    (RequirementsConflict, "excludes", {"conda_env": {"name": "x"}, "extra_pip_requirements": ["torch"]}),
    (RequirementsConflict, "excludes", {"pip_requirements": ["torch"], "extra_pip_requirements": ["numpy"]}),
    (RequirementsConflict, "a list of str", {"pip_requirements": 17}),
    (RequirementsConflict, "a dict", {"conda_env": ["torch"]}),
    (InvalidCodePaths, "a list", {"code_paths": "code.py"}),
    (InvalidCodePaths, "no such file", {"code_paths": ["/nowhere/at/all.py"]}),
    (InvalidBaseModel, "leave it out", {"base_model_path": "/"}),
    (SaveRefused, "model_card", {"model_card": 17}),
]


@pytest.mark.parametrize(
    ("error", "match", "options"), ARGUMENTS, ids=lambda case: "-".join(case) if isinstance(case, dict) else ""
)
def test_an_argument_that_cannot_be_honoured_is_refused(
    classifier: Path, target: Path, error: type[WarmlaneError], match: str, options: dict[str, Any]
) -> None:
    """Arguments that exclude each other, or that no artifact can keep, are named."""
    refused(error, match, classifier, target, **options)


# -- devices ---------------------------------------------------------------------------------------------------------


def test_a_model_on_two_devices_is_refused(pipe: Any, target: Path) -> None:
    """Its weights are not all in one place; the message names the places."""
    pipe.model.hf_device_map = {"bert": "cpu", "classifier": "disk"}
    refused(ModelDistributed, "2 devices .cpu, disk.*load it on one", pipe, target)


def as_pipeline(pipe: Any) -> Any:
    return pipe


def as_dict(pipe: Any) -> Any:
    return {"model": pipe.model, "tokenizer": pipe.tokenizer}


# transformers takes any map that names the CPU for one of a model that is partly offloaded.
@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules:UserWarning")
@pytest.mark.parametrize("form", [as_pipeline, as_dict], ids=lambda form: form.__name__)
def test_a_device_map_of_one_device_is_accepted(pipe: Any, target: Path, form: Callable[[Any], Any]) -> None:
    """A map alone is no distribution: all that counts is how many devices it names."""
    pipe.model.hf_device_map = {"bert": "cpu", "classifier": "cpu"}
    save_model(form(pipe), target)
    assert answer("text-classification", load_model(target)) == answer("text-classification", pipe)


def test_a_tiny_model_can_be_saved_at_all(classifier: Path, target: Path) -> None:
    """What the refusals above are compared with: the same source without a fault is saved."""
    assert save_model(classifier, target).task in tiny.TASKS
