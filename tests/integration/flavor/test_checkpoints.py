"""Checkpoint directories that are unusable, or lie where nobody may read: refused before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertForSequenceClassification

from tests.artifacts import answer, files, refused
from warmlane.errors import SourceError, SourceIncomplete
from warmlane_workers.flavor import load_model, save_model


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


def config_is_deep(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text('{"a":' + "[" * 100_000)


def config_is_a_directory(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    (checkpoint / "config.json").mkdir()


def tokenizer_config_is_deep(checkpoint: Path) -> None:
    (checkpoint / "tokenizer_config.json").write_text("[" * 100_000)


def links_in_a_circle(checkpoint: Path) -> None:
    (checkpoint / "LICENSE").unlink()
    (checkpoint / "LICENSE").symlink_to(checkpoint / "LICENSE")


def damaged_tokenizer(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").write_text('{"version": "1.0"')


def damaged_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"\xff" * 100)


def truncated_weights(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", (checkpoint / "model.safetensors").stat().st_size - 1)


def shards(checkpoint: Path) -> Path:
    """Cut the weights into shards; returns their index."""
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="40KB")
    return checkpoint / "model.safetensors.index.json"


def shards_without_index(checkpoint: Path) -> None:
    shards(checkpoint).unlink()


def one_shard_less(checkpoint: Path) -> None:
    shards(checkpoint).with_name("model-00002-of-00003.safetensors").unlink()


def index_of_files_elsewhere(checkpoint: Path) -> None:
    index = shards(checkpoint)
    index.write_text(index.read_text().replace("model-00002", "../model-00002"))


def index_is_deep(checkpoint: Path) -> None:
    shards(checkpoint).write_text("[" * 100_000)


def consolidated_only(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "consolidated.safetensors")


def variant_only(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "model.fp16.safetensors")


def index_is_no_index(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": 17}')


DAMAGES = [
    (SourceIncomplete, no_weights, r"no \*\.safetensors weights"),
    (SourceIncomplete, pickled_weights, r"no \*\.safetensors weights"),
    (SourceIncomplete, no_tokenizer, "needs a tokenizer"),
    (SourceIncomplete, no_config, "no config.json"),
    (SourceError, config_is_no_json, "config.json is not JSON"),
    (SourceError, config_is_a_list, "config.json is not an object"),
    (SourceError, config_is_deep, "config.json is not JSON"),
    (SourceError, config_is_a_directory, "config.json is not JSON"),
    (SourceError, tokenizer_config_is_deep, "tokenizer does not load"),
    (SourceError, links_in_a_circle, "links that lead in a circle"),
    (SourceIncomplete, shards_without_index, "index.json is missing"),
    (SourceIncomplete, one_shard_less, "model-00002-of-.* is missing"),
    (SourceError, index_of_files_elsewhere, "no .*safetensors beside it"),
    (SourceError, index_is_deep, "not the index of sharded weights"),
    (SourceIncomplete, consolidated_only, "does not load consolidated.safetensors; .*save_pretrained"),
    (SourceIncomplete, variant_only, "does not load model.fp16.safetensors; .*save_pretrained"),
    (SourceError, damaged_tokenizer, "tokenizer does not load"),
    (SourceError, damaged_weights, "weights are damaged"),
    (SourceError, truncated_weights, "weights are damaged"),
    (SourceError, index_is_no_index, "not the index of sharded weights"),
]


@pytest.mark.parametrize(("error", "damage", "message"), DAMAGES, ids=[case[1].__name__ for case in DAMAGES])
def test_an_incomplete_checkpoint_is_refused_for_what_it_lacks(
    classifier: Path, target: Path, error: type[SourceError], damage: Callable[[Path], None], message: str
) -> None:
    """Each way in which a checkpoint is unusable has its own words; what is absent is told from what is damaged."""
    damage(classifier)
    refused(error, message, classifier, target)


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


@pytest.mark.parametrize("form", [lambda text: text, lambda text: {"model": text}], ids=["source", "component"])
def test_an_empty_source_is_not_the_working_directory(
    classifier: Path, target: Path, monkeypatch: pytest.MonkeyPatch, form: Callable[[str], Any]
) -> None:
    """A variable that nobody set saves nothing, though a checkpoint lies where the process runs."""
    monkeypatch.chdir(classifier)
    refused(SourceError, "an empty text", form(""), target)


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


@pytest.mark.parametrize(
    "other", ["consolidated.safetensors", "model.fp16.safetensors", "model-00001-of-00002.safetensors"]
)
def test_the_same_weights_in_another_form_stay_behind(classifier: Path, target: Path, other: str) -> None:
    """Only what transformers would load is taken; a second copy would double the artifact."""
    shutil.copyfile(classifier / "model.safetensors", classifier / other)
    save_model(classifier, target)
    assert {name for name in files(target) if name.endswith(".safetensors")} == {"model/model.safetensors"}


def test_shards_are_taken_with_their_index(classifier: Path, target: Path, artifact: Path) -> None:
    """Sharded weights answer as the one file that they were, also with their other form beside them."""
    shutil.copyfile(classifier / "model.safetensors", classifier / "consolidated.safetensors")
    shards(classifier)
    save_model(classifier, target)
    assert "model/model.safetensors.index.json" in files(target)
    assert "model/consolidated.safetensors" not in files(target)
    assert answer("text-classification", load_model(target)) == answer("text-classification", load_model(artifact))


DATA = ["a: 2024-99-99", "a: !!int ''", "a: !!bool x", "a: !!timestamp x", "a: " + "[" * 5000, "[", "17"]


@pytest.mark.parametrize("data", DATA, ids=lambda text: text[:16])
def test_a_card_whose_data_cannot_be_read_stops_no_save(classifier: Path, target: Path, data: str) -> None:
    """A card is paper: whatever stands at its top, the model is saved, and the card's text with it."""
    (classifier / "README.md").write_text(f"---\n{data}\n---\n# A model\n")
    assert save_model(classifier, target).task == "text-classification"
    assert "# A model" in (target / "model_card.md").read_text()
