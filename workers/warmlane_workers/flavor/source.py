"""Where a save may take files from, and which. Every path is resolved and checked against the allowed roots.

A source is a directory of the local file system or a hub id. Nothing outside the roots is read, whatever links there
are; only files that cannot run code are copied.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmlane.errors import SourceError, SourceIncomplete
from warmlane_workers.flavor import adapters, custom_code, files, hub, papers, reading, weights
from warmlane_workers.flavor.architectures import infer_task as infer_task
from warmlane_workers.pipelines.registry import is_task, takes_processor


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
            SourceIncomplete: absent.
            SourceError: not a JSON object.
        """
        path = self.directory / "config.json"
        try:
            content = json.loads(self.resolve(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SourceIncomplete(f"{self.name}: no config.json, so this is no transformers checkpoint") from None
        except (OSError, ValueError, RecursionError) as exc:
            raise SourceError(f"{self.name}: config.json is not JSON that can be read") from exc
        if not isinstance(content, dict):
            raise SourceError(f"{self.name}: config.json is not an object")
        return content

    def weights_dtype(self) -> str | None:
        """The element type of most floating-point weights, from the files' headers; no weights are read.

        Raises:
            SourceIncomplete: there are none.
            SourceError: a header is damaged, or the file is not as long as it says.
        """
        # Of a hub id that is only referred to, there may be some or none.
        paths = sorted(self.directory.glob("*.safetensors")) if self.revision else self._weights()
        return weights.dtype(paths, self.name, self.resolve)

    def component_names(self, task: str | None = None) -> list[str]:
        """The components whose files lie beside the model's.

        Args:
            task: a processor is looked for where the task's pipeline takes one.
        """
        found = ["tokenizer"] if self._has_tokenizer() else []
        path = self.directory / "preprocessor_config.json"
        if path.is_file():
            text = self.resolve(path).read_text(encoding="utf-8", errors="replace")
            found.append("image_processor" if '"image_processor_type"' in text else "feature_extractor")
        else:  # a processor that transformers 5 wrote has them in its own file
            found += custom_code.parts_of_processor(self.directory)
        if task is not None and takes_processor(task) and self._has_processor():
            found.append("processor")
        return found

    def _has_tokenizer(self) -> bool:
        return (
            reading.has_tokenizer(self.directory)
            or custom_code.declared_class(self.directory, "tokenizer") in reading.BYTE_TOKENIZERS
            or bool(custom_code.auto_map(self.directory, "tokenizer_config.json"))
        )

    def _has_processor(self) -> bool:
        maps = (custom_code.auto_map(self.directory, f"{kind}_config.json") for kind in ("processor", "preprocessor"))
        return bool(custom_code.declared_class(self.directory, "processor")) or any("AutoProcessor" in m for m in maps)

    def adapter_files(self) -> list[Path]:
        """The files of a PEFT adapter.

        Raises:
            SourceIncomplete: its configuration is not there, or its weights are not as safetensors.
        """
        if not (self.directory / adapters.CONFIG).is_file():
            raise SourceIncomplete(f"{self.name}: no {adapters.CONFIG}, so this is no PEFT adapter")
        path = self.directory / adapters.WEIGHTS
        if not path.is_file():
            raise SourceIncomplete(
                f"{self.name}: no {adapters.WEIGHTS}; save the adapter with `save_pretrained(dir)` of a recent PEFT"
            )
        names = (adapters.CONFIG, adapters.WEIGHTS, "README.md")
        return [self.resolve(self.directory / name) for name in names if (self.directory / name).is_file()]

    @property
    def is_adapter(self) -> bool:
        """Whether it is a PEFT adapter, which needs a base, and no model."""
        return (self.directory / adapters.CONFIG).is_file() and not any(
            path.name != adapters.WEIGHTS for path in self.directory.glob("*.safetensors")
        )

    def task(self) -> str | None:
        """The task that it serves: what its model card says, else what its architecture tells; None where neither does.

        Source: the front matter's `pipeline_tag`, by which `transformers.pipeline` chooses for a hub id.
        """
        tag = self._card().get("pipeline_tag")
        return tag if isinstance(tag, str) and is_task(tag) else infer_task(self.config())

    def _card(self) -> dict[str, Any]:
        path = self.directory / "README.md"
        if not path.is_file():
            return {}
        return papers.card_data(self.resolve(path).read_text(encoding="utf-8", errors="replace"))

    def files(self, *, code: bool = False) -> list[Path]:
        """The checkpoint's own files, as far as an artifact takes them.

        Args:
            code: its Python files as well.

        Raises:
            SourceIncomplete: there are no safetensors weights, or not all that the index names.
            SourceError: a file lies outside the roots.
        """
        patterns = [*hub.SAFE_FILES, *(hub.CODE_FILES if code else [])]
        own = self._weights()
        found = [
            path
            for path in sorted(self.directory.rglob("*") if code else self.directory.iterdir())
            if path.is_file()
            and any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
            and (path in own or not weights.is_another(path))
        ]
        for path in found:
            self.resolve(path)
        return found

    def _weights(self) -> list[Path]:
        return weights.find(self.directory, self.name, self.resolve)

    def resolve(self, path: Path) -> Path:
        """The true path of a file.

        Raises:
            SourceError: it lies outside the roots.
        """
        return inside(path, self.roots)

    def copy_to(self, target: Path, *, code: bool = False) -> dict[str, str]:
        """Copy the checkpoint's own files; returns the hashes of its weights, by file name.

        Raises:
            SourceError: as `files`, before anything is written.
        """
        found = self.files(code=code)
        target.mkdir(parents=True)
        hashes: dict[str, str] = {}
        for path in found:
            name = path.relative_to(self.directory)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            # Only weights are worth a link; whoever edits a small file of the artifact must not edit the hub's cache.
            link = self.revision is not None and path.suffix == ".safetensors"
            digest = files.copy(self.resolve(path), target / name, link=link)
            if digest is not None:
                hashes[name.as_posix()] = digest
        return hashes


def inside(path: Path, roots: tuple[Path, ...]) -> Path:
    """The path with all links followed.

    Raises:
        SourceError: it lies under none of the roots, or nowhere.
    """
    try:
        true = path.resolve()
    except RuntimeError as exc:
        raise SourceError(f"the source has links that lead in a circle ({path.name})", field="source") from exc
    if not any(true.is_relative_to(root) for root in roots):
        raise SourceError(
            "the source lies outside the directories that this worker may read; "
            "move it, or add its directory to WARMLANE_SOURCE_ROOTS",
            field="source",
        )
    return true


def find(
    source: str,
    roots: tuple[Path, ...],
    revision: str | None,
    *,
    weights: bool = True,
    code: bool = False,
    report: hub.Report | None = None,
) -> Checkpoint:
    """Resolve a source: a local directory if it looks like a path or is one, else a hub id.

    Args:
        weights: False fetches of a hub id everything but the weights.
        code: fetch its Python files as well.
        report: told how far a download is.

    Raises:
        SourceError: absent, outside the roots, or neither a path nor a hub id.
        HubUnavailable: the hub does not answer.
    """
    if not source:  # as a path it would be the working directory
        raise SourceError("source: an empty text; give a directory or a hub id", field="source")
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
    patterns = [*(hub.SAFE_FILES if weights else hub.LIGHT_FILES), *(hub.CODE_FILES if code else [])]
    directory = hub.snapshot(source, revision, patterns, report=report)
    return Checkpoint(directory, source, directory.name, (hub.cache_root(),))
