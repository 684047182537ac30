"""Adapters: their base by reference, by path or beside them; each loads what the other saved, with the same scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import transformers
from peft import PeftModel

from interop.adapters import METHODS, TASK, adapted
from interop.questions import TEXTS, same
from tests.hub import Hub
from tests.tiny_native import checkpoint, weights_of
from tests.tiny_text import labels
from warmlane.errors import ArtifactError
from warmlane_workers import flavor

pytestmark = pytest.mark.parametrize("method", METHODS)


def scores(pipeline: Any) -> Any:
    assert isinstance(pipeline.model, PeftModel)
    return pipeline(TEXTS, top_k=None)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return checkpoint(TASK, tmp_path / "base")


@pytest.fixture
def repo(hub: Hub, base: Path) -> str:
    hub.push("interop/base", base)
    return "interop/base"


def test_the_base_on_the_hub(method: str, repo: str, tmp_path: Path) -> None:
    """An adapter whose base is a hub id is saved alone, and MLflow puts it over that base."""
    source = adapted(repo, method)
    flavor.save_model(source, tmp_path / "model")
    assert weights_of(tmp_path / "model") == {"peft/adapter_model.safetensors"}
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), scores(source))


def test_the_base_in_a_directory(method: str, base: Path, tmp_path: Path) -> None:
    """An adapter saved with `base_model_path` refers to that directory, in MLflow too."""
    source = adapted(str(base), method)
    flavor.save_model(source, tmp_path / "model", base_model_path=str(base))
    assert weights_of(tmp_path / "model") == {"peft/adapter_model.safetensors"}
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), scores(source))


def test_the_base_beside_the_adapter(method: str, base: Path, tmp_path: Path) -> None:
    """Where the base is neither, its own weights lie beside the adapter, and MLflow loads both right."""
    source = adapted(str(base), method)
    source.model.get_base_model().name_or_path = ""
    flavor.save_model(source, tmp_path / "model")
    assert weights_of(tmp_path / "model") == {"peft/adapter_model.safetensors", "model/model.safetensors"}
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), scores(source))


def test_the_base_persisted(method: str, repo: str, hub: Hub, tmp_path: Path) -> None:
    """After warmlane's persist MLflow loads adapter and base without the hub, and the scores are what they were."""
    source = adapted(repo, method)
    before = scores(source)
    flavor.save_model(source, tmp_path / "model")
    flavor.persist_pretrained_model(tmp_path / "model")
    del hub.repositories[repo]
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), before)


def test_an_adapters_directory(method: str, repo: str, tmp_path: Path) -> None:
    """An adapter's directory, never loaded, is saved with its base by reference, and loads in MLflow."""
    source = adapted(repo, method)
    source.model.save_pretrained(str(tmp_path / "adapter"))
    source.tokenizer.save_pretrained(tmp_path / "adapter")
    flavor.save_model(str(tmp_path / "adapter"), tmp_path / "model", task=TASK)
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), scores(source))


def test_the_components(method: str, repo: str, tmp_path: Path) -> None:
    """As components MLflow gives the adapted model, which makes the same pipeline."""
    source = adapted(repo, method)
    flavor.save_model({"model": source.model, "tokenizer": source.tokenizer}, tmp_path / "model", task=TASK)
    loaded = mlflow.transformers.load_model(str(tmp_path / "model"), return_type="components")
    assert same(scores(transformers.pipeline(**loaded)), scores(source))


def test_the_pyfunc(method: str, repo: str, tmp_path: Path) -> None:
    """MLflow's pyfunc over an adapter answers as the pipeline that was saved."""
    source = adapted(repo, method)
    flavor.save_model(source, tmp_path / "model")
    shown = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(TEXTS)
    assert same(shown.to_dict("records"), source(TEXTS))


def test_mlflows_adapter_over_the_hub(method: str, repo: str, tmp_path: Path) -> None:
    """What MLflow saved of an adapter whose base is a hub id loads in warmlane with the same scores."""
    source = adapted(repo, method)
    mlflow.transformers.save_model(source, str(tmp_path / "model"), pip_requirements=["transformers", "peft"])
    assert same(scores(flavor.load_model(tmp_path / "model")), scores(source))


def test_mlflows_adapter_over_a_directory(method: str, base: Path, tmp_path: Path) -> None:
    """What MLflow saved with `base_model_path` loads in warmlane with the same scores."""
    source = adapted(str(base), method)
    mlflow.transformers.save_model(
        source, str(tmp_path / "model"), base_model_path=str(base), pip_requirements=["transformers", "peft"]
    )
    assert same(scores(flavor.load_model(tmp_path / "model")), scores(source))


def test_mlflows_corrupt_base_never_answers_wrongly(method: str, base: Path, tmp_path: Path) -> None:
    """MLflow writes the base beside an adapter under names that no base has; warmlane loads it right, or refuses it."""
    source = adapted(str(base), method)
    mlflow.transformers.save_model(source, str(tmp_path / "model"), pip_requirements=["transformers", "peft"])
    try:
        loaded = flavor.load_model(tmp_path / "model")
    except ArtifactError:
        return
    assert same(scores(loaded), scores(source))


@pytest.mark.parametrize("persisted", [False, True], ids=["referred to", "persisted"])
def test_a_head_over_a_base_without_one(method: str, persisted: bool, hub: Hub, tmp_path: Path) -> None:
    """The usual adapter brings the head that its base lacks; persisted, the base tells MLflow of its labels, too."""
    hub.push("interop/encoder", checkpoint("feature-extraction", tmp_path / "encoder"))
    source = adapted("interop/encoder", method, **(labels("bad", "fair", "good") if persisted else {}))
    flavor.save_model(source, tmp_path / "model")
    assert weights_of(tmp_path / "model") == {"peft/adapter_model.safetensors"}
    if persisted:
        flavor.persist_pretrained_model(tmp_path / "model")
    assert same(scores(mlflow.transformers.load_model(str(tmp_path / "model"))), scores(source))
    assert same(scores(flavor.load_model(tmp_path / "model")), scores(source))
