"""Take an MLflow model directory as it is. Only warmlane's own key is added to its `MLmodel`.

Files that could run code when they are loaded are not taken: pickles never, Python files where both sides agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from warmlane.errors import InvalidInput
from warmlane_workers.flavor import custom_code, files, hub, source
from warmlane_workers.flavor.describe import Wishes
from warmlane_workers.flavor.parts import Lookup
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.flavor.writing import whole
from warmlane_workers.mlmodel import FILE, FORMAT, PEFT_DIR, Artifact, to_yaml


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
    true = {path: source.inside(path, lookup.roots) for path in sorted(origin.rglob("*"))}
    code = next((path for path in true if path.suffix == ".py" and path.is_file()), None)
    if code is not None:
        custom_code.refuse(code.relative_to(origin).as_posix(), "the model directory", agreed=wishes.code)
    if artifact.has_weights:
        weights = Checkpoint(artifact.model_directory(origin), str(origin), None, lookup.roots)
        weights.files()
        weights.weights_dtype()
    if artifact.has_adapter:
        Checkpoint(origin / PEFT_DIR, str(origin), None, lookup.roots).adapter_files()
    if artifact.base_path is not None:
        source.inside(Path(artifact.base_path), lookup.roots)
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


def _refuse_changes(artifact: Artifact, asked: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    changed = [name for name, value in asked.items() if value not in (None, getattr(artifact, name))]
    changed += [name for name, value in changes.items() if value is not None and value != {}]
    if changed:
        raise InvalidInput(
            f"{changed[0]}: an MLflow model directory is taken as it is; leave this out, or save its checkpoint",
            field=changed[0],
        )
