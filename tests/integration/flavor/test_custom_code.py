"""Custom code: taken along and run only where both the save and the load agree; refusals name the file."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests import tiny_code
from tests.artifacts import answer, conf, files, refused, rewrite
from warmlane.errors import CustomCodeRefused, SourceIncomplete, UnsupportedModel
from warmlane_workers.flavor import load_model, save_model

CODE = {tiny_code.MODEL_FILE, tiny_code.CONFIG_FILE}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose model and tokenizer are of classes of its own."""
    return tiny_code.save(tmp_path_factory.mktemp("code") / "bag", words=3)


def trusted(checkpoint: Path) -> Any:
    """The pipeline that transformers makes of it."""
    pipeline: Any = transformers.pipeline
    return pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(checkpoint, trust_remote_code=True),
        tokenizer=AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=True),
        device="cpu",
    )


def as_pipeline(checkpoint: Path) -> Any:
    return trusted(checkpoint)


def as_directory(checkpoint: Path) -> Any:
    return checkpoint


def as_directories(checkpoint: Path) -> Any:
    return {"model": str(checkpoint), "tokenizer": str(checkpoint)}


SOURCES = [as_directory, as_directories, as_pipeline]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_custom_code_is_refused_at_save_without_agreement(
    bag: Path, target: Path, source: Callable[[Path], Any]
) -> None:
    """The error names a Python file of the model's, and the argument that agrees."""
    error = refused(CustomCodeRefused, "trust_remote_code=True", source(bag), target)
    assert error.details["file"] in CODE
    assert error.details["file"] in error.message


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_custom_code_is_saved_with_the_model_and_works(bag: Path, target: Path, source: Callable[[Path], Any]) -> None:
    """With both agreements the model answers as before; its files lie beside its weights, the tokenizer's beside it."""
    save_model(source(bag), target, trust_remote_code=True)
    assert {f"model/{name}" for name in CODE} | {f"components/tokenizer/{tiny_code.TOKENIZER_FILE}"} <= files(target)
    assert conf(target)["pipeline_model_type"] == "BagForSequenceClassification"
    assert conf(target)["tokenizer_type"] == "BagTokenizer"
    pipe = load_model(target, trust_remote_code=True)
    assert type(pipe.tokenizer).__name__ == "BagTokenizer"
    assert answer("text-classification", pipe) == answer("text-classification", trusted(bag))


def test_an_artifact_does_not_need_the_directory_it_came_from(tmp_path: Path, target: Path) -> None:
    """All code that a load runs is the artifact's own."""
    checkpoint = tiny_code.save(tmp_path / "bag")
    expected = answer("text-classification", trusted(checkpoint))
    save_model(checkpoint, target, trust_remote_code=True)
    checkpoint.rename(tmp_path / "gone")
    assert answer("text-classification", load_model(target, trust_remote_code=True)) == expected


@pytest.mark.parametrize("return_type", ["pipeline", "components"])
def test_custom_code_is_refused_at_load_without_agreement(bag: Path, target: Path, return_type: str) -> None:
    """The save's agreement is not the load's: the error names the file, and nothing of it has run."""
    save_model(bag, target, trust_remote_code=True)
    for name in CODE:
        (target / "model" / name).write_text("raise SystemExit('it ran')")
    with pytest.raises(CustomCodeRefused, match="trust_remote_code=True") as caught:
        load_model(target, return_type)
    assert caught.value.details["file"] in CODE


def test_a_custom_tokenizer_alone_is_refused_at_load_too(bag: Path, target: Path) -> None:
    """A component's code is code as much as a model's."""
    save_model(bag, target, trust_remote_code=True)
    with pytest.raises(CustomCodeRefused, match=tiny_code.TOKENIZER_FILE):
        load_model(target, components=["tokenizer"])


def test_code_that_nobody_recorded_does_not_run(broken: Path, tmp_path: Path) -> None:
    """An artifact that somebody wrote by hand gets no code imported either."""
    config_file = broken / "model" / "config.json"
    config = json.loads(config_file.read_text())
    config |= {"model_type": "home-made", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    config_file.write_text(json.dumps(config))
    (broken / "model" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CustomCodeRefused, match=r"code\.py"):
        load_model(rewrite(broken, pipeline_model_type="HomeMade"))
    assert not (tmp_path / "ran").exists()


def test_a_class_of_transformers_needs_no_code(broken: Path) -> None:
    """Where the installed transformers has the class, the files beside it are not looked at."""
    config_file = broken / "model" / "config.json"
    config = json.loads(config_file.read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_x.BertForSequenceClassification"}
    config_file.write_text(json.dumps(config))
    (broken / "model" / "modeling_x.py").write_text("raise SystemExit('it ran')")
    assert load_model(broken)("good")


def versions(tmp_path: Path, **options: list[Any]) -> list[Path]:
    """Artifacts that differ in their code alone."""
    found = []
    for number in (0, 1):
        checkpoint = tiny_code.save(tmp_path / f"bag{number}", **{name: of[number] for name, of in options.items()})
        save_model(checkpoint, tmp_path / str(number), trust_remote_code=True)
        found.append(tmp_path / str(number))
    return found


def test_two_versions_of_one_model_code_live_side_by_side(tmp_path: Path) -> None:
    """Classes of one name and file from two artifacts are two classes: neither answers for the other."""
    saved = versions(tmp_path, sign=[1, -1])
    answers = [dict(answer("text-classification", load_model(path, trust_remote_code=True))) for path in saved]
    assert answers[0]["good"] == pytest.approx(answers[1]["bad"])
    assert answers[0]["good"] != pytest.approx(answers[0]["bad"])
    assert dict(answer("text-classification", load_model(saved[0], trust_remote_code=True))) == answers[0]


def test_two_versions_of_one_tokenizer_code_live_side_by_side(tmp_path: Path) -> None:
    """The same of a component's code, while both are loaded."""
    tokenizers = [load_model(path, trust_remote_code=True).tokenizer for path in versions(tmp_path, words=[1, 2])]
    assert [len(tokenizer("the old dog")["input_ids"]) for tokenizer in tokenizers] == [3, 4]


def test_a_loaded_custom_model_can_be_saved_again(bag: Path, tmp_path: Path) -> None:
    """The code comes along from artifact to artifact."""
    save_model(bag, tmp_path / "one", trust_remote_code=True)
    save_model(load_model(tmp_path / "one", trust_remote_code=True), tmp_path / "two", trust_remote_code=True)
    again = load_model(tmp_path / "two", trust_remote_code=True)
    assert answer("text-classification", again) == answer("text-classification", trusted(bag))


def test_code_of_another_repository_is_refused(bag: Path, tmp_path: Path, target: Path) -> None:
    """An artifact must bring all code along; what is referred to by a name elsewhere is not there."""
    checkpoint = tiny_code.save(tmp_path / "bag")
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = {name: f"acme/code--{value}" for name, value in config["auto_map"].items()}
    (checkpoint / "config.json").write_text(json.dumps(config))
    refused(SourceIncomplete, "acme/code", checkpoint, target, trust_remote_code=True)


# -- objects of classes that somebody has at hand ----------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Iterator[ModuleType]:
    """A package of the saver's, with a model class in a module."""
    directory = tmp_path / "bagpackage"
    directory.mkdir()
    (directory / "__init__.py").write_text("")
    (directory / tiny_code.CONFIG_FILE).write_text(tiny_code.CONFIGURATION)
    (directory / tiny_code.MODEL_FILE).write_text(tiny_code.MODELING.replace("{sign}", "1").replace("{fatal}", "False"))
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module("bagpackage.modeling_bag")
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "bagpackage"]:
            del sys.modules[name]


def own_model(package: ModuleType, bag: Path) -> dict[str, Any]:
    model = package.BagForSequenceClassification.from_pretrained(bag)
    words = transformers.PreTrainedTokenizerFast.from_pretrained(bag)
    return {"model": model, "tokenizer": words}


def register(package: ModuleType, *, config: bool = True) -> None:
    package.BagForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
    if config:
        package.BagConfig.register_for_auto_class()


def test_a_class_that_would_not_come_along_is_refused(package: ModuleType, bag: Path, target: Path) -> None:
    """transformers saves the code of registered classes only; the remedy is the call that registers."""
    source = own_model(package, bag)
    refused(CustomCodeRefused, r"modeling_bag\.py", source, target)
    refused(UnsupportedModel, "register_for_auto_class", source, target, trust_remote_code=True)


def test_a_configuration_that_would_not_come_along_is_refused(package: ModuleType, bag: Path, target: Path) -> None:
    """A model does not load without the class of its configuration."""
    register(package, config=False)
    source = own_model(package, bag)
    refused(UnsupportedModel, "BagConfig.*register_for_auto_class", source, target, trust_remote_code=True)


def test_a_class_of_the_main_script_is_refused(
    package: ModuleType, bag: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script is no module that could be taken along, registered or not."""
    register(package)
    monkeypatch.setattr(package.BagForSequenceClassification, "__module__", "__main__")
    source = own_model(package, bag)
    refused(UnsupportedModel, "into a module", source, target, trust_remote_code=True)


def test_a_registered_class_is_saved_with_its_file(package: ModuleType, bag: Path, target: Path) -> None:
    """It loads where nobody has its package."""
    register(package)
    source = own_model(package, bag)
    expected = answer("text-classification", transformers.pipeline("text-classification", **source, device="cpu"))
    save_model(source, target, trust_remote_code=True)
    assert {f"model/{name}" for name in CODE} <= files(target)
    loaded = load_model(target, trust_remote_code=True)
    assert type(loaded.model).__module__.startswith("transformers_modules.")
    assert answer("text-classification", loaded) == expected
