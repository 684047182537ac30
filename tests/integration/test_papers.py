"""The model card and the licence of an artifact: where they come from, and that a licence file is always there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, constants

from tests.hub import Hub
from warmlane.errors import SaveRefused, SourceError
from warmlane_workers.flavor import papers
from warmlane_workers.flavor.source import inside

CARD = "---\nlicense: apache-2.0\ntags:\n- 😀\n---\n# A model 😀\n\nWords — and more.\n"
DATA = {"license": "apache-2.0", "tags": ["😀"]}
REPO = "acme/model"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint's directory, as far as papers are concerned."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def written(target: Path, *arguments: Any, **named: Any) -> dict[str, str]:
    """The files that were written, name -> text."""
    papers.gather(*arguments, **named).write(target)
    return {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()}


def test_the_card_of_a_checkpoint_is_split(source: Path, target: Path) -> None:
    """The text goes to model_card.md without its data, the data to model_card_data.yaml; both keep their emoji."""
    (source / "README.md").write_text(CARD, encoding="utf-8")
    found = written(target, source, None)
    assert found["model_card.md"] == "# A model 😀\n\nWords — and more.\n"
    assert yaml.safe_load(found["model_card_data.yaml"]) == DATA
    assert "😀" in found["model_card_data.yaml"]


def test_windows_line_ends_and_a_byte_order_mark_split_as_well(source: Path, target: Path) -> None:
    """A card that was written on Windows has its data found."""
    (source / "README.md").write_bytes(("\ufeff" + CARD.replace("\n", "\r\n")).encode())
    found = written(target, source, None)
    assert found["model_card.md"].startswith("# A model 😀")
    assert yaml.safe_load(found["model_card_data.yaml"]) == DATA


@pytest.mark.parametrize("kind", ["object", "text", "str path", "path"])
def test_a_given_card_wins(source: Path, target: Path, tmp_path: Path, kind: str) -> None:
    """A card that was given, in whatever form, is written instead of the checkpoint's."""
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Another\n")
    path = tmp_path / "mine.md"
    path.write_text(CARD, encoding="utf-8")
    card = {"object": ModelCard(CARD), "text": CARD, "str path": str(path), "path": path}[kind]
    found = written(target, source, None, None, card)
    assert found["model_card.md"].startswith("# A model 😀")
    assert yaml.safe_load(found["model_card_data.yaml"]) == DATA
    assert "apache-2.0" in found["LICENSE.txt"]


def test_a_card_without_data_has_empty_data(target: Path) -> None:
    """Text alone is a card; its data are an empty mapping."""
    found = written(target, None, None, None, "# Only words\n")
    assert found["model_card.md"] == "# Only words\n"
    assert yaml.safe_load(found["model_card_data.yaml"]) == {}


def test_no_card_makes_no_card_files(source: Path, target: Path) -> None:
    """Where there is no card, only the licence file is written."""
    assert list(written(target, source, None)) == ["LICENSE.txt"]


@pytest.mark.parametrize(
    "matter", ["a: [1, 2", "just words", "- a\n- list", "? " * 5000, "[" * 5_000, "a: !!python/name:os.system"]
)
def test_unreadable_data_stay_in_the_text(
    source: Path, target: Path, matter: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Data that are no YAML mapping are logged and left in the card; nothing is lost, nothing is run."""
    text = f"---\n{matter}\n---\n# A model\n"
    (source / "README.md").write_text(text)
    with caplog.at_level(logging.WARNING):
        found = written(target, source, None)
    assert found["model_card.md"] == text
    assert "model_card_data.yaml" not in found
    assert "not readable as YAML" in caplog.text


@pytest.mark.parametrize(
    "card",
    [7, "absent.md", "a\0b.md", "x" * (papers.MAX_BYTES + 1), "\ud800", Path("absent.md")],
    ids=["number", "absent", "null", "large", "surrogate", "path"],
)
def test_what_is_no_card_is_refused(card: Any) -> None:
    """A card that cannot be written is refused before anything is."""
    with pytest.raises(SaveRefused, match=r"^model_card:"):
        papers.gather(None, None, None, card)


def test_card_data_that_yaml_cannot_hold_are_refused() -> None:
    """Objects in a card's data are refused, not written as something else."""
    card = ModelCard(CARD)
    card.data["own"] = object()
    with pytest.raises(SaveRefused, match="plain values"):
        papers.gather(None, None, None, card)


def test_paths_are_read_inside_the_roots_only(source: Path, tmp_path: Path) -> None:
    """Neither a given card nor a link in a checkpoint leads out of the directories that may be read."""
    (tmp_path / "secret.md").write_text("secret")
    (source / "README.md").symlink_to(tmp_path / "secret.md")

    def resolve(path: Path) -> Path:
        return inside(path, (source,))

    with pytest.raises(SourceError):
        papers.gather(source, None, None, None, resolve)
    with pytest.raises(SourceError):
        papers.gather(None, None, None, tmp_path / "secret.md", resolve_card=resolve)


@pytest.mark.parametrize("name", ["LICENSE", "license.md", "LICENCE", "MODEL_LICENSE.txt", "LICENSE.txt"])
def test_a_licence_that_came_along_is_copied(source: Path, target: Path, name: str) -> None:
    """The file keeps its name, as with MLflow, and is LICENSE.txt as well, as the guide promises."""
    (source / name).write_text("Do as you like.\n")
    found = written(target, source, REPO)
    assert found == {name: "Do as you like.\n", "LICENSE.txt": "Do as you like.\n"}


def test_the_licence_proper_comes_before_its_namesakes(source: Path, target: Path) -> None:
    """Of several files the one that is called after the licence alone is taken; empty ones are none."""
    for name, text in (("DATA_LICENSE", "of the data"), ("LICENSE", ""), ("LICENSE.md", "of the model")):
        (source / name).write_text(text)
    assert written(target, source, None) == {"LICENSE.md": "of the model", "LICENSE.txt": "of the model"}


def test_a_licence_that_is_no_text_is_pointed_to(source: Path, target: Path) -> None:
    """A PDF is copied, and LICENSE.txt names it."""
    (source / "LICENSE.pdf").write_bytes(b"%PDF\xff\x00")
    papers.gather(source, None).write(target)
    assert (target / "LICENSE.pdf").read_bytes() == b"%PDF\xff\x00"
    assert "LICENSE.pdf" in (target / "LICENSE.txt").read_text()


@pytest.mark.parametrize("name", ["license_tool.py", "licenses", "LICENSE.1"])
def test_other_names_are_no_licence(source: Path, target: Path, name: str) -> None:
    """Only names that MLflow takes for a licence are taken for one."""
    (source / name).write_text("words")
    assert list(written(target, source, None)) == ["LICENSE.txt"]


def test_a_file_too_large_for_a_licence_is_left_out(
    source: Path, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is larger than a mebibyte is logged and not copied; a licence file is there all the same."""
    (source / "LICENSE").write_bytes(b"x" * (papers.MAX_BYTES + 1))
    assert list(written(target, source, None)) == ["LICENSE.txt"]
    assert "larger than" in caplog.text


@pytest.mark.parametrize(
    ("declared", "expected"),
    [("mit", "'mit'"), (["mit", "cc-by-4.0"], "'mit, cc-by-4.0'"), ("other", None), (7, None), ("", None)],
)
def test_the_declared_type_is_named(source: Path, target: Path, declared: Any, expected: str | None) -> None:
    """Without a licence file, LICENSE.txt names the type that the card declares; "other" declares none."""
    (source / "README.md").write_text(f"---\n{yaml.safe_dump({'license': declared})}---\n")
    text = written(target, source, None)["LICENSE.txt"]
    assert text.startswith(f"The declared license type is: {expected}" if expected else "No licence came")


def test_a_licence_of_its_own_name_is_mentioned(source: Path, target: Path) -> None:
    """The name and the link that a card gives for a licence of its own are passed on."""
    (source / "README.md").write_text(
        "---\nlicense: other\nlicense_name: own-community\nlicense_link: https://example.org/terms\n---\n"
    )
    text = written(target, source, None)["LICENSE.txt"]
    assert "'own-community'" in text
    assert "'https://example.org/terms'" in text


def test_text_without_a_form_in_utf8_is_quoted_escaped(source: Path, target: Path) -> None:
    """Half a surrogate pair in a card's data spoils no save."""
    (source / "README.md").write_text('---\nlicense: "\\ud800"\n---\n')
    assert "\\ud800" in written(target, source, None)["LICENSE.txt"]


def test_without_any_hint_the_repository_is_linked(source: Path, target: Path) -> None:
    """For a hub id LICENSE.txt ends with the link to its repository at the hub that is configured."""
    (source / "README.md").write_text("# No data\n")
    text = written(target, source, REPO)["LICENSE.txt"]
    assert text.rstrip().endswith(f"{constants.ENDPOINT}/{REPO}")


def test_without_a_hub_id_the_publisher_is_to_be_asked(target: Path) -> None:
    """Weights from nowhere still have a licence file, and it says so."""
    assert "publisher" in written(target, None, "")["LICENSE.txt"]


def test_the_hub_is_asked_by_name_alone(hub: Hub, source: Path, target: Path) -> None:
    """A model in memory with a hub id gets the repository's card and licence; no weights are fetched."""
    (source / "README.md").write_text(CARD, encoding="utf-8")
    (source / "LICENSE").write_text("Do as you like.\n")
    (source / "model.safetensors").write_bytes(b"weights")
    hub.push(REPO, source)
    found = written(target, None, REPO)
    assert found["model_card.md"].startswith("# A model 😀")
    assert found["LICENSE.txt"] == found["LICENSE"] == "Do as you like.\n"
    assert sorted(hub.paths) == [f"{REPO}/LICENSE", f"{REPO}/README.md"]


def test_a_directory_with_papers_asks_nobody(hub: Hub, source: Path, target: Path) -> None:
    """What lies in the directory is enough: the hub sees no request."""
    (source / "README.md").write_text(CARD, encoding="utf-8")
    written(target, source, REPO)
    assert not hub.paths
