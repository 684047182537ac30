"""The `MLmodel` file: damaged, of another shape, of the future; and what the names in it may choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import BertForSequenceClassification

from tests.artifacts import conf, rewrite
from warmlane.errors import ArtifactDamaged, ArtifactError, ArtifactIncomplete, ArtifactTooNew
from warmlane_workers.flavor import load_model
from warmlane_workers.mlmodel import FORMAT, Artifact


def without_mlmodel(path: Path) -> None:
    (path / "MLmodel").unlink()


def without_flavor(path: Path) -> None:
    (path / "MLmodel").write_text("flavors: {sklearn: {}}\n")


def with_cut_mlmodel(path: Path) -> None:
    text = (path / "MLmodel").read_text()
    (path / "MLmodel").write_text(text[: text.index("task: ") + 3])


def with_binary_mlmodel(path: Path) -> None:
    (path / "MLmodel").write_bytes(b"\xff\x00\x01")


def with_deep_mlmodel(path: Path) -> None:
    (path / "MLmodel").write_text("[" * 100_000)


def with_large_mlmodel(path: Path) -> None:
    with (path / "MLmodel").open("a") as file:
        file.write("#" * 5_000_000)


def with_a_directory_for_mlmodel(path: Path) -> None:
    (path / "MLmodel").unlink()
    (path / "MLmodel").mkdir()


BROKEN = [
    (ArtifactIncomplete, without_mlmodel, "no MLmodel file"),
    (ArtifactError, without_flavor, "no transformers flavor"),
    (ArtifactDamaged, with_cut_mlmodel, "MLmodel"),
    (ArtifactDamaged, with_binary_mlmodel, "not readable as YAML"),
    (ArtifactDamaged, with_deep_mlmodel, "not readable as YAML"),
    (ArtifactDamaged, with_large_mlmodel, "larger than"),
    (ArtifactDamaged, with_a_directory_for_mlmodel, "MLmodel"),
]


@pytest.mark.parametrize(("error", "damage", "message"), BROKEN, ids=[case[1].__name__ for case in BROKEN])
def test_each_damage_is_told_apart(
    broken: Path, error: type[ArtifactError], damage: Callable[[Path], None], message: str
) -> None:
    """A missing description, one that cannot be read, and one of another flavor are errors of their own."""
    damage(broken)
    with pytest.raises(error, match=message) as caught:
        load_model(broken)
    assert type(caught.value) is error


@pytest.mark.parametrize("key", ["quantization", "model_binary_2", "tokenizer_checksum"])
def test_an_unknown_key_is_of_the_future(broken: Path, key: str) -> None:
    """What a key that nobody here knows would change, nobody here can tell: the key is named, and the remedy."""
    with pytest.raises(ArtifactTooNew, match=f"'{key}'.*upgrade"):
        load_model(rewrite(broken, **{key: "x"}))


@pytest.mark.parametrize("own", [{"format": FORMAT + 1}, {"format": FORMAT, "lora": []}], ids=["format", "key"])
def test_an_own_section_of_the_future_is_refused(broken: Path, own: dict[str, Any]) -> None:
    """A higher format, or an unknown key of warmlane's own section, is of a newer release."""
    with pytest.raises(ArtifactTooNew, match="upgrade"):
        load_model(rewrite(broken, warmlane={**conf(broken)["warmlane"], **own}))


def test_unknown_keys_outside_the_flavor_are_let_be(broken: Path) -> None:
    """MLflow adds to the top of the file with every release; none of it bears on loading."""
    document = yaml.safe_load((broken / "MLmodel").read_text())
    document |= {"env_vars": None, "prompts": None, "model_id": None, "type_hint_from_example": False, "x": 1}
    (broken / "MLmodel").write_text(yaml.safe_dump(document))
    assert load_model(broken)


def test_a_truncated_mlmodel_is_read_or_refused_at_every_byte(artifact: Path, tmp_path: Path) -> None:
    """A description cut off anywhere is an artifact or an `ArtifactError`, so that a worker can start beside it."""
    text = (artifact / "MLmodel").read_bytes()
    for end in range(0, len(text), 7):
        (tmp_path / "MLmodel").write_bytes(text[:end])
        try:
            Artifact.read(tmp_path)
        except ArtifactError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "flavors: []",
        "flavors: {transformers: {task: x}, python_function: text}",
        "flavors: {transformers: {task: x, components: 17}}",
        "flavors: {transformers: {task: x, components: {a: b}}}",
        "flavors: {transformers: {task: x, warmlane: text}}",
        "flavors: {transformers: {task: x}}\nmodel_size_bytes: many",
        "flavors: {transformers: {task: x}}\nmetadata: text",
        "flavors: {transformers: {task: x}}\nsignature: {inputs: 17}",
        "flavors: {transformers: {task: x}}\nsignature: {inputs: '[', outputs: null}",
        "flavors: {transformers: {task: x, components: [tokenizer], tokenizer_revision: abc}}",
        "flavors: !!python/object/apply:os.system [exit]",
        "flavors: {transformers: {task: &a [*a]}}",
        "17",
        "",
    ],
)
def test_an_mlmodel_of_another_shape_is_read_or_refused(tmp_path: Path, text: str) -> None:
    """Whatever YAML somebody wrote, reading it gives an artifact of the declared types or an `ArtifactError`."""
    (tmp_path / "MLmodel").write_text(text)
    try:
        read = Artifact.read(tmp_path)
    except ArtifactError:
        return
    assert isinstance(read.own, dict)
    assert isinstance(read.metadata, dict)
    assert isinstance(read.model_config, dict)
    assert dataclasses.replace(read) == read


def test_a_class_of_another_transformers_loads_by_its_task(broken: Path) -> None:
    """Where this transformers has no class of the recorded name, the task's auto class is used."""
    pipe = load_model(rewrite(broken, pipeline_model_type="BertForSentiment", tokenizer_type="BertTokenizerUltraFast"))
    assert type(pipe.model) is BertForSequenceClassification


@pytest.mark.parametrize("name", ["pipeline", "logging", "torch", "BertConfig", "utils", "__name__", "set_seed"])
def test_a_recorded_class_that_is_no_model_is_not_called(broken: Path, name: str) -> None:
    """A name in an artifact chooses among transformers' model classes and among nothing else."""
    pipe = load_model(rewrite(broken, pipeline_model_type=name))
    assert type(pipe.model) is BertForSequenceClassification
