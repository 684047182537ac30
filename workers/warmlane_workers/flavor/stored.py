"""An artifact that is being read, part by part: its weights, its adapter, its components. Where they lie, and whether
they are those that were saved. Custom code runs only on request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from warmlane.errors import ArtifactError, ArtifactIncomplete, InvalidBaseModel, InvalidInput
from warmlane.model import dtype_name
from warmlane_workers.flavor import adapters, files, heads, hub, reading, source, weights
from warmlane_workers.flavor.code_paths import add_code
from warmlane_workers.mlmodel import COMPONENTS_DIR, MODEL_DIR, PEFT_DIR, Artifact
from warmlane_workers.pipelines.memory import within_memory
from warmlane_workers.pipelines.registry import READERS


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact, and what it is loaded as. `find` makes one.

    Attributes:
        place: where the weights lie; of an adapter, those of its base.
        dtype: element type to load in; None leaves it to the weights.
        device: a torch device; None leaves it to `device_map`.
        trust: run the model's own code.
    """

    directory: Path
    artifact: Artifact
    place: Path
    dtype: str | None
    device: Any
    device_map: Any
    trust: bool

    @classmethod
    def find(
        cls,
        directory: Path,
        artifact: Artifact,
        *,
        dtype: Any = None,
        device: Any = "cpu",
        device_map: Any = None,
        base_model_path: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        source_roots: tuple[Path, ...] = (Path("/"),),
        report: hub.Report | None = None,
    ) -> Stored:
        """Look for the files, and whether they are those that were saved. Arguments as `load.load_components`.

        Raises:
            ArtifactIncomplete, ArtifactDamaged, ArtifactChanged: they are not.
            ArtifactError: the recorded type is none that can be loaded in.
            HubUnavailable: the weights are the hub's, and not in its cache.
        """
        if "files" in artifact.own:
            files.check(directory, artifact.own["files"])
        if artifact.code and trust_remote_code:
            add_code(directory)
        chosen = dtype_name(dtype) or _recorded_dtype(artifact)
        place = _weights_directory(directory, artifact, base_model_path, source_roots, trust_remote_code, report)
        return cls(directory, artifact, place, chosen, device, device_map, trust_remote_code)

    def weights(self, room: Callable[[int], None]) -> Any:
        """The model on its device; of an adapter, its base.

        Args:
            room: told how many bytes the weights will take, before they are read; may raise.

        Raises:
            OutOfMemory: the device's memory is full.
        """
        room(weights.loaded_bytes(self.place, self.dtype))
        device_map = self.device_map
        if self.device is not None and torch.device(self.device).type != "cpu":
            device_map = {"": self.device}  # tensor by tensor from the files to the device, never whole in the host
        with within_memory("the model"):
            model = reading.read_model(
                self.place,
                self.artifact.model_type,
                self.artifact.task,
                dtype=self.dtype,
                device_map=device_map,
                key_mapping=adapters.MLFLOW_NAMES if self.artifact.has_adapter else None,
                unneeded=heads.replaced_in(self.directory / PEFT_DIR) if self.artifact.has_adapter else (),
                settings=heads.settings(self.artifact.own.get("head")),
                trust_remote_code=self.trust,
            )
            return model if self.device is None else model.to(self.device)

    def adapted(self, base: Any) -> Any:
        """The model over its base, which becomes part of it; the base itself where there is no adapter.

        Raises:
            ArtifactIncomplete, ArtifactDamaged: the adapter is not whole, or does not fit.
            OutOfMemory: the device's memory is full.
        """
        if not self.artifact.has_adapter:
            return base
        with within_memory("the adapter"):
            model: Any = adapters.apply(base, self.directory / PEFT_DIR).eval()
            return model if self.device is None else model.to(self.device)

    def components(self, known: MutableMapping[Hashable, Any] | None = None) -> dict[str, Any]:
        """All but the model.

        Args:
            known: components that are in memory, by what their files say; such are taken, and new ones added.
        """
        names = [name for name in self.artifact.components if name in READERS]
        return {name: read_component(self.directory, self.artifact, name, self.trust, known) for name in names}


def _weights_directory(
    directory: Path,
    artifact: Artifact,
    base_model_path: str | os.PathLike[str] | None,
    roots: tuple[Path, ...],
    code: bool,
    report: hub.Report | None,
) -> Path:
    if base_model_path is not None and artifact.base_path is None:
        raise InvalidBaseModel(
            "base_model_path: this model does not refer to a base by its path; leave it out", field="base_model_path"
        )
    if artifact.has_weights:
        found = artifact.model_directory(directory)
        if not found.is_dir():
            raise ArtifactIncomplete(f"the directory {MODEL_DIR}/ is missing from the artifact; save the model again")
        return found
    if artifact.base_path is not None:
        base = source.inside(Path(base_model_path or artifact.base_path), roots)
        if not base.is_dir():
            raise ArtifactIncomplete("the adapter's base is not where it was; say where with base_model_path")
        if "base_files" in artifact.own:
            files.check(base, artifact.own["base_files"])
        return base
    if not artifact.source_revision:
        raise ArtifactIncomplete("the artifact has neither weights nor a hub commit; save the model again")
    patterns = [*hub.SAFE_FILES, *(hub.CODE_FILES if code else [])]
    return hub.snapshot(artifact.source_name, artifact.source_revision, patterns, report=report)


def read_component(
    directory: Path,
    artifact: Artifact,
    name: str,
    trust_remote_code: bool,
    known: MutableMapping[Hashable, Any] | None = None,
) -> Any:
    """One component of an artifact. Arguments as those of `Stored`.

    Raises:
        ArtifactIncomplete: its files are not there.
    """
    stored = directory / COMPONENTS_DIR / name
    old = artifact.model_directory(directory)
    if not stored.is_dir() and name in artifact.component_sources:
        patterns = [*hub.LIGHT_FILES, *(hub.CODE_FILES if trust_remote_code else [])]
        stored = hub.snapshot(*artifact.component_sources[name], patterns)
    elif not stored.is_dir() and old.name != MODEL_DIR:
        stored = old
    elif not stored.is_dir():
        raise ArtifactIncomplete(f"the component {name!r} is missing from the artifact; save the model again")
    model = stored if (stored / "config.json").is_file() else old
    kind = artifact.components[name]
    key = None if known is None else (name, kind, trust_remote_code, files.content(stored), files.content(model))
    found = None if known is None else known.get(key)
    if found is None:
        found = reading.read_component(name, stored, kind, model=model, trust_remote_code=trust_remote_code)
        if known is not None:
            known[key] = found
    return found


def _recorded_dtype(artifact: Artifact) -> str | None:
    try:
        return dtype_name(artifact.dtype)
    except InvalidInput as exc:  # MLflow writes down what it was given
        raise ArtifactError(f"the recorded dtype cannot be loaded in: {exc.message}; give one at load") from exc
