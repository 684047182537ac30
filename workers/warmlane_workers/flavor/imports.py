"""Take an MLflow model directory as it is. Only warmlane's own key is added to its `MLmodel`.

Files that could run code when they are loaded are not taken: pickles never, Python files where both sides agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from warmlane.errors import ArtifactError, ArtifactIncomplete, InvalidInput, SourceError
from warmlane.model import dtype_name
from warmlane_workers.flavor import adapters, custom_code, files, fit, heads, hub, reading, source
from warmlane_workers.flavor.describe import Wishes
from warmlane_workers.flavor.parts import DIAGNOSTIC_TASKS, Lookup, check_complete
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.flavor.writing import whole
from warmlane_workers.mlmodel import COMPONENTS_DIR, FILE, FORMAT, MODEL_DIR, PEFT_DIR, Artifact, to_yaml
from warmlane_workers.pipelines.registry import READERS, canonical


def import_directory(
    origin: Path,
    target: Path,
    lookup: Lookup,
    wishes: Wishes,
    *,
    asked: Mapping[str, Any],
    changes: Mapping[str, Any],
    own: Mapping[str, Any],
) -> Artifact:
    """Copy an artifact.

    Args:
        asked: field of the artifact -> what was asked for; it may only say what is there already.
        changes: argument -> what was asked for; nothing can be changed.

    Raises:
        InvalidInput: something was asked for that would change it.
        ArtifactError, SourceError: it would not load.
        CustomCodeRefused: it holds Python files.
    """
    artifact = Artifact.read(origin)
    if artifact.has_weights and not wishes.save_pretrained:
        changes = {**changes, "save_pretrained": False}
    _refuse_changes(artifact, asked, changes)
    true = dict(_files(origin, lookup.roots))
    code = next((path for path in true if path.suffix == ".py"), None)
    if code is not None:
        custom_code.refuse(code.relative_to(origin).as_posix(), "the model directory", agreed=wishes.code)
    if artifact.task not in DIAGNOSTIC_TASKS:
        _check(artifact, origin, lookup.roots, code=wishes.code)
    if "files" in artifact.own:
        files.check(origin, artifact.own["files"])

    wishes.report(0.1, "copying")
    with whole(target):
        hashes = _copy({path.relative_to(origin): true_path for path, true_path in true.items()}, target)
        document = yaml.safe_load((target / FILE).read_text(encoding="utf-8"))
        kept = {name: value for name, value in artifact.own.items() if name not in ("job", "files")}
        facts = {"format": FORMAT, **kept, **own, **({"files": files.fingerprint(target, hashes)} if hashes else {})}
        document["flavors"]["transformers"]["warmlane"] = facts
        (target / FILE).write_text(to_yaml(document, sort_keys=True), encoding="utf-8")
    return Artifact.read(target)


def _copy(paths: Mapping[Path, Path], target: Path) -> dict[str, str]:
    """Copy the files that an artifact may have; returns the hashes of the weights, by their paths in it.

    Args:
        paths: path in the artifact -> true place.
    """
    hashes: dict[str, str] = {}
    patterns = (*hub.SAFE_FILES, *hub.CODE_FILES, "*.yaml", FILE)
    for name, true in paths.items():
        if true.is_file() and any(name.match(pattern) for pattern in patterns):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            digest = files.copy(true, target / name)
            if digest is not None:
                hashes[name.as_posix()] = digest
    return hashes


def _files(directory: Path, roots: tuple[Path, ...], above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, Path]]:
    """The files below a directory and their true paths; links are followed, to directories too.

    Raises:
        SourceError: a link leads out of the roots, nowhere, or to a directory that it lies in.
    """
    for path in sorted(directory.iterdir()):
        true = source.inside(path, roots)
        if true.is_dir():
            if true in above:
                raise SourceError(f"source: the links of {path.name} lead in a circle", field="source")
            yield from _files(path, roots, (*above, true))
        elif true.is_file():
            yield path, true
        else:
            raise SourceError(f"source: {path.name} is a link to nothing, or no file; take it away", field="source")


def _check(artifact: Artifact, origin: Path, roots: tuple[Path, ...], *, code: bool) -> None:
    """Whether an artifact would load, told without its weights."""
    task = canonical(artifact.task)
    try:
        dtype_name(artifact.dtype)
    except InvalidInput as exc:
        raise ArtifactError(f"{FILE}: the recorded {exc.message}") from exc
    adapter = Checkpoint(origin / PEFT_DIR, str(origin), None, roots) if artifact.has_adapter else None
    brought = heads.replaced(adapter)
    if artifact.has_weights:
        _check_model(artifact, Checkpoint(artifact.model_directory(origin), str(origin), None, roots), task, brought)
    elif artifact.base_path is not None:
        source.inside(Path(artifact.base_path), roots)
    elif not artifact.source_revision:
        raise ArtifactIncomplete("the artifact has neither weights nor a hub commit; save the model again")
    check_complete(artifact.components, task)
    for name in artifact.components:
        _check_component(artifact, origin, name, code=code)


def _check_model(artifact: Artifact, model: Checkpoint, task: str, brought: heads.Replaced) -> None:
    if not model.directory.is_dir():
        raise ArtifactIncomplete(f"the directory {MODEL_DIR}/ is missing from the artifact; save the model again")
    model.config()
    model.files()
    model.weights_dtype()
    names = adapters.MLFLOW_NAMES if artifact.has_adapter else None
    kept = heads.settings(artifact.own.get("head"))
    fit.check(model, artifact.model_type, task, key_mapping=names, unneeded=brought, settings=kept)


def _check_component(artifact: Artifact, origin: Path, name: str, *, code: bool) -> None:
    if name not in READERS:
        raise ArtifactError(f"{FILE}: no component is called {name[:40]!r}; there are {', '.join(READERS)}")
    stored = origin / COMPONENTS_DIR / name
    if not stored.is_dir():
        if name in artifact.component_sources:
            return
        stored = artifact.model_directory(origin)
        if stored.name == MODEL_DIR:
            raise ArtifactIncomplete(f"the component {name!r} is missing from the artifact; save the model again")
    reading.read_component(name, stored, artifact.components[name], trust_remote_code=code)


def _refuse_changes(artifact: Artifact, asked: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    changed = [name for name, value in asked.items() if value not in (None, getattr(artifact, name))]
    changed += [name for name, value in changes.items() if value is not None and value != {}]
    if changed:
        raise InvalidInput(
            f"{changed[0]}: an MLflow model directory is taken as it is; leave this out, or save its checkpoint",
            field=changed[0],
        )
