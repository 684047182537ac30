"""MLflow model directories as sources: loaded as MLflow wrote them, and taken as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.artifacts import answer, conf, files, refused, rewrite
from tests.fleet import SHARED
from warmlane.errors import (
    ArtifactChanged,
    ArtifactError,
    ArtifactIncomplete,
    InvalidInput,
    SourceError,
    SourceIncomplete,
    UnsupportedTask,
    WarmlaneError,
)
from warmlane_workers.flavor import load_model, save_model
from warmlane_workers.mlmodel import FORMAT, Artifact

#: Model directories that MLflow wrote; none where ../shared is absent.
GOLDEN = SHARED / "golden"
GOLDEN_TASKS = [task for task in tiny.TASKS if (GOLDEN / task).is_dir()]


if GOLDEN_TASKS:  # they lie beside the project, on the machines of its developers and of CI

    @pytest.mark.parametrize("task", GOLDEN_TASKS)
    def test_a_directory_that_mlflow_wrote_answers_as_in_mlflow(task: str) -> None:
        """A directory of MLflow 2.14 under transformers 4 loads under 5 and gives the outputs recorded there."""
        recorded = json.loads((GOLDEN / f"{task}.json").read_text())
        pipe = load_model(GOLDEN / task)
        options = Artifact.read(GOLDEN / task).model_config
        for run in recorded["runs"]:
            outputs = pipe(run["input"] if isinstance(run["input"], list) else [run["input"]], **options)
            if task == "text-generation":
                assert [output[0]["generated_text"] for output in outputs] == run["output"]
            else:
                table = run["output"]["__table__"]
                assert [output["label"] for output in outputs] == table["label"]
                assert [output["score"] for output in outputs] == pytest.approx(table["score"], abs=1e-5)

    @pytest.mark.parametrize("task", GOLDEN_TASKS)
    def test_a_directory_that_mlflow_wrote_is_taken_as_it_is(task: str, target: Path) -> None:
        """Saving an MLflow directory copies it, byte for byte but for one key in its MLmodel."""
        save_model(GOLDEN / task, target, own={"job": "1"})
        assert files(target) == files(GOLDEN / task)
        for name in files(target) - {"MLmodel"}:
            assert (target / name).read_bytes() == (GOLDEN / task / name).read_bytes()
        added = conf(target).pop("warmlane")
        assert conf(target) == {**conf(GOLDEN / task), "warmlane": added}
        assert (added["format"], added["job"], set(added["files"])) == (FORMAT, "1", {"model/model.safetensors"})
        assert answer(task, load_model(target)) == answer(task, load_model(GOLDEN / task))


def test_our_own_directory_is_an_mlflow_directory_too(artifact: Path, target: Path) -> None:
    """A saved model can be saved again under another name, and stays the same."""
    save_model(artifact, target)
    assert files(target) == files(artifact)
    assert answer("text-classification", load_model(target)) == answer("text-classification", load_model(artifact))


def test_a_link_out_of_an_mlflow_directory_is_refused(broken: Path, target: Path, tmp_path: Path) -> None:
    """An MLflow directory that links outside is refused whole, before anything is copied."""
    (tmp_path / "secret").write_text("{}")
    (broken / "model" / "more.json").symlink_to(tmp_path / "secret")
    refused(SourceError, "outside the directories", broken, target, source_roots=(broken,))


@pytest.mark.parametrize(
    "option",
    [
        {"task": "fill-mask"},
        {"dtype": "bfloat16"},
        {"metadata": {"a": 1}},
        {"model_config": {"top_k": 1}},
        {"signature": {"inputs": [], "outputs": None, "params": None}},
        {"input_example": "a text"},
        {"model_card": "# Another"},
        {"code_paths": ["setup.py"]},
        {"pip_requirements": ["torch"]},
        {"extra_pip_requirements": ["numpy"]},
        {"conda_env": {"name": "env"}},
        {"save_pretrained": False},
        {"base_model_path": "base"},
        {"processor": "processor"},
        {"prompt_template": "a {prompt}"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_that_an_mlflow_directory_would_not_take_are_refused(
    artifact: Path, target: Path, option: dict[str, Any]
) -> None:
    """An MLflow directory is taken as it is; what would be ignored in silence is refused."""
    refused(InvalidInput, next(iter(option)), artifact, target, **option)


def test_what_an_mlflow_directory_says_already_may_be_said_again(artifact: Path, target: Path) -> None:
    """The task and the element type that it has are no change."""
    assert save_model(artifact, target, task="text-classification", dtype="torch.float32").has_weights


def test_a_changed_artifact_is_not_taken(broken: Path, target: Path) -> None:
    """Weights that are not those which were saved make no second artifact that looks whole."""
    weights = broken / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    refused(ArtifactChanged, "hash", broken, target)


def test_an_artifact_without_its_weights_is_not_taken(broken: Path, target: Path) -> None:
    """What would not load is refused at the save."""
    (broken / "model" / "model.safetensors").unlink()
    refused(SourceIncomplete, "safetensors", broken, target)


def no_model(artifact: Path) -> None:
    shutil.rmtree(artifact / "model")


def garbage_config(artifact: Path) -> None:
    (artifact / "model" / "config.json").write_text('{"model_type": ')


def no_config(artifact: Path) -> None:
    (artifact / "model" / "config.json").unlink()


def list_config(artifact: Path) -> None:
    (artifact / "model" / "config.json").write_text("[]")


def another_config(artifact: Path) -> None:
    config = json.loads((artifact / "model" / "config.json").read_text())
    (artifact / "model" / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def impossible_config(artifact: Path) -> None:
    config = json.loads((artifact / "model" / "config.json").read_text())
    (artifact / "model" / "config.json").write_text(json.dumps({**config, "hidden_size": "wide"}))


def deep_index(artifact: Path) -> None:
    (artifact / "model" / "model.safetensors.index.json").write_text("[" * 100_000)


def no_components(artifact: Path) -> None:
    shutil.rmtree(artifact / "components")


def empty_tokenizer(artifact: Path) -> None:
    (artifact / "components" / "tokenizer" / "tokenizer.json").unlink()


def damaged_tokenizer(artifact: Path) -> None:
    (artifact / "components" / "tokenizer" / "tokenizer.json").write_text("{")


def unlisted_tokenizer(artifact: Path) -> None:
    rewrite(artifact, components=[], tokenizer_type=None)


def unknown_component(artifact: Path) -> None:
    rewrite(artifact, components=["tokenizer", "tokeniser"])


def bogus_task(artifact: Path) -> None:
    rewrite(artifact, task="text-guessing")


def bogus_dtype(artifact: Path) -> None:
    rewrite(artifact, torch_dtype="torch.float17")


def refers_to_nothing(artifact: Path) -> None:
    rewrite(artifact, model_binary=None, pipeline_model_type=None)


def dangling_link(artifact: Path) -> None:
    (artifact / "model" / "more.json").symlink_to(artifact / "nowhere")


def link_to_itself(artifact: Path) -> None:
    (artifact / "more.json").symlink_to(artifact / "more.json")


def link_to_above(artifact: Path) -> None:
    (artifact / "model" / "above").symlink_to(artifact)


DAMAGES = [
    (ArtifactIncomplete, no_model, "model/ is missing"),
    (SourceError, garbage_config, "config.json is not JSON"),
    (SourceIncomplete, no_config, "no config.json"),
    (SourceError, list_config, "not an object"),
    (SourceError, another_config, "do not fit"),
    (SourceError, impossible_config, "does not load"),
    (SourceError, deep_index, "not the index"),
    (ArtifactIncomplete, no_components, "'tokenizer' is missing"),
    (ArtifactIncomplete, empty_tokenizer, "'tokenizer' is missing"),
    (ArtifactError, damaged_tokenizer, "tokenizer does not load"),
    (SourceIncomplete, unlisted_tokenizer, "text-classification needs a tokenizer"),
    (ArtifactError, unknown_component, "no component is called 'tokeniser'"),
    (UnsupportedTask, bogus_task, "text-guessing"),
    (ArtifactError, bogus_dtype, "dtype"),
    (ArtifactIncomplete, refers_to_nothing, "neither weights nor a hub commit"),
    (SourceError, dangling_link, "link to nothing"),
    (SourceError, link_to_itself, "in a circle"),
    (SourceError, link_to_above, "in a circle"),
]


@pytest.mark.parametrize(("error", "damage", "message"), DAMAGES, ids=[case[1].__name__ for case in DAMAGES])
def test_an_artifact_that_would_not_load_is_not_taken(
    broken: Path, target: Path, error: type[WarmlaneError], damage: Callable[[Path], None], message: str
) -> None:
    """Whatever a load would stumble over stops the save, and nothing is written."""
    damage(broken)
    refused(error, message, broken, target)


@pytest.mark.parametrize("name", ["components", "model", "components/tokenizer"])
def test_directories_that_are_links_are_followed(artifact: Path, broken: Path, target: Path, name: str) -> None:
    """What lies behind a link inside the roots is taken with the rest, as files."""
    shutil.move(broken / name, broken.parent / "elsewhere")
    (broken / name).symlink_to(broken.parent / "elsewhere")
    save_model(broken, target, source_roots=(broken.parent,))
    assert files(target) == files(artifact)
    assert answer("text-classification", load_model(target)) == answer("text-classification", load_model(artifact))
