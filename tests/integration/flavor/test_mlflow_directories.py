"""MLflow model directories as sources: loaded as MLflow wrote them, and taken as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.artifacts import answer, conf, files, refused
from tests.fleet import SHARED
from warmlane.errors import ArtifactChanged, InvalidInput, SourceError, SourceIncomplete
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
