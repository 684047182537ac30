"""Turn an artifact that refers to its weights into one that holds them (the guide, "Persist the Model Weight").

    1. fetch      what the artifact names, at its commits, every byte checked against what the hub says
    2. write      model/ and components/<name>/ into .persist-<id>/, beside what is there
    3. publish    one rename each, then MLmodel, which says from now on that the weights are here

A process that dies before the last rename leaves a reference that works; what it wrote is swept by the next persist.
One at a time persists an artifact: it holds `.persist.lock`, which the kernel lets go of when it dies.

Files are copied, none is loaded: a model that was read and written again need not be the same one. MLflow writes the
adapted model's weights where an adapter's base belongs; here they are the base's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from warmlane.errors import ArtifactIncomplete
from warmlane_workers.flavor import custom_code, files, heads, hub
from warmlane_workers.flavor.hub import Report
from warmlane_workers.flavor.save import silent
from warmlane_workers.flavor.source import Checkpoint, inside
from warmlane_workers.mlmodel import COMPONENTS_DIR, FILE, FORMAT, MODEL_DIR, Artifact, to_yaml
from warmlane_workers.modelstore import aside
from warmlane_workers.modelstore.backend import translated, writing

_HIDDEN = ".persist"
_BESIDE, _LOCK = f"{_HIDDEN}-", f"{_HIDDEN}.lock"
#: Share of the work that fetching is, for the progress.
_FETCHING = 0.7
#: What a snapshot has beside a component's own files.
_NOT_OF_COMPONENTS = ("*.md", "[Ll][Ii][Cc][Ee][Nn][CcSs][Ee]*", "*.index.json")
#: The one directory in which a tokenizer has files.
_TEMPLATES = "additional_chat_templates"


def persist_pretrained_model(
    path: str | os.PathLike[str], *, report: Report = silent, source_roots: tuple[Path, ...] = (Path("/"),)
) -> Artifact:
    """Put the weights that an artifact refers to into its directory, and the components with them.

    A no-op for an artifact that has its weights. Of two at once, one does it and the other finds it done.

    Args:
        path: a model directory; it is changed in place.
        report: told how far it is; of a download, in bytes.
        source_roots: directories that a base must lie in which is referred to by its path.

    Raises:
        HubUnavailable, SourceError: they cannot be fetched.
        ArtifactIncomplete: the artifact refers to a directory that is gone, or to a component without files.
        ArtifactDamaged, ArtifactChanged: the hub gives other bytes than it says.
        StoreError: the disk is full, or the directory cannot be written.
            After any error the artifact is as it was.
    """
    directory = Path(path)
    artifact = Artifact.read(directory)
    if _is_whole(artifact) and not any(directory.glob(f"{_HIDDEN}*")):
        return artifact
    with translated(str(directory)), writing(str(directory)), _alone(directory) as beside:
        artifact = Artifact.read(directory)
        if _is_whole(artifact):
            return artifact
        hashes = _write_model(artifact, beside, report, source_roots)
        report(0.9, "writing components")
        _write_components(artifact, beside)
        report(0.95, "publishing")
        _publish(artifact, beside, directory, hashes)
    return Artifact.read(directory)


def _is_whole(artifact: Artifact) -> bool:
    """Whether there is nothing to fetch: the weights are there, or it is a task that has none."""
    return artifact.has_weights or not artifact.model_type


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[Path]:
    """An empty directory in an artifact that nobody else persists. What others left that are dead is removed."""
    with aside.held(directory / _LOCK):
        for left in list(directory.glob(f"{_BESIDE}*")):
            shutil.rmtree(left)
        beside = directory / f"{_BESIDE}{uuid.uuid4().hex}"
        beside.mkdir()
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _write_model(artifact: Artifact, beside: Path, report: Report, roots: tuple[Path, ...]) -> dict[str, str]:
    """Returns the hashes of the weight files, by their names in the model's directory."""
    origin = _origin(artifact, report, roots)
    report(_FETCHING, "writing weights")
    hashes = origin.copy_to(beside / MODEL_DIR, code=_has_code(artifact))
    heads.write(artifact.own.get("head"), beside / MODEL_DIR)
    return hashes


def _origin(artifact: Artifact, report: Report, roots: tuple[Path, ...]) -> Checkpoint:
    """The checkpoint that an artifact refers to; of an adapter, its base."""
    if artifact.base_path is not None:
        base = inside(Path(artifact.base_path), roots)
        if not base.is_dir():
            raise ArtifactIncomplete("the adapter's base is not where it was; put it back, or save the model again")
        return Checkpoint(base, str(base), None, roots)
    snapshot = hub.snapshot(
        artifact.source_name,
        artifact.source_revision,
        [*hub.SAFE_FILES, *(hub.CODE_FILES if _has_code(artifact) else [])],
        report=lambda fraction, phase: report(fraction * _FETCHING, phase),
        verify=True,
    )
    return Checkpoint(snapshot, artifact.source_name, snapshot.name, (hub.cache_root(),))


def _has_code(artifact: Artifact) -> bool:
    """Whether something of it is made by code of its own; which was agreed to at the save, and does not run here."""
    names = (artifact.model_type, *artifact.components.values())
    return any(name and not custom_code.is_native(name) for name in names)


def _write_components(artifact: Artifact, beside: Path) -> None:
    patterns = [*hub.LIGHT_FILES, *(hub.CODE_FILES if _has_code(artifact) else [])]
    for name, (repo, revision) in artifact.component_sources.items():
        snapshot = hub.snapshot(repo, revision, patterns, verify=True)
        found = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]
        places = {path: path.relative_to(snapshot) for path in found}
        own = {path: place for path, place in places.items() if _is_of_component(place)}
        if not own:
            raise ArtifactIncomplete(f"{repo!r} has no files of the {name}; save the model again", component=name)
        for path, place in own.items():
            target = beside / COMPONENTS_DIR / name / place
            target.parent.mkdir(parents=True, exist_ok=True)
            files.copy(inside(path, (hub.cache_root(),)), target)


def _is_of_component(place: Path) -> bool:
    at_home = place.suffix == ".py" or place.parent.as_posix() in (".", _TEMPLATES)
    return at_home and place.suffix != ".safetensors" and not any(place.match(name) for name in _NOT_OF_COMPONENTS)


def _publish(artifact: Artifact, beside: Path, directory: Path, hashes: dict[str, str]) -> None:
    """Rename what was written to its place; the description comes last."""
    aside.sync(beside)
    weights = files.fingerprint(beside, {f"{MODEL_DIR}/{name}": digest for name, digest in hashes.items()})
    size = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
    for place in (MODEL_DIR, *(f"{COMPONENTS_DIR}/{name}" for name in artifact.component_sources)):
        if (directory / place).exists():  # left by one that died right here; no load may see it half removed
            (directory / place).rename(beside / uuid.uuid4().hex)
        (directory / place).parent.mkdir(exist_ok=True)
        (beside / place).rename(directory / place)
        aside.flush((directory / place).parent)
    _describe(artifact, directory, beside, weights, artifact.size_bytes + size)


def _describe(artifact: Artifact, directory: Path, beside: Path, weights: dict[str, Any], size: int) -> None:
    """Say in `MLmodel` that the weights are here. Whatever else it says stays, also what only MLflow knows."""
    document = yaml.safe_load((directory / FILE).read_text(encoding="utf-8"))
    conf = document["flavors"]["transformers"]
    referring = [f"{name}_{fact}" for name in artifact.components for fact in ("name", "revision")]
    for key in ("source_model_revision", "local_base_model_path", *referring):
        conf.pop(key, None)
    own = {name: value for name, value in artifact.own.items() if name != "base_files"}
    conf["model_binary"] = MODEL_DIR
    conf["warmlane"] = {"format": FORMAT, **own, "files": {**own.get("files", {}), **weights}}
    document["model_size_bytes"] = size
    (beside / FILE).write_text(to_yaml(document, sort_keys=True), encoding="utf-8")
    aside.flush(beside / FILE)
    (beside / FILE).replace(directory / FILE)
    aside.flush(directory)
