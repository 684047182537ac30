"""What warmlane writes down about a model is what MLflow does: keys, files, signatures, examples, requirements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import transformers
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.transformers.flavor_config import FlavorKey
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from interop.adapters import TASK, adapted
from interop.questions import PYFUNCS, QUESTIONS, TEXTS, same
from tests.hub import Hub
from tests.tiny_native import MAKERS, checkpoint
from warmlane_workers import flavor
from warmlane_workers.mlmodel import Artifact

Made = Callable[[str], Any]
Saved = Callable[[str], Path]
#: Says when, by which release or with which packages a save was made.
PASSING = {"mlflow_version", "model_uuid", "utc_time_created", "model_size_bytes"}


def document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((path / "MLmodel").read_text())
    return loaded


def conf(path: Path) -> dict[str, Any]:
    """The transformers flavor's configuration, without what only warmlane knows."""
    found: dict[str, Any] = document(path)["flavors"]["transformers"]
    return {key: value for key, value in found.items() if key != "warmlane"}


def files(path: Path) -> set[str]:
    return {entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()}


def by_mlflow(source: Any, path: Path, **options: Any) -> Path:
    mlflow.transformers.save_model(source, str(path), pip_requirements=["transformers"], **options)
    return path


def by_us(source: Any, path: Path, **options: Any) -> Path:
    flavor.save_model(source, path, **options)
    return path


@pytest.mark.parametrize("kind", MAKERS)
def test_the_flavor_is_described_as_by_mlflow(kind: str, ours: Saved, theirs: Saved) -> None:
    """The transformers flavor's configuration has MLflow's keys and values, and `warmlane` beside them."""
    assert conf(ours(kind)) == conf(theirs(kind))


@pytest.mark.parametrize("kind", PYFUNCS)
def test_the_pyfunc_is_described_as_by_mlflow(kind: str, ours: Saved, theirs: Saved) -> None:
    """So has the `python_function` flavor's."""
    one, other = (document(path)["flavors"]["python_function"] for path in (ours(kind), theirs(kind)))
    assert one == other


@pytest.mark.parametrize("kind", MAKERS)
def test_the_signature_of_a_task_is_mlflows(kind: str, ours: Saved, theirs: Saved) -> None:
    """With nothing said the signature is the one that MLflow gives to the task."""
    assert Model.load(str(ours(kind))).signature == Model.load(str(theirs(kind))).signature


@pytest.mark.parametrize("kind", MAKERS)
def test_the_files_are_mlflows(kind: str, ours: Saved, theirs: Saved) -> None:
    """The directory holds the files that MLflow's holds, under the same names."""
    assert files(ours(kind)) == files(theirs(kind))


def test_the_top_level_is_mlflows(ours: Saved, theirs: Saved) -> None:
    """The file's other keys are among MLflow's, and none says another thing."""
    one, other = document(ours("fill-mask")), document(theirs("fill-mask"))
    assert set(one) <= set(other)
    assert {key for key in one if one[key] != other[key]} <= PASSING | {"flavors", "signature"}


def test_a_reference_is_described_as_by_mlflow(hub: Hub, tmp_path: Path) -> None:
    """So is a pipeline saved by reference: name and commit of the model and of each component."""
    hub.push("interop/described", checkpoint("image-classification", tmp_path / "checkpoint"))
    source = transformers.pipeline("image-classification", "interop/described", device="cpu")
    one = by_us(source, tmp_path / "one", save_pretrained=False)
    assert conf(one) == conf(by_mlflow(source, tmp_path / "other", save_pretrained=False))


def test_an_adapter_is_described_as_by_mlflow(hub: Hub, tmp_path: Path) -> None:
    """So is an adapter over a hub id."""
    hub.push("interop/adapted", checkpoint(TASK, tmp_path / "checkpoint"))
    source = adapted("interop/adapted", "lora")
    assert conf(by_us(source, tmp_path / "one")) == conf(by_mlflow(source, tmp_path / "other"))


def test_an_adapter_over_a_directory_is_described_as_by_mlflow(tmp_path: Path) -> None:
    """So is an adapter over a base that is referred to by its path."""
    base = str(checkpoint(TASK, tmp_path / "checkpoint"))
    source = adapted(base, "lora")
    one = by_us(source, tmp_path / "one", base_model_path=base)
    assert conf(one) == conf(by_mlflow(source, tmp_path / "other", base_model_path=base))


@pytest.mark.parametrize("task", ["llm/v1/completions", "llm/v1/chat"])
def test_an_inference_task_is_described_as_by_mlflow(
    task: str, bare: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a model that answers in OpenAI's shapes: flavor, metadata and signature."""
    pipeline = bare("text-generation")
    monkeypatch.setattr(pipeline.tokenizer, "chat_template", "{{ messages[0].content }}")  # a chat has to have one here
    one, other = by_us(pipeline, tmp_path / "one", task=task), by_mlflow(pipeline, tmp_path / "other", task=task)
    assert conf(one) == conf(other)
    assert document(one)["metadata"] == document(other)["metadata"]
    assert Model.load(str(one)).signature == Model.load(str(other)).signature


def test_a_prompt_template_is_described_as_by_mlflow(bare: Made, tmp_path: Path) -> None:
    """So is a prompt template: in the metadata, with the option that keeps it out of the answers."""
    pipeline, options = bare("text-generation"), {"prompt_template": "say: {prompt}", "metadata": {"owner": "us"}}
    one = document(by_us(pipeline, tmp_path / "one", **options))
    other = document(by_mlflow(pipeline, tmp_path / "other", **options))
    assert one["metadata"] == other["metadata"]
    assert one["flavors"]["python_function"] == other["flavors"]["python_function"]


def test_every_key_that_mlflow_may_write_is_known(tmp_path: Path) -> None:
    """A directory that has all keys of MLflow's flavor is read, and not refused as one of the future."""
    keys = [value for name, value in vars(FlavorKey).items() if name.isupper()]
    found: dict[str, Any] = {"transformers_version": "5.23.0", "code": None, "inference_task": "llm/v1/chat"}
    for key in keys:
        parts = ("tokenizer", "feature_extractor", "image_processor", "processor") if "{}" in key else ("",)
        found |= {key.format(part): "x" for part in parts}
    # Not keys of the flavor: how the code names a component.
    for name in (FlavorKey.MODEL, FlavorKey.TOKENIZER, FlavorKey.FEATURE_EXTRACTOR, FlavorKey.IMAGE_PROCESSOR):
        del found[name]
    del found[FlavorKey.PROCESSOR]
    found[FlavorKey.COMPONENTS] = ["tokenizer"]
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"transformers": found}}))
    assert Artifact.read(tmp_path).task == "x"


EXAMPLES: dict[str, Any] = {
    "text": TEXTS[0],
    "texts": TEXTS,
    "pair": {"text": TEXTS[0], "text_pair": TEXTS[1]},
    "pairs": [{"text": text, "text_pair": TEXTS[1]} for text in TEXTS],
    "table": pd.DataFrame({"text": TEXTS}),
    "unnamed table": pd.DataFrame([[text] for text in TEXTS]),
    "params": (TEXTS, {"top_k": 1}),
    "pair and params": ({"text": TEXTS[0], "text_pair": TEXTS[1]}, {"top_k": 2, "function_to_apply": "softmax"}),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_written_as_by_mlflow(name: str, bare: Made, tmp_path: Path) -> None:
    """An input example of each form is written to the same files with the same text, and MLflow reads it back."""
    pipeline, example = bare("text-classification"), EXAMPLES[name]
    one = by_us(pipeline, tmp_path / "one", input_example=example)
    other = by_mlflow(pipeline, tmp_path / "other", input_example=example)
    info = document(other)["saved_input_example_info"]
    assert document(one)["saved_input_example_info"] == info
    for file in (info["artifact_path"], info["serving_input_path"]):
        assert (one / file).read_text() == (other / file).read_text()
    mine, their = (Model.load(str(path)).load_input_example(str(path)) for path in (one, other))
    assert same(mine, their)


def test_sound_is_written_as_by_mlflow(bare: Made, tmp_path: Path) -> None:
    """An example of sound as numbers is a nested list, in the same files."""
    pipeline, example = bare("speech-ctc"), QUESTIONS["speech-ctc"].pyfunc
    one = by_us(pipeline, tmp_path / "one", input_example=example)
    other = by_mlflow(pipeline, tmp_path / "other", input_example=example)
    assert (one / "input_example.json").read_text() == (other / "input_example.json").read_text()
    assert Model.load(str(one)).signature == Model.load(str(other)).signature


@pytest.mark.parametrize("kind", PYFUNCS)
def test_the_signature_of_an_example_is_mlflows(kind: str, bare: Made, tmp_path: Path) -> None:
    """The signature that one prediction on an example gives is the one that MLflow finds; features have all tokens."""
    example = QUESTIONS[kind].pyfunc
    one = by_us(bare(kind), tmp_path / "one", input_example=example)
    other = by_mlflow(bare(kind), tmp_path / "other", input_example=example)
    ours, theirs = Model.load(str(one)).signature, Model.load(str(other)).signature
    assert (ours.inputs, ours.params) == (theirs.inputs, theirs.params)
    if kind == "feature-extraction":  # MLflow's answer to a text is the vector of its first token
        assert ours.outputs.inputs[0].shape[0] == -1
        assert len(ours.outputs.inputs[0].shape) == 2
    else:
        assert ours.outputs == theirs.outputs


SIGNATURES: dict[str, ModelSignature] = {
    "columns": ModelSignature(
        inputs=Schema([ColSpec(kind, kind.name, required=bool(number % 2)) for number, kind in enumerate(DataType)]),
        outputs=Schema([ColSpec(DataType.string)]),
    ),
    "nested": ModelSignature(
        inputs=Schema(
            [
                ColSpec(Array(Array(DataType.long)), "rows"),
                ColSpec(Object([Property("role", DataType.string), Property("n", DataType.long, False)]), "message"),
                ColSpec(Map(DataType.double), "weights"),
                ColSpec(AnyType(), "rest", required=False),
            ]
        ),
    ),
    "tensors": ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 3), "x"), TensorSpec(np.dtype("str"), (-1,), "y")]),
        outputs=Schema([TensorSpec(np.dtype("float64"), (-1,))]),
    ),
    "params": ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(
            [
                ParamSpec("top_k", DataType.long, 2),
                ParamSpec("rate", DataType.double, 0.5),
                ParamSpec("exact", DataType.boolean, True),
                ParamSpec("stop", DataType.string, ["a", "b"], (-1,)),
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_given_signature_comes_back(name: str, bare: Made, tmp_path: Path) -> None:
    """MLflow's own `ModelSignature`, of every type, given to a save is what MLflow reads from the directory."""
    by_us(bare("text-classification"), tmp_path / "model", signature=SIGNATURES[name])
    assert Model.load(str(tmp_path / "model")).signature == SIGNATURES[name]


def test_the_requirements_are_readable(ours: Saved) -> None:
    """MLflow finds the requirements of a model, pinned, with transformers and torch among them."""
    text = Path(mlflow.pyfunc.get_model_dependencies(str(ours("fill-mask")))).read_text()
    assert f"transformers=={transformers.__version__}" in text
    assert "torch==2" in text


def test_code_paths_are_importable(bare: Made, tmp_path: Path) -> None:
    """A module given as a code path can be imported after MLflow loaded the model."""
    (tmp_path / "beside_the_model.py").write_text("ANSWER = 42\n")
    by_us(bare("fill-mask"), tmp_path / "model", code_paths=[str(tmp_path / "beside_the_model.py")])
    mlflow.transformers.load_model(str(tmp_path / "model"))
    from beside_the_model import ANSWER  # type: ignore[import-not-found]

    assert ANSWER == 42
