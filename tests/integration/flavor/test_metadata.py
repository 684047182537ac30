"""What lies in an artifact beside the weights, and what `MLmodel` says."""

from __future__ import annotations

import json
from pathlib import Path

import transformers
import yaml

from tests.artifacts import answer, bare, conf, files
from warmlane_workers.flavor import load_model, save_model
from warmlane_workers.mlmodel import FORMAT, Artifact

PAPERS = ["LICENSE", "LICENSE.txt", "MLmodel", "conda.yaml", "model_card.md", "model_card_data.yaml"]
PAPERS += ["python_env.yaml", "requirements.txt"]


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
        "warmlane": {"format": FORMAT, "files": conf(artifact)["warmlane"]["files"]},
    }
    assert hasattr(transformers, conf(artifact)["tokenizer_type"])


def test_each_weight_file_is_known_by_its_fingerprint(artifact: Path) -> None:
    """Bytes, hash and modification time of every safetensors file, and of no other."""
    recorded = conf(artifact)["warmlane"]["files"]
    assert set(recorded) == {"model/model.safetensors"}
    size, digest, modified = recorded["model/model.safetensors"]
    stat = (artifact / "model" / "model.safetensors").stat()
    assert (size, modified) == (stat.st_size, stat.st_mtime_ns)
    assert len(digest) == 32


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
    # All files that were there before the environment's and MLmodel itself: weights, components, papers.
    later = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}
    counted = [path for path in artifact.rglob("*") if path.is_file() and path.name not in later]
    assert document["model_size_bytes"] == sum(path.stat().st_size for path in counted)
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
