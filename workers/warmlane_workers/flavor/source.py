"""Where a save may take files from, and which. Every path is resolved and checked against the allowed roots.

A source is a directory of the local file system or a hub id. Nothing outside the roots is read, whatever links there
are; only files that cannot run code are copied.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from warmlane.errors import SourceError
from warmlane_workers.flavor import hub

#: File names that hold a tokenizer. transformers 5 makes one up, in silence, where none of them is there.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
)
#: Tokenizers that read bytes or characters, and so have no file of the above.
BYTE_TOKENIZERS = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")

#: safetensors' names of the element types that models are loaded in.
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}

#: Architecture's name ends so -> the task that it serves, for sources that do not say.
_TASK_OF_ARCHITECTURE = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForMaskedLM", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("Model", "feature-extraction"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory with a transformers checkpoint, checked.

    Attributes:
        name: the hub id, or the path, that it goes by.
        revision: commit of a hub id.
        roots: where its files may truly lie.
    """

    directory: Path
    name: str
    revision: str | None
    roots: tuple[Path, ...]

    def config(self) -> dict[str, Any]:
        """`config.json`.

        Raises:
            SourceError: absent or not JSON.
        """
        path = self.directory / "config.json"
        try:
            content = json.loads(self.resolve(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SourceError(f"{self.name}: no config.json, so this is no transformers checkpoint") from None
        except ValueError as exc:
            raise SourceError(f"{self.name}: config.json is not JSON") from exc
        if not isinstance(content, dict):
            raise SourceError(f"{self.name}: config.json is not an object")
        return content

    def weights_dtype(self) -> str | None:
        """The element type of most floating-point weights, from the files' headers; no weights are read.

        Raises:
            SourceError: a header is damaged, or the file is not as long as it says.
        """
        counts: Counter[str] = Counter()
        for path in sorted(self.directory.glob("*.safetensors")):
            try:
                with safetensors.safe_open(self.resolve(path), "pt") as tensors:
                    names = tensors.keys()
                    counts.update(tensors.get_slice(name).get_dtype() for name in names)
            except safetensors.SafetensorError as exc:
                raise SourceError(f"{self.name}: the weights are damaged ({path.name} is no safetensors file)") from exc
        return next((_DTYPES[name] for name, _ in counts.most_common() if name in _DTYPES), None)

    def has_tokenizer(self) -> bool:
        return has_tokenizer(self.directory)

    def files(self) -> list[Path]:
        """The checkpoint's own files, as far as an artifact takes them.

        Raises:
            SourceError: there are no safetensors weights, or a file lies outside the roots.
        """
        found = [path for path in sorted(self.directory.iterdir()) if path.is_file() and _is_safe(path.name)]
        for path in found:
            self.resolve(path)
        if not any(path.suffix == ".safetensors" for path in found):
            raise SourceError(
                f"{self.name}: no *.safetensors weights; convert them with `model.save_pretrained(dir)` first"
            )
        return found

    def resolve(self, path: Path) -> Path:
        """The true path of a file.

        Raises:
            SourceError: it lies outside the roots.
        """
        return inside(path, self.roots)

    def copy_to(self, target: Path) -> int:
        """Copy the checkpoint's own files; returns their bytes.

        Raises:
            SourceError: as `files`, before anything is written.
        """
        files = self.files()
        target.mkdir(parents=True)
        for path in files:
            _copy(self.resolve(path), target / path.name, link=self.revision is not None)
        return sum(path.stat().st_size for path in files)


def has_tokenizer(directory: Path) -> bool:
    """Whether a directory has a tokenizer's vocabulary."""
    return any((directory / name).exists() for name in TOKENIZER_FILES)


def _is_safe(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in hub.SAFE_FILES)


def _copy(source: Path, target: Path, *, link: bool) -> None:
    """Copy a file. The hub's cache never changes a file in place, so there a hard link does where one is possible."""
    if link:
        try:
            os.link(source, target)
        except OSError:
            pass  # another file system
        else:
            return
    shutil.copyfile(source, target)


def inside(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path with all links followed.

    Raises:
        SourceError: it lies under none of the roots.
    """
    true = path.resolve()
    if not any(true.is_relative_to(root) for root in roots):
        raise SourceError(
            "the source lies outside the directories that this worker may read; "
            "move it, or add its directory to WARMLANE_SOURCE_ROOTS",
            field="source",
        )
    return true


def find(source: str, roots: tuple[Path, ...], revision: str | None, *, weights: bool = True) -> Checkpoint:
    """Resolve a source: a local directory if it looks like a path or is one, else a hub id.

    Args:
        weights: False fetches of a hub id everything but the weights.

    Raises:
        SourceError: absent, outside the roots, or neither a path nor a hub id.
        HubUnavailable: the hub does not answer.
    """
    try:
        path = Path(source).expanduser()
        if source.startswith(("/", "./", "../", "~")) or path.is_dir():
            true = inside(path, roots)
            if not true.is_dir():
                raise SourceError("source: no such directory on this worker", field="source")
            return Checkpoint(true, str(true), None, roots)
    except (OSError, ValueError, RuntimeError) as exc:  # too long, a null byte, the home of an unknown user
        raise SourceError("source: not a path that this worker can read", field="source") from exc
    if not hub.is_id(source):
        raise SourceError("source: neither a directory that this worker sees nor a hub id", field="source")
    directory = hub.snapshot(source, revision, hub.SAFE_FILES if weights else hub.LIGHT_FILES)
    return Checkpoint(directory, source, directory.name, (hub.cache_root(),))


def infer_task(config: dict[str, Any]) -> str | None:
    """The task that a checkpoint's architecture serves; None where it serves several."""
    for architecture in config.get("architectures") or []:
        for ending, task in _TASK_OF_ARCHITECTURE:
            if str(architecture).endswith(ending):
                return task
    return None
