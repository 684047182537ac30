"""Checkpoint directories that are unusable, or lie where nobody may read: refused before anything is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.artifacts import refused
from warmlane.errors import SourceError, SourceIncomplete
from warmlane_workers.flavor import save_model


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


def truncated_weights(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", (checkpoint / "model.safetensors").stat().st_size - 1)


def index_is_no_index(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors.index.json").write_text('{"weight_map": 17}')


DAMAGES = [
    (SourceIncomplete, no_weights, r"no \*\.safetensors weights"),
    (SourceIncomplete, pickled_weights, r"no \*\.safetensors weights"),
    (SourceIncomplete, no_tokenizer, "needs a tokenizer"),
    (SourceIncomplete, no_config, "no config.json"),
    (SourceError, config_is_no_json, "config.json is not JSON"),
    (SourceError, config_is_a_list, "config.json is not an object"),
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
