"""Models from a hub: saved by name, kept as a reference, persisted, and served when the hub is gone.

The hub is a real HTTP server (`tests/hub.py`), the worker a real process that is pointed at it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.fleet import Fleet
from tests.hub import BROKEN, Fault, Hub
from warmlane import Client
from warmlane.errors import HubUnavailable, SourceError

TEXTS = tiny.texts(6)
REPO = "acme/tiny-sentiment"
WAIT_S = 60


@dataclass
class World:
    """A hub, a fleet that uses it, and the checkpoints behind the hub's commits."""

    hub: Hub
    fleet: Fleet
    client: Client
    cache: Path
    checkpoints: dict[str, Path]
    commits: dict[str, str]

    def save(self, name: str, source: Any, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.client.save(name, source, **options).result(timeout=WAIT_S)
        return result

    def predict(self, name: str) -> list[tuple[str, float]]:
        table = self.client.predict(name, TEXTS).result(timeout=WAIT_S)
        return [(row["label"], round(row["score"], 4)) for row in table]

    def reload(self, name: str) -> list[tuple[str, float]]:
        """The same, by a model that is read again."""
        self.client.unload(name).result(timeout=WAIT_S)
        return self.predict(name)

    def artifact(self, name: str) -> Path:
        return self.fleet.home / "models" / name / "1"

    def conf(self, name: str) -> dict[str, Any]:
        document = yaml.safe_load((self.artifact(name) / "MLmodel").read_text())
        found: dict[str, Any] = document["flavors"]["transformers"]
        return found

    def fetched(self) -> list[str]:
        """The files that were fetched since this was last asked."""
        paths = list(self.hub.paths)
        self.hub.paths.clear()
        return paths

    @contextmanager
    def hub_failing(self, part: str) -> Iterator[None]:
        """The hub answers with an error wherever the URL has this part."""
        self.hub.script(re.escape(part), BROKEN, times=None)
        try:
            yield
        finally:
            self.hub.calm()


def bare(checkpoint: Path) -> list[tuple[str, float]]:
    pipe = transformers.pipeline("text-classification", model=str(checkpoint), device="cpu")
    return [(answer["label"], round(answer["score"], 4)) for text in TEXTS for answer in pipe(text)]


def other_weights(checkpoint: Path, directory: Path) -> Path:
    """The same model, trained to say something else."""
    directory.mkdir()
    for path in checkpoint.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    weights = load_file(directory / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + torch.tensor([5.0, 0.0, 0.0])
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    hub = Hub()
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as name:
        home = Path(name)
        cache = home / "hf"
        env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_ETAG_TIMEOUT": "5"}
        first = tiny.save("text-classification", home / "first")
        second = other_weights(first, home / "second")
        (second / "pytorch_model.bin").write_bytes(b"a pickle")
        (second / "modeling_tiny.py").write_text("raise SystemExit")
        checkpoints = {"v1": first, "main": second}
        commits = {branch: hub.push(REPO, directory, branch) for branch, directory in checkpoints.items()}
        with Fleet(home, env=env) as fleet:
            fleet.start_worker()
            with fleet.client() as client:
                yield World(hub, fleet, client, cache, checkpoints, commits)
        hub.stop()


def test_a_model_is_saved_by_its_name_on_the_hub(world: World) -> None:
    """A hub id stores the weights of the main branch; only safe files are asked for, each once."""
    result = world.save("stored", REPO)
    assert (result["task"], result["reference_only"]) == ("text-classification", False)
    assert world.conf("stored")["source_model_name"] == REPO
    fetched = world.fetched()
    assert len(fetched) == len(set(fetched))
    assert f"{REPO}/model.safetensors" in fetched
    assert not [path for path in fetched if path.endswith((".bin", ".py"))]
    assert world.predict("stored") == bare(world.checkpoints["main"])


def test_a_revision_chooses_the_commit(world: World) -> None:
    """A branch and a commit are revisions; the answers are those of its weights."""
    for name, revision in (("by-branch", "v1"), ("by-commit", world.commits["v1"])):
        world.save(name, REPO, revision=revision)
        assert world.predict(name) == bare(world.checkpoints["v1"])


def test_a_reference_holds_names_and_commits_and_no_weights(world: World) -> None:
    """`save_pretrained=False` writes neither model nor components, fetches no weights, and pins 40-digit commits."""
    world.hub.push("acme/referenced", world.checkpoints["v1"])
    world.fetched()
    result = world.save("reference", "acme/referenced", save_pretrained=False)
    assert result["reference_only"]
    assert not [path for path in world.fetched() if path.endswith(".safetensors")]
    artifact = world.artifact("reference")
    assert not (artifact / "model").exists()
    assert not (artifact / "components").exists()
    conf = world.conf("reference")
    assert "model_binary" not in conf
    assert (conf["source_model_name"], conf["tokenizer_name"]) == ("acme/referenced", "acme/referenced")
    assert re.fullmatch("[0-9a-f]{40}", conf["source_model_revision"])
    assert conf["tokenizer_revision"] == conf["source_model_revision"] == world.commits["v1"]


def test_a_reference_is_served_and_does_not_move_with_its_branch(world: World) -> None:
    """Predict fetches the weights of the recorded commit, whatever the branch has become."""
    world.hub.push("acme/moving", world.checkpoints["v1"])
    world.save("moving", "acme/moving", save_pretrained=False)
    world.hub.push("acme/moving", world.checkpoints["main"])
    assert world.predict("moving") == bare(world.checkpoints["v1"])


def test_persist_fetches_the_weights_once_and_changes_no_answer(world: World) -> None:
    """Persist turns a reference into a whole artifact; a second one finds nothing to do; answers stay, also without
    a hub."""
    world.hub.push("acme/persisted", world.checkpoints["v1"])
    world.save("persisted", "acme/persisted", save_pretrained=False)
    before = world.predict("persisted")
    first = world.client.persist("persisted").result(timeout=WAIT_S)
    assert (first["persisted"], first["reference_only"]) == (True, False)
    assert first["bytes"] > (world.checkpoints["v1"] / "model.safetensors").stat().st_size
    conf = world.conf("persisted")
    assert conf["model_binary"] == "model"
    assert {"source_model_revision", "tokenizer_name", "tokenizer_revision"} & set(conf) == set()
    stored = world.artifact("persisted")
    assert (stored / "model" / "model.safetensors").is_file()
    assert (stored / "components" / "tokenizer" / "tokenizer.json").is_file()
    assert [path.name for path in stored.iterdir() if path.name.startswith(".")] == []

    written = (stored / "MLmodel").read_bytes()
    second = world.client.persist("persisted").result(timeout=WAIT_S)
    assert second == {**first, "persisted": False}
    assert (stored / "MLmodel").read_bytes() == written
    with world.hub.down():
        assert world.reload("persisted") == before == bare(world.checkpoints["v1"])


def test_a_job_tells_its_download_in_bytes(world: World) -> None:
    """The progress of a persist job is that of the download, in megabytes; a hub that answers nothing for a while is
    asked again."""
    world.hub.push("acme/slow", world.checkpoints["v1"])
    world.save("slow", "acme/slow", save_pretrained=False)
    world.hub.script("GET .*acme/slow.*safetensors", Fault(silent=True))
    job = world.client.persist("slow")
    while not (phase := job.progress().phase).startswith("downloading"):
        assert not job.status().state.final
    assert re.fullmatch(r"downloading \d+\.\d/\d+\.\d MB", phase)
    world.hub.calm()
    assert job.result(timeout=WAIT_S)["persisted"]


def test_persist_of_a_stored_model_has_nothing_to_do(world: World) -> None:
    """A model that was saved with its weights is persisted already."""
    world.save("complete", REPO)
    assert world.client.persist("complete").result(timeout=WAIT_S)["persisted"] is False


def test_what_is_in_the_cache_needs_no_hub(world: World) -> None:
    """With the hub down, a save by a commit that was fetched before still works."""
    world.save("cached-1", REPO, revision="v1")
    with world.hub.down():
        world.save("cached-2", REPO, revision="v1")
        assert world.predict("cached-2") == bare(world.checkpoints["v1"])


def test_a_hub_that_is_down_is_hub_unavailable(world: World) -> None:
    """A save of what the cache does not have fails as `HubUnavailable`, leaves no version, and works later."""
    world.hub.push("acme/later", world.checkpoints["v1"])
    with world.hub.down(), pytest.raises(HubUnavailable) as caught:
        world.save("later", "acme/later")
    assert caught.value.retryable
    assert not world.artifact("later").exists()
    assert world.save("later", "acme/later")["version"] == 1


def test_a_hub_that_fails_is_hub_unavailable(world: World) -> None:
    """An error of the hub itself is no error of the caller."""
    world.hub.push("acme/failing", world.checkpoints["v1"])
    with world.hub_failing("acme/failing"), pytest.raises(HubUnavailable):
        world.save("failing", "acme/failing")
    assert not world.artifact("failing").exists()


def test_a_reference_whose_weights_cannot_be_fetched_says_so(world: World) -> None:
    """A reference-only model that was never loaded, and a persist of it, are `HubUnavailable` while the hub does not
    give its weights; the artifact stays as it was."""
    world.hub.push("acme/away", other_weights(world.checkpoints["v1"], world.fleet.home / "away"))
    world.save("away", "acme/away", save_pretrained=False)
    written = (world.artifact("away") / "MLmodel").read_bytes()
    with world.hub_failing("safetensors"):
        with pytest.raises(HubUnavailable):
            world.predict("away")
        with pytest.raises(HubUnavailable):
            world.client.persist("away").result(timeout=WAIT_S)
    assert (world.artifact("away") / "MLmodel").read_bytes() == written
    assert not [path for path in world.artifact("away").iterdir() if path.is_dir()]
    assert world.predict("away") == bare(world.fleet.home / "away")


@pytest.mark.parametrize(
    ("source", "revision"), [("acme/nobody", None), (REPO, "no-such-branch"), (REPO, "0" * 40), ("nobody", None)]
)
def test_an_unknown_repository_or_revision_is_a_source_error(world: World, source: str, revision: str | None) -> None:
    """What the hub does not have is the caller's to correct, and is not tried again."""
    with pytest.raises(SourceError, match="the hub has no") as caught:
        world.save("unknown", source, revision=revision)
    assert not caught.value.retryable
    assert not world.artifact("unknown").exists()


def test_a_gated_repository_says_what_to_do(world: World) -> None:
    """Terms that nobody accepted are a `SourceError` that names the token."""
    world.hub.push("acme/gated", world.checkpoints["v1"])
    world.hub.repositories["acme/gated"].gated = True
    with pytest.raises(SourceError, match="HF_TOKEN"):
        world.save("gated", "acme/gated")


def test_a_repository_without_safetensors_is_refused(world: World, tmp_path: Path) -> None:
    """Weights that are only there as pickles are not fetched, and the message says how to convert them."""
    for path in world.checkpoints["v1"].iterdir():
        name = path.name.replace("model.safetensors", "pytorch_model.bin")
        (tmp_path / name).write_bytes(path.read_bytes())
    world.hub.push("acme/pickled", tmp_path)
    with pytest.raises(SourceError, match=r"no \*\.safetensors"):
        world.save("pickled", "acme/pickled")


def test_components_may_come_from_two_repositories(world: World, tmp_path: Path) -> None:
    """A dict of hub ids takes each component from its own repository, and records the commit of each."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((world.checkpoints["v1"] / name).read_bytes())
    commit = world.hub.push("acme/words", tmp_path)
    world.save("joined", {"model": REPO, "tokenizer": "acme/words"}, save_pretrained=False)
    conf = world.conf("joined")
    assert (conf["source_model_name"], conf["source_model_revision"]) == (REPO, world.commits["main"])
    assert (conf["tokenizer_name"], conf["tokenizer_revision"]) == ("acme/words", commit)
    assert world.predict("joined") == bare(world.checkpoints["main"])


# -- a process without a network -------------------------------------------------------------------------------------

OFFLINE = """
import json, os, shutil, sys
from warmlane.errors import WarmlaneError
from warmlane_workers.flavor import load_model, save_model

def answers(path):
    pipe = load_model(path)
    return [[answer["label"], round(answer["score"], 4)] for text in texts for answer in pipe(text)]

def tried(action):
    try:
        return action()
    except WarmlaneError as exc:
        return exc.code

def tell(target):
    return {
        "whole": tried(lambda: answers(whole)),
        "reference": tried(lambda: answers(reference)),
        "save": tried(lambda: save_model(repo, target, revision=revision).source_name),
    }

repo, revision, directory, whole, reference, texts = json.loads(sys.argv[1])
told = {"cache": tell(directory + "/1")}
shutil.rmtree(os.environ["HF_HOME"])
print(json.dumps({**told, "no cache": tell(directory + "/2")}))
"""


@pytest.fixture(scope="module")
def offline(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a process without a network tells, first over a copy of the worker's cache, then over none."""
    directory = tmp_path_factory.mktemp("offline")
    for name in ("offline-whole", "offline-reference"):
        world.save(name, REPO, revision="v1", save_pretrained=False)
    world.client.persist("offline-whole").result(timeout=WAIT_S)
    world.fetched()
    cache = shutil.copytree(world.cache, directory / "hf", symlinks=True)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "HF_ENDPOINT": world.hub.url}
    places = [str(world.artifact(name)) for name in ("offline-whole", "offline-reference")]
    case = json.dumps([REPO, "v1", str(directory), *places, TEXTS])
    run = subprocess.run([sys.executable, "-c", OFFLINE, case], env=env, capture_output=True, text=True, timeout=WAIT_S)
    assert run.returncode == 0, run.stderr
    assert world.fetched() == []
    told: dict[str, dict[str, Any]] = json.loads(run.stdout)
    return told


def test_offline_a_persisted_model_needs_nothing_else(world: World, offline: dict[str, dict[str, Any]]) -> None:
    """Under `HF_HUB_OFFLINE=1` an artifact with weights loads without hub and without cache."""
    expected = [list(answer) for answer in bare(world.checkpoints["v1"])]
    assert offline["no cache"]["whole"] == offline["cache"]["whole"] == expected


def test_offline_the_cache_serves_references_and_saves(world: World, offline: dict[str, dict[str, Any]]) -> None:
    """What was fetched before can be loaded by reference, and saved again by its name."""
    expected = [list(answer) for answer in bare(world.checkpoints["v1"])]
    assert (offline["cache"]["reference"], offline["cache"]["save"]) == (expected, REPO)


def test_offline_without_a_cache_the_hub_is_unavailable(offline: dict[str, dict[str, Any]]) -> None:
    """What is in no cache is `HubUnavailable`, as if the hub were down."""
    told = offline["no cache"]
    assert (told["reference"], told["save"]) == (HubUnavailable.code, HubUnavailable.code)
