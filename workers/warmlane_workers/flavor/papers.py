"""The papers of an artifact: the model card and the licence. Gathered before anything is written, then written.

Source: the guide, "Automatic Metadata and ModelCard logging", and the behaviour of MLflow's flavor. A card or licence
is read as data: nothing in it is followed, and none of it decides what a model may do.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from huggingface_hub import constants
from huggingface_hub.repocard import RepoCard

from warmlane.errors import SaveRefused, SourceError
from warmlane_workers.flavor import hub

logger = logging.getLogger(__name__)

#: The card without its data, and its data.
CARD, CARD_DATA = "model_card.md", "model_card_data.yaml"
#: The licence's text, or where to look for it; always there, never empty.
LICENCE = "LICENSE.txt"
#: Largest card or licence that is kept, in bytes; what is larger is something else.
MAX_BYTES = 1024 * 1024

#: Where a repository has its card.
_README = "README.md"
#: Names of licence files, MLflow's rule and the other spelling: LICENSE, license.md, MODEL_LICENCE.txt.
_LICENCE_NAME = re.compile(r"licen[sc]e(\.[a-z]+|$)", re.IGNORECASE)
#: A card's data: YAML between two lines of dashes at its top.
_FRONT_MATTER = re.compile(r"\A\s*^---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
#: Values of a card's `license` that name none.
_UNDECLARED = ("other", "unknown")
#: Most characters of a card's value that are quoted in a licence file.
_QUOTED = 200


@dataclass(frozen=True, slots=True)
class Papers:
    """Files of an artifact's root, name -> content."""

    files: Mapping[str, bytes]

    def write(self, target: Path) -> None:
        """Write them into a directory that exists."""
        for name, content in self.files.items():
            (target / name).write_bytes(content)


def gather(
    directory: Path | None,
    hub_id: str | None,
    revision: str | None = None,
    card: RepoCard | str | os.PathLike[str] | None = None,
    resolve: Callable[[Path], Path] = Path.resolve,
    *,
    resolve_card: Callable[[Path], Path] = Path.resolve,
) -> Papers:
    """Find the card and the licence of a model.

    Args:
        directory: a checkpoint, or a snapshot of a hub repository; read before the hub is asked.
        hub_id: asked for where the directory has neither card nor licence; "" and None ask nobody.
        card: wins over the repository's; a `ModelCard`, its text, or the path of a `.md` file.
        resolve: the true place of a file of the directory; raises where it may not be read.
        resolve_card: the same for the path of a given card, which lies elsewhere.

    Raises:
        SaveRefused: the given card is none, or too large.
        SourceError: a file that one of the two refuses, or that cannot be read.
    """
    found = _local(directory, resolve) if directory is not None else {}
    if not found and hub_id:
        found = {name: content for name, content in hub.small_files(hub_id, revision).items() if _is_paper(name)}
    found = {name: content for name, content in found.items() if content.strip() and _fits(name, len(content))}
    readme = found.pop(_README, None)
    text = _decoded(readme) if card is None else _given(card, resolve_card)
    files, data = _card_files(text) if text is not None else ({}, {})
    return Papers(files | _licence_files(found, data, hub_id))


def _is_paper(name: str) -> bool:
    return "/" not in name and (name == _README or _LICENCE_NAME.search(name) is not None)


def _fits(name: str, size: int) -> bool:
    if size > MAX_BYTES:
        logger.warning("left out %s: larger than %d bytes", name, MAX_BYTES, extra={"action": "save"})
    return size <= MAX_BYTES


def _local(directory: Path, resolve: Callable[[Path], Path]) -> dict[str, bytes]:
    found = {}
    try:
        for path in directory.iterdir():
            if _is_paper(path.name) and path.is_file() and _fits(path.name, path.stat().st_size):
                found[path.name] = resolve(path).read_bytes()
    except OSError as exc:
        raise SourceError("the card or the licence: not readable; give this process the right to read it") from exc
    return found


def _decoded(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8-sig", errors="replace")


def _given(card: RepoCard | str | os.PathLike[str], resolve: Callable[[Path], Path]) -> str:
    """The text of a card that was given, data and all."""
    if isinstance(card, RepoCard):
        text = _rendered(card)
    elif isinstance(card, os.PathLike) or (isinstance(card, str) and card.endswith(".md") and "\n" not in card):
        text = _read(Path(card), resolve)
    elif isinstance(card, str):
        text = card
    else:
        raise SaveRefused("model_card: a ModelCard, its text, or the path of a .md file", field="model_card")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as exc:  # half of a surrogate pair
        raise SaveRefused("model_card: not text that UTF-8 can hold", field="model_card") from exc
    if size > MAX_BYTES:
        raise SaveRefused(f"model_card: larger than {MAX_BYTES} bytes", field="model_card", limit=MAX_BYTES)
    return text


def _rendered(card: RepoCard) -> str:
    try:
        # Not `card.content`: that writes down any object, which no safe reader takes.
        data = card.data.to_dict()  # type: ignore[no-untyped-call]
        matter = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        return f"---\n{matter}---\n{card.text}"
    except yaml.YAMLError as exc:
        raise SaveRefused(
            "model_card: its data are no plain values; YAML cannot hold them", field="model_card"
        ) from exc


def _read(path: Path, resolve: Callable[[Path], Path]) -> str:
    try:
        with resolve(path).open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, ValueError, RuntimeError) as exc:  # RuntimeError: a circle of links
        raise SaveRefused("model_card: no such file, or not UTF-8 text", field="model_card") from exc


def _card_files(text: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A card's files and its data. Data that cannot be read stay in the text, where nothing is lost."""
    block = _FRONT_MATTER.match(text)
    matter = block[1] if block else "{}\n"
    try:
        data = _parsed(matter)
    except ValueError:
        data = matter
    if data is None:
        data, matter = {}, "{}\n"
    if not isinstance(data, dict):
        logger.warning("the model card's data are not readable as YAML; its text is kept", extra={"action": "save"})
        return {CARD: text.encode()}, {}
    body = text[block.end() :] if block else text
    return {CARD: body.encode(), CARD_DATA: matter.encode()}, data


def card_data(text: str) -> dict[str, Any]:
    """The data at the top of a card's text; empty where there are none that can be read."""
    block = _FRONT_MATTER.match(text)
    try:
        data = _parsed(block[1]) if block else None
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _parsed(matter: str) -> Any:
    """A card's data as YAML.

    Raises:
        ValueError: not readable as such.
    """
    try:
        # In Python: the C loader overflows its stack on deep nesting, and takes the process with it.
        return yaml.safe_load(matter)
    except (yaml.YAMLError, LookupError, AttributeError, RecursionError) as exc:
        # PyYAML raises these of `!!int ''`, `!!bool x` and `!!timestamp x`.
        raise ValueError("not readable as YAML") from exc


def _licence_files(found: Mapping[str, bytes], data: Mapping[str, Any], hub_id: str | None) -> dict[str, bytes]:
    """The guide's three steps: the licence that came along, the type that the card declares, where to look.

    A licence that came along keeps its name, as MLflow writes it, and is `LICENSE.txt` too, as the guide promises.
    """
    if not found:
        return {LICENCE: _where_to_look(data, hub_id).encode()}
    name = min(found, key=lambda name: (_LICENCE_NAME.match(name) is None, name))
    content = found[name]
    try:
        content.decode()
    except UnicodeDecodeError:  # a PDF, say
        return {LICENCE: f"The licence is in the file {name!r} beside this one.\n".encode(), name: content}
    return {LICENCE: content, name: content}


def _where_to_look(data: Mapping[str, Any], hub_id: str | None) -> str:
    declared = _declared(data)
    lines = [f"The declared license type is: {declared!r}" if declared else "No licence came with the weights."]
    named = [f"{key}: {data[key][:_QUOTED]!r}" for key in ("license_name", "license_link") if _is_text(data.get(key))]
    if named:
        lines.append(f"The model card says {', '.join(named)}")
    if hub_id:
        lines.append(f"Which restrictions exist on the use of the model: see {constants.ENDPOINT}/{hub_id}")
    else:
        lines.append("Ask the publisher of the weights which restrictions exist before use.")
    return "\n".join(lines) + "\n"


def _declared(data: Mapping[str, Any]) -> str:
    value = data.get("license")
    names = [name.strip() for name in (value if isinstance(value, list) else [value]) if _is_text(name)]
    return ", ".join(name for name in names if name.lower() not in _UNDECLARED)[:_QUOTED]


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())
