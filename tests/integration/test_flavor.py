"""The artifact: what `save_model` writes and refuses, and what `load_model` makes of it. In process, tiny models."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.torch
import torch
import transformers
import yaml
from transformers import BertForSequenceClassification

from tests import tiny
from tests.fleet import SHARED
from warmlane.errors import (
    ArtifactError,
    InvalidInput,
    MissingExtra,
    SourceError,
    UnsupportedTask,
    WarmlaneError,
)
from warmlane.model import DTYPES
from warmlane_workers.flavor import load_model, persist_pretrained_model, save_model
from warmlane_workers.mlmodel import Artifact

#: Model directories that MLflow wrote; none where ../shared is absent.
GOLDEN = SHARED / "golden"
GOLDEN_TASKS = [task for task in tiny.TASKS if (GOLDEN / task).is_dir()]

PAPERS = ["LICENSE", "MLmodel", "conda.yaml", "model_card.md", "python_env.yaml", "requirements.txt"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One checkpoint directory a task."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {task: tiny.save(task, root / task) for task in tiny.TASKS}


@pytest.fixture
def classifier(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the classifier's checkpoint, to damage."""
    return Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "checkpoint"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "artifact"


@pytest.fixture(scope="module")
def artifact(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier that nobody changes."""
    path = tmp_path_factory.mktemp("artifact") / "model"
    save_model(checkpoints["text-classification"], path)
    return path


@pytest.fixture
def broken(artifact: Path, tmp_path: Path) -> Path:
    """A copy of the artifact, to damage."""
    return Path(shutil.copytree(artifact, tmp_path / "broken"))


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def conf(path: Path) -> dict[str, Any]:
    document = yaml.safe_load((path / "MLmodel").read_text())
    found: dict[str, Any] = document["flavors"]["transformers"]
    return found


def rewrite(path: Path, **changes: Any) -> Path:
    """Change keys of the flavor's configuration in an artifact's MLmodel; None takes one away."""
    document = yaml.safe_load((path / "MLmodel").read_text())
    flavor = document["flavors"]["transformers"]
    for key, value in changes.items():
        flavor.pop(key, None)
        if value is not None:
            flavor[key] = value
    (path / "MLmodel").write_text(yaml.safe_dump(document))
    return path


def answer(task: str, pipe: Any) -> Any:
    """What a pipeline says to one text, as something that compares."""
    text = "the old dog sat under a good tree"
    if task == "text-generation":
        return pipe(text, max_new_tokens=8, do_sample=False)[0]["generated_text"]
    if task == "feature-extraction":
        return numpy.round(pipe(text)[0], 4).tolist()
    return [(item["label"], round(item["score"], 4)) for item in pipe(text, top_k=None)]


def bare(task: str, checkpoint: Path) -> Any:
    """The pipeline that transformers makes of a checkpoint, without any of our code."""
    pipeline: Any = transformers.pipeline
    return pipeline(task, model=str(checkpoint), device="cpu")


# -- kinds of source -------------------------------------------------------------------------------------------------


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


SOURCES = [as_directory, as_text, as_directories, as_objects, as_pipeline]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
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
    assert set(components) == {"task", "model", "tokenizer"}
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


def test_echo_has_no_weights(target: Path) -> None:
    """The diagnostic model is a description and nothing else."""
    made = save_model("warmlane:echo", target)
    assert (made.task, made.has_weights, made.size_bytes) == ("echo", False, 0)
    assert Artifact.read(target).task == "echo"
    assert not (target / "model").exists()


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
        assert conf(target) == {**conf(GOLDEN / task), "warmlane": {"job": "1"}}
        assert answer(task, load_model(target)) == answer(task, load_model(GOLDEN / task))


def test_our_own_directory_is_an_mlflow_directory_too(artifact: Path, target: Path) -> None:
    """A saved model can be saved again under another name, and stays the same."""
    save_model(artifact, target)
    assert files(target) == files(artifact)
    assert answer("text-classification", load_model(target)) == answer("text-classification", load_model(artifact))


# -- what is written -------------------------------------------------------------------------------------------------


def test_the_layout_is_that_of_the_guide(artifact: Path) -> None:
    """A saved checkpoint has its weights, its tokenizer apart, the card, the licence, and the environment files."""
    top = {name for name in files(artifact) if "/" not in name}
    assert sorted(top) == PAPERS
    assert {"model/config.json", "model/model.safetensors"} <= files(artifact)
    assert "components/tokenizer/tokenizer.json" in files(artifact)
    assert "transformers==" in (artifact / "requirements.txt").read_text()
    assert "tiny model" in (artifact / "model_card.md").read_text()


def test_the_flavor_has_the_keys_that_mlflow_reads(artifact: Path, checkpoints: dict[str, Path]) -> None:
    """The flavor's configuration has MLflow's keys and values, and one of warmlane's own."""
    assert conf(artifact) == {
        "transformers_version": transformers.__version__,
        "code": None,
        "task": "text-classification",
        "instance_type": "TextClassificationPipeline",
        "pipeline_model_type": "BertForSequenceClassification",
        "source_model_name": str(checkpoints["text-classification"]),
        "torch_dtype": "torch.float32",
        "model_binary": "model",
        "components": ["tokenizer"],
        "tokenizer_type": conf(artifact)["tokenizer_type"],
        "warmlane": {"format": 1},
    }
    assert hasattr(transformers, conf(artifact)["tokenizer_type"])


def test_the_top_level_has_the_keys_that_mlflow_reads(artifact: Path) -> None:
    """Version, id, time, size and the signature as JSON in YAML: what an MLflow reader looks for."""
    document = yaml.safe_load((artifact / "MLmodel").read_text())
    assert set(document) == {
        "flavors",
        "mlflow_version",
        "model_size_bytes",
        "model_uuid",
        "signature",
        "utc_time_created",
    }
    assert len(document["model_uuid"]) == 32
    weights = [path for part in ("model", "components") for path in (artifact / part).rglob("*") if path.is_file()]
    assert document["model_size_bytes"] == sum(path.stat().st_size for path in weights)
    assert json.loads(document["signature"]["inputs"]) == [{"type": "string", "required": True}]
    assert [column["name"] for column in json.loads(document["signature"]["outputs"])] == ["label", "score"]
    pyfunc = document["flavors"]["python_function"]
    assert pyfunc["loader_module"] == "mlflow.transformers"
    assert pyfunc["env"] == {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    for name in pyfunc["env"].values():
        assert (artifact / name).is_file()


def test_metadata_config_and_signature_come_back(checkpoints: dict[str, Path], target: Path) -> None:
    """What the saver gave beside the model is read back as it was."""
    signature = {"inputs": [{"type": "string", "name": "text", "required": True}], "outputs": None, "params": None}
    wanted = save_model(
        checkpoints["text-classification"],
        target,
        metadata={"owner": "söhne & co", "tags": ["a", 1]},
        model_config={"top_k": 2},
        signature=signature,
        own={"job": "7"},
    )
    assert Artifact.read(target) == wanted
    assert wanted.signature == signature


def test_a_language_model_gives_features_by_its_base(checkpoints: dict[str, Path], target: Path) -> None:
    """A checkpoint with another head is loaded in the class that the task's bare pipeline would take."""
    save_model(checkpoints["text-generation"], target, task="feature-extraction")
    expected = bare("feature-extraction", checkpoints["text-generation"])
    assert conf(target)["pipeline_model_type"] == type(expected.model).__name__
    assert answer("feature-extraction", load_model(target)) == answer("feature-extraction", expected)


def test_a_head_that_was_never_trained_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """A base model saved as a classifier would answer by random weights, so it does not load."""
    save_model(checkpoints["feature-extraction"], target, task="text-classification")
    with pytest.raises(ArtifactError, match=r"'classifier\.bias'"):
        load_model(target)


def test_without_a_licence_the_artifact_says_so(classifier: Path, target: Path) -> None:
    """There is always a licence file; where the source has none it tells whom to ask."""
    (classifier / "LICENSE").unlink()
    save_model(classifier, target)
    assert str(classifier) in (target / "LICENSE.txt").read_text()


def test_weights_are_copied_and_never_loaded(classifier: Path, target: Path) -> None:
    """A checkpoint is saved by its files alone: even one whose model class exists nowhere."""
    config = json.loads((classifier / "config.json").read_text())
    config |= {"model_type": "nobody-knows", "architectures": ["NobodyKnowsForSequenceClassification"]}
    (classifier / "config.json").write_text(json.dumps(config))
    save_model(classifier, target)
    assert conf(target)["pipeline_model_type"] == "NobodyKnowsForSequenceClassification"
    copied, original = target / "model" / "model.safetensors", classifier / "model.safetensors"
    assert copied.read_bytes() == original.read_bytes()
    assert copied.stat().st_ino != original.stat().st_ino  # a local file may change; the artifact must not


def test_files_that_can_run_code_are_left_behind(classifier: Path, target: Path) -> None:
    """Pickles, Python files and whatever else is not on the list stay out of the artifact."""
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.py", "run.sh", "data.pkl", "x.so"):
        (classifier / name).write_bytes(b"boom")
    (classifier / "nested").mkdir()
    (classifier / "nested" / "more.safetensors").write_bytes(b"boom")
    save_model(classifier, target)
    assert b"boom" not in {path.read_bytes() for path in target.rglob("*") if path.is_file()}


# -- element types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_is_accepted_in_all_its_spellings(checkpoints: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    """`bfloat16`, `torch.bfloat16` and the object itself record the same, and load so; the stored weights stay."""
    for number, spelling in enumerate((dtype, f"torch.{dtype}", getattr(torch, dtype))):
        path = tmp_path / str(number)
        assert save_model(checkpoints["feature-extraction"], path, dtype=spelling).dtype == dtype
        assert conf(path)["torch_dtype"] == f"torch.{dtype}"
        assert load_model(path).model.dtype is getattr(torch, dtype)
    stored = (path / "model" / "model.safetensors").read_bytes()
    assert stored == (checkpoints["feature-extraction"] / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_at_load_overrides_the_recorded_one(artifact: Path, dtype: Any) -> None:
    """The type that a load asks for wins, in any spelling, for pipelines and components."""
    assert load_model(artifact, dtype=dtype).model.dtype is torch.bfloat16
    assert load_model(artifact, "components", dtype=dtype)["model"].dtype is torch.bfloat16
    assert load_model(artifact).model.dtype is torch.float32


@pytest.mark.parametrize("dtype", ["int8", "bogus", "", "torch.", "Float32", "torch.int64", 16, torch.int8, float])
def test_other_dtypes_are_refused_with_the_list(artifact: Path, target: Path, dtype: Any) -> None:
    """What is no floating-point type of ours is an `InvalidInput` at save and at load, before anything happens."""
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16, float64"):
        save_model(artifact, target, dtype=dtype)
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16, float64"):
        load_model(artifact, dtype=dtype)
    assert not target.exists()


def test_the_weights_own_dtype_is_recorded(tmp_path: Path, target: Path) -> None:
    """Without a word about it, a bfloat16 checkpoint is recorded and loaded as bfloat16."""
    save_model(tiny.save("feature-extraction", tmp_path / "bf16", torch.bfloat16), target)
    assert conf(target)["torch_dtype"] == "torch.bfloat16"
    assert load_model(target).model.dtype is torch.bfloat16


@pytest.mark.parametrize("recorded", ["bogus", "int8", "torch.complex64", "load"])
def test_a_recorded_dtype_that_is_none_is_a_damaged_artifact(broken: Path, recorded: str) -> None:
    """MLflow writes down whatever it was given; we do not look it up in torch."""
    with pytest.raises(ArtifactError, match="dtype"):
        load_model(rewrite(broken, torch_dtype=recorded))


# -- refusals --------------------------------------------------------------------------------------------------------


def refused(error: type[WarmlaneError], match: str, source: Any, target: Path, **options: Any) -> None:
    """A save that is refused, leaving nothing behind."""
    with pytest.raises(error, match=match):
        save_model(source, target, **options)
    assert not target.exists()


def no_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


def pickled_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")


def no_tokenizer(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()


def no_config(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()


def config_is_no_json(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"model_type": ')


def config_is_a_list(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("[]")


def damaged_tokenizer(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text('{"version": "1.0"')


def damaged_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\xff" * 100)


DAMAGES = [
    (no_weights, r"no \*\.safetensors weights"),
    (pickled_weights, r"no \*\.safetensors weights"),
    (no_tokenizer, "needs a tokenizer"),
    (no_config, "no config.json"),
    (config_is_no_json, "config.json is not JSON"),
    (config_is_a_list, "config.json is not an object"),
    (damaged_tokenizer, "tokenizer does not load"),
    (damaged_weights, "weights are damaged"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=lambda case: getattr(case, "__name__", None))
def test_an_incomplete_checkpoint_is_refused_for_what_it_lacks(
    classifier: Path, target: Path, damage: Callable[[Path], None], message: str
) -> None:
    """Each way in which a checkpoint is unusable is a `SourceError` of its own words, and writes nothing."""
    damage(classifier)
    refused(SourceError, message, classifier, target)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "a pipeline, a dict of components"),
        (17, "a pipeline, a dict of components"),
        ({"tokenizer": "x"}, "a pipeline, a dict of components"),
        ({"model": 17}, "neither a transformers model nor a source"),
    ],
)
def test_what_is_no_source_is_refused(target: Path, source: Any, message: str) -> None:
    """An object of another kind is an `InvalidInput` that says what would do."""
    refused(InvalidInput, message, source, target)


def test_an_unknown_component_is_refused(classifier: Path, target: Path) -> None:
    """A key that no pipeline takes is named, with those that one takes."""
    source = {"model": str(classifier), "processor": str(classifier)}
    refused(InvalidInput, "'processor'.*model, tokenizer", source, target)


def test_an_unknown_task_is_refused_with_those_that_exist(classifier: Path, target: Path) -> None:
    """A task without a pipeline in this transformers is an `UnsupportedTask`."""
    refused(UnsupportedTask, "text-classification", classifier, target, task="summarization")


def test_a_directory_cannot_be_stored_by_reference(classifier: Path, target: Path) -> None:
    """Only the hub keeps commits, so `save_pretrained=False` of a directory is refused."""
    refused(InvalidInput, "save_pretrained=False", classifier, target, save_pretrained=False)


def test_a_path_that_is_taken_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """A directory with something in it is left as it is; an empty one is used."""
    target.mkdir()
    (target / "precious").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        save_model(checkpoints["text-classification"], target)
    assert files(target) == {"precious"}
    (target / "precious").unlink()
    assert save_model(checkpoints["text-classification"], target).task == "text-classification"


HOSTILE = ["/etc", "../outside", "{roots}/../outside", "{roots}/link", "~no-such-user/x", "/a\0b", "/" + "x" * 5000]
NO_IDS = ["..", "a/b/c", "x" * 5000, "http://host/x", "a\0b", "-rf", ""]


@pytest.mark.parametrize("source", HOSTILE + NO_IDS, ids=lambda text: repr(text[:20]))
def test_a_source_outside_the_roots_is_refused(classifier: Path, target: Path, tmp_path: Path, source: str) -> None:
    """Absolute paths, `..`, links and odd names never leave the roots, and never end in an error of the library."""
    roots = tmp_path / "roots"
    roots.mkdir()
    shutil.copytree(classifier, tmp_path / "outside")
    (roots / "link").symlink_to(tmp_path / "outside")
    refused(SourceError, "source", source.replace("{roots}", str(roots)), target, source_roots=(roots,))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "README.md", "LICENSE"])
def test_a_link_out_of_the_roots_is_refused(classifier: Path, target: Path, tmp_path: Path, name: str) -> None:
    """A file of a checkpoint that is a link to somewhere else is not read, and nothing is written."""
    secret = tmp_path / "secret"
    (classifier / name).rename(secret)
    (classifier / name).symlink_to(secret)
    refused(SourceError, "outside the directories", classifier, target, source_roots=(classifier,))


def test_a_link_inside_the_roots_is_followed(classifier: Path, target: Path, tmp_path: Path) -> None:
    """Links as the hub's cache has them are fine while they stay inside; the artifact gets the file."""
    (classifier / "model.safetensors").rename(tmp_path / "blob")
    (classifier / "model.safetensors").symlink_to(tmp_path / "blob")
    save_model(classifier, target, source_roots=(tmp_path,))
    copied = target / "model" / "model.safetensors"
    assert copied.is_file()
    assert not copied.is_symlink()


def test_a_link_out_of_an_mlflow_directory_is_refused(broken: Path, target: Path, tmp_path: Path) -> None:
    """An MLflow directory that links outside is refused whole, before anything is copied."""
    (tmp_path / "secret").write_text("{}")
    (broken / "model" / "more.json").symlink_to(tmp_path / "secret")
    refused(SourceError, "outside the directories", broken, target, source_roots=(broken,))


@pytest.mark.parametrize("option", [{"task": "fill-mask"}, {"dtype": "bfloat16"}, {"metadata": {"a": 1}}])
def test_options_that_an_mlflow_directory_would_not_take_are_refused(
    artifact: Path, target: Path, option: dict[str, Any]
) -> None:
    """An MLflow directory is taken as it is; what would be ignored in silence is refused."""
    refused(InvalidInput, next(iter(option)), artifact, target, **option)


# -- damaged artifacts -----------------------------------------------------------------------------------------------


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


def with_another_size(path: Path) -> None:
    config = json.loads((path / "model" / "config.json").read_text())
    (path / "model" / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def with_noise_for_weights(path: Path) -> None:
    (path / "model" / "model.safetensors").write_bytes(b"\xff" * 1000)


def without_mlmodel(path: Path) -> None:
    (path / "MLmodel").unlink()


def without_flavor(path: Path) -> None:
    (path / "MLmodel").write_text("flavors: {sklearn: {}}\n")


def with_cut_mlmodel(path: Path) -> None:
    text = (path / "MLmodel").read_text()
    (path / "MLmodel").write_text(text[: text.index("task: ") + 3])


def with_binary_mlmodel(path: Path) -> None:
    (path / "MLmodel").write_bytes(b"\xff\x00\x01")


def with_a_directory_for_mlmodel(path: Path) -> None:
    (path / "MLmodel").unlink()
    (path / "MLmodel").mkdir()


BROKEN = [
    (without_model, "model/ is missing"),
    (without_weights, "does not load"),
    (without_model_config, "model/config.json is missing"),
    (without_component, "'tokenizer' is missing"),
    (without_tokenizer_files, "'tokenizer' is missing"),
    (with_cut_weights, "weights are damaged"),
    (with_another_size, "do not fit"),
    (with_noise_for_weights, "weights are damaged"),
    (without_mlmodel, "no MLmodel file"),
    (without_flavor, "no transformers flavor"),
    (with_cut_mlmodel, "MLmodel"),
    (with_binary_mlmodel, "not readable as YAML"),
    (with_a_directory_for_mlmodel, "MLmodel"),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN, ids=lambda case: getattr(case, "__name__", None))
def test_a_damaged_artifact_says_what_is_wrong(broken: Path, damage: Callable[[Path], None], message: str) -> None:
    """Each way in which an artifact is unusable is an `ArtifactError` of its own words, never an error of a library."""
    damage(broken)
    with pytest.raises(ArtifactError, match=message):
        load_model(broken)


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


def test_parts_that_make_no_pipeline_still_load_as_components(broken: Path) -> None:
    """Where no pipeline can be made the error points to components, and those load."""
    rewrite(broken, components=[])
    with pytest.raises(ArtifactError, match="components"):
        load_model(broken)
    assert set(load_model(broken, return_type="components")) == {"task", "model"}


def test_an_unknown_return_type_is_refused(artifact: Path) -> None:
    """`return_type` is one of two words."""
    with pytest.raises(InvalidInput, match="pipeline, components"):
        load_model(artifact, return_type="model")


def test_persist_of_an_artifact_with_weights_changes_nothing(broken: Path) -> None:
    """There is nothing to fetch, so nothing is written."""
    before = {name: (broken / name).stat().st_mtime_ns for name in files(broken)}
    assert persist_pretrained_model(broken).has_weights
    assert {name: (broken / name).stat().st_mtime_ns for name in files(broken)} == before


def test_custom_code_in_an_artifact_is_not_run(broken: Path, tmp_path: Path) -> None:
    """A model that wants code of its own to be imported does not get it without opt-in."""
    config_file = broken / "model" / "config.json"
    config = json.loads(config_file.read_text())
    config |= {"model_type": "home-made", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    config_file.write_text(json.dumps(config))
    (broken / "model" / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises((ArtifactError, MissingExtra)):
        load_model(rewrite(broken, pipeline_model_type="HomeMade"))
    assert not (tmp_path / "ran").exists()


def test_a_task_by_its_other_name_is_recorded_by_its_own(classifier: Path, tmp_path: Path) -> None:
    """`sentiment-analysis` is text classification: its signature and its answers are the same."""
    artifact = save_model(str(classifier), tmp_path / "a", task="sentiment-analysis")
    assert artifact.task == "text-classification"
    assert artifact.signature is not None


@pytest.mark.parametrize("task", ["text-classification", "feature-extraction"])
def test_weights_that_lack_a_layer_are_refused_at_load(checkpoints: dict[str, Path], target: Path, task: str) -> None:
    """transformers would fill the layer with random numbers, and every answer would be noise."""
    save_model(str(checkpoints[task]), target, task=task)
    path = target / "model" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    lost = next(name for name in tensors if "encoder.layer" in name or "attention" in name)
    del tensors[lost]
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="incomplete"):
        load_model(target)
