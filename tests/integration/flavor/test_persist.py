"""Persist: a reference becomes an artifact with weights, with the same answers, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model

from tests import tiny, tiny_code
from tests.artifacts import TEXT, conf, files, logits, rewrite
from tests.disks import largest_file
from tests.fleet import ROOT
from tests.hub import BROKEN, Fault, Hub
from warmlane.errors import (
    ArtifactChanged,
    ArtifactIncomplete,
    HubUnavailable,
    JobCancelled,
    SourceError,
    StoreError,
    WarmlaneError,
)
from warmlane_workers.flavor import hub as door
from warmlane_workers.flavor import load_model, persist_pretrained_model, save_model

# PEFT asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

REPO = "acme/classifier"

#: Their weights are random: those that PEFT starts with change no answer.
METHODS: dict[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4, init_lora_weights=False),
    "ia3": lambda: IA3Config(
        task_type="SEQ_CLS", target_modules=["key", "value"], feedforward_modules=[], init_ia3_weights=False
    ),
    "prompt tuning": lambda: PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
}


@pytest.fixture
def reference(hub: Hub, checkpoints: dict[str, Path], target: Path) -> Path:
    """An artifact that refers to the hub for its model and its tokenizer."""
    hub.push(REPO, checkpoints["text-classification"])
    save_model(REPO, target, save_pretrained=False)
    return target


def adapter(base: Path, name: str, directory: Path, method: str) -> Path:
    """The directory of an adapter whose base goes by a name."""
    torch.manual_seed(11)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base)
    get_peft_model(model, METHODS[method]()).save_pretrained(directory)
    config = json.loads((directory / "adapter_config.json").read_text())
    (directory / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))
    return directory


def unchanged(artifact: Path, error: type[WarmlaneError], **options: Any) -> WarmlaneError:
    """A persist that fails and leaves every file as it was; returns the error."""

    def content() -> dict[str, bytes | None]:
        return {str(path): path.read_bytes() if path.is_file() else None for path in artifact.rglob("*")}

    before = content()
    with pytest.raises(error) as caught:
        persist_pretrained_model(artifact, **options)
    assert content() == before
    return caught.value


# -- what it makes ---------------------------------------------------------------------------------------------------


def test_the_answers_stay(hub: Hub, reference: Path) -> None:
    """The scores of a reference and of what becomes of it are the same to the last bit, with the hub gone."""
    before = load_model(reference)(TEXT, top_k=None)
    artifact = persist_pretrained_model(reference)
    assert (artifact.has_weights, artifact.source_revision, artifact.component_sources) == (True, None, {})
    hub.stop()
    shutil.rmtree(door.cache_root())
    assert load_model(reference)(TEXT, top_k=None) == before


def test_the_description_tells_where_the_weights_are(reference: Path, checkpoints: dict[str, Path]) -> None:
    """`model_binary` takes the place of all commits; the source's name stays, as in MLflow."""
    before = conf(reference)
    persist_pretrained_model(reference)
    after = conf(reference)
    gone = {"source_model_revision", "tokenizer_name", "tokenizer_revision"}
    assert set(before) - set(after) == gone
    assert set(after) - set(before) == {"model_binary"}
    weights = (checkpoints["text-classification"] / "model.safetensors").stat().st_size
    assert after["warmlane"]["files"]["model/model.safetensors"][0] == weights


def test_what_only_mlflow_knows_stays(reference: Path) -> None:
    """Keys of the description that warmlane has no use for are kept, and so is the model's identity."""
    document = yaml.safe_load((reference / "MLmodel").read_text())
    (reference / "MLmodel").write_text(yaml.safe_dump({**document, "run_id": "a-run", "prompts": ["p"]}))
    persist_pretrained_model(reference)
    after = yaml.safe_load((reference / "MLmodel").read_text())
    assert (after["run_id"], after["prompts"], after["model_uuid"]) == ("a-run", ["p"], document["model_uuid"])
    assert after["model_size_bytes"] > document["model_size_bytes"]


def test_a_component_has_its_own_files_only(reference: Path) -> None:
    """Weights, card and licence of the repository it came from are not copied to it."""
    persist_pretrained_model(reference)
    assert {"components/tokenizer/tokenizer.json", "components/tokenizer/tokenizer_config.json"} <= files(reference)
    assert not [name for name in files(reference) if name.startswith("components") and name.endswith(".safetensors")]


def test_a_processor_is_persisted(hub: Hub, checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """A processor that is referred to comes along, and back as it was."""
    words = tiny.tokenizer(checkpoints["text-classification"])
    make: Any = transformers.Wav2Vec2Processor
    processor = make(transformers.Wav2Vec2FeatureExtractor(), words)  # type: ignore[no-untyped-call]
    processor.save_pretrained(tmp_path / "processor")
    hub.push(REPO, checkpoints["text-classification"])
    hub.push("acme/processor", tmp_path / "processor")
    save_model(REPO, target, processor="acme/processor", save_pretrained=False)
    assert "processor_revision" in conf(target)
    persist_pretrained_model(target)
    hub.stop()
    shutil.rmtree(door.cache_root())
    assert load_model(target, "components")["processor"].to_dict() == processor.to_dict()


def test_custom_code_comes_along_and_does_not_run(hub: Hub, tmp_path: Path, target: Path) -> None:
    """A model of its own code has it under `model/`; persist reads it and runs nothing, so it needs no leave."""
    hub.push("acme/bag", tiny_code.save(tmp_path / "bag"))
    save_model("acme/bag", target, task="text-classification", save_pretrained=False, trust_remote_code=True)
    before = load_model(target, trust_remote_code=True)(TEXT, top_k=None)
    persist_pretrained_model(target)
    assert {f"model/{name}" for name in (tiny_code.MODEL_FILE, tiny_code.CONFIG_FILE)} <= files(target)
    assert load_model(target, trust_remote_code=True)(TEXT, top_k=None) == before


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_s_base_from_the_hub_is_its_base(
    hub: Hub, checkpoints: dict[str, Path], tmp_path: Path, target: Path, method: str
) -> None:
    """After a persist `model/` has the base's own weights, and base and adapter score as before (MLflow's do not)."""
    base = checkpoints["text-classification"]
    hub.push(REPO, base)
    save_model(adapter(base, REPO, tmp_path / "adapter", method), target)
    before = logits(load_model(target).model)
    persist_pretrained_model(target)
    hub.stop()
    shutil.rmtree(door.cache_root())
    assert torch.equal(logits(load_model(target).model), before)
    assert (target / "model" / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def test_an_adapter_s_base_in_a_directory_is_copied(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """A base that was referred to by its path lies in the artifact afterwards, and its directory may go."""
    base = Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "base"))
    save_model(adapter(base, str(base), tmp_path / "adapter", "lora"), target)
    before = logits(load_model(target).model)
    artifact = persist_pretrained_model(target)
    assert artifact.base_path is None
    shutil.rmtree(base)
    assert torch.equal(logits(load_model(target).model), before)


# -- what it does not do ---------------------------------------------------------------------------------------------


def test_a_second_persist_does_nothing(hub: Hub, reference: Path) -> None:
    """It asks nobody and changes nothing, not even a time stamp."""
    first = persist_pretrained_model(reference)
    before = {name: (reference / name).stat().st_mtime_ns for name in files(reference)}
    hub.stop()
    assert persist_pretrained_model(reference) == first
    assert {name: (reference / name).stat().st_mtime_ns for name in files(reference)} == before


def test_a_task_without_weights_has_nothing_to_persist(target: Path) -> None:
    """A diagnostic task is whole as it is."""
    save_model("warmlane:echo", target)
    assert not persist_pretrained_model(target).has_weights


def test_two_at_once_end_well(hub: Hub, reference: Path) -> None:
    """Of two persists of one artifact one fetches, the other finds it done; both give the same."""
    shutil.rmtree(door.cache_root())
    hub.paths.clear()
    both = threading.Barrier(2)

    def persist(_: int) -> Any:
        both.wait()
        return persist_pretrained_model(reference)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(persist, range(2))
    assert one == other
    assert one.has_weights
    assert list(hub.paths).count(f"{REPO}/model.safetensors") == 1
    assert not [path for path in reference.iterdir() if path.name.startswith(".")]


# -- what stops it ---------------------------------------------------------------------------------------------------


def test_progress_is_told_in_bytes(reference: Path) -> None:
    """A persist tells of the download in bytes, then of its steps, and never goes back."""
    shutil.rmtree(door.cache_root())
    told: list[tuple[float, str]] = []
    persist_pretrained_model(reference, report=lambda fraction, phase: told.append((fraction, phase)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[0][1].startswith("downloading ")
    assert told[0][1].endswith(" MB")
    assert [phase for _, phase in told if not phase.startswith("downloading")] == [
        "writing weights",
        "writing components",
        "publishing",
    ]


@pytest.mark.parametrize("phase", ["writing weights", "writing components", "publishing"])
def test_a_cancelled_persist_leaves_the_reference(reference: Path, phase: str) -> None:
    """A job that is cancelled between two steps leaves nothing of itself."""

    def report(_: float, now: str) -> None:
        if now == phase:
            raise JobCancelled("cancelled")

    unchanged(reference, JobCancelled, report=report)


def test_a_hub_without_the_weights_leaves_the_reference(hub: Hub, reference: Path) -> None:
    """What cannot be fetched is said, and the artifact is as it was; later it works."""
    hub.script("safetensors", BROKEN, times=None)
    unchanged(reference, HubUnavailable)
    hub.calm()
    assert persist_pretrained_model(reference).has_weights


def test_wrong_bytes_leave_the_reference(hub: Hub, reference: Path) -> None:
    """Weights that are not what the hub says never get into an artifact."""
    hub.script("GET .*safetensors", Fault(wrong=True))
    unchanged(reference, ArtifactChanged)


def test_a_damaged_cache_is_fetched_again(reference: Path, checkpoints: dict[str, Path]) -> None:
    """A persist reads what the cache has for its hash, and takes only what is the hub's."""
    weights = load_weights_into_the_cache(reference)
    weights.resolve().write_bytes(bytes(weights.stat().st_size))
    persist_pretrained_model(reference)
    original = checkpoints["text-classification"] / "model.safetensors"
    assert (reference / "model" / "model.safetensors").read_bytes() == original.read_bytes()


def load_weights_into_the_cache(reference: Path) -> Path:
    load_model(reference)
    return next(door.cache_root().rglob("model.safetensors"))


def test_a_full_disk_leaves_the_reference(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """A disk without room is `StoreError`, nothing half-written stays, and with room it works."""
    base = Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "base"))
    save_model({"model": str(adapter(base, str(base), tmp_path / "adapter", "lora"))}, target)
    with largest_file((base / "model.safetensors").stat().st_size - 1):
        error = unchanged(target, StoreError)
    assert "free space" in error.message
    assert persist_pretrained_model(target).has_weights


def test_a_base_outside_the_roots_is_not_copied(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """A path in an artifact is no leave to read it."""
    base = Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "base"))
    save_model({"model": str(adapter(base, str(base), tmp_path / "adapter", "lora"))}, target)
    unchanged(target, SourceError, source_roots=(tmp_path / "elsewhere",))


def test_a_base_that_is_gone_is_named(checkpoints: dict[str, Path], tmp_path: Path, target: Path) -> None:
    """An adapter whose base was moved says so."""
    base = Path(shutil.copytree(checkpoints["text-classification"], tmp_path / "base"))
    save_model({"model": str(adapter(base, str(base), tmp_path / "adapter", "lora"))}, target)
    shutil.rmtree(base)
    assert "base is not where it was" in unchanged(target, ArtifactIncomplete).message


def test_a_component_without_files_is_named(hub: Hub, reference: Path, tmp_path: Path) -> None:
    """A repository that has nothing of the component it is referred to for is no part of a whole artifact."""
    (tmp_path / "README.md").write_text("nothing else")
    rewrite(reference, tokenizer_name="acme/empty", tokenizer_revision=hub.push("acme/empty", tmp_path))
    assert unchanged(reference, ArtifactIncomplete).details["component"] == "tokenizer"


# -- what kills it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def deaths(hub: Hub, reference: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """What each death of a persist left; see `tests/deaths.py`."""
    (tmp_path / "scratch").mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.deaths", str(reference), str(tmp_path / "scratch")],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(door.cache_root()), "HF_HUB_OFFLINE": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_a_death_at_any_step_leaves_a_model_that_works(reference: Path, deaths: list[dict[str, Any]]) -> None:
    """A process that is killed before any of its changes, to the artifact or to the hub's cache, leaves an artifact
    that answers as before; the next persist completes it, and leaves no litter."""
    expected = [[item["label"], item["score"]] for item in load_model(reference)(TEXT, top_k=None)]
    assert {death["had_weights"] for death in deaths} == {False, True}
    for death in deaths:
        assert death["scores"] == death["scores_after"] == expected, death
        assert (death["has_weights"], death["hidden"]) == (True, []), death
