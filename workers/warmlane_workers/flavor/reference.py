"""References to the hub: which repository and commit an object in memory came from, and whether it still is what lies
there.

Source: the guide, "Storage-Efficient Model Logging". MLflow refers to a fine-tuned model by the weights that it was
once loaded from, in silence; here it is compared with them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, SourceError, WeightsDiffer
from warmlane_workers.flavor import hub, reading
from warmlane_workers.flavor.source import Checkpoint

#: State of a tokenizer that a pipeline changes as it works, and names that say where it was loaded from.
_PASSING = frozenset({"padding", "truncation", "name_or_path", "is_local", "_commit_hash", "processor_class"})


def repository(part: Any) -> str | None:
    """Hub id of what an object in memory was loaded from; None for one that did not come from the hub."""
    name = getattr(part, "name_or_path", None)
    return name if isinstance(name, str) and hub.is_id(name) and not Path(name).exists() else None


def find_model(
    model: PreTrainedModel,
    task: str,
    *,
    check: bool,
    code: bool,
    report: hub.Report | None,
    unneeded: Collection[str] = (),
) -> tuple[str, str] | None:
    """Hub id and commit of a model in memory; None for one that did not come from the hub.

    transformers 5 forgets which commit a branch was. It was one that the cache has: the one whose weights are equal.

    Args:
        check: compare; else it is the likeliest commit, unseen.
        code: the repository's own code may run.
        unneeded: tensors that are not compared, since an adapter replaces them.

    Raises:
        WeightsDiffer: the model is none of them; names a tensor.
        SourceError, HubUnavailable: the repository cannot be had.
    """
    name = repository(model)
    if name is None:
        return None
    commit = getattr(model.config, "_commit_hash", None)  # transformers 5.0 still told
    commits = [commit] if commit else hub.cached_commits(name) or [hub.commit_of(name, None)]
    differences: list[WeightsDiffer] = []
    for commit in commits:
        if check:
            directory = hub.snapshot(name, commit, _files_of(code), report=report)
            try:
                check_model(model, task, directory, f"{name!r} at {commit[:12]}", code=code, unneeded=unneeded)
            except WeightsDiffer as exc:
                differences.append(exc)
                continue
        return name, commit
    raise differences[0]


def _files_of(code: bool) -> list[str]:
    return [*hub.SAFE_FILES, *(hub.CODE_FILES if code else [])]


def check_model(
    model: PreTrainedModel,
    task: str,
    directory: Path,
    where: str,
    *,
    code: bool = False,
    unneeded: Collection[str] = (),
) -> None:
    """Whether a model in memory has the weights of a checkpoint, in its own element type. Loads them beside it.

    Args:
        where: what the checkpoint goes by, for the message.
        code: the checkpoint's own code may run.
        unneeded: tensors that are not compared, since an adapter replaces them.

    Raises:
        WeightsDiffer: it has not; names a tensor.
    """
    try:
        stored = reading.read_model(
            directory,
            type(model).__name__,
            task,
            dtype=str(model.dtype).removeprefix("torch."),
            unneeded=unneeded,
            trust_remote_code=code,
            error=SourceError,
        ).state_dict()
    except (ArtifactIncomplete, ArtifactDamaged) as exc:  # it has no head of this kind, or layers of another size
        raise _differs(where, exc.message, exc.details.get("tensor")) from exc
    mine = model.state_dict()
    different = sorted(set(stored) ^ set(mine)) or sorted(
        name for name, tensor in stored.items() if name not in unneeded and not _equal(tensor, mine[name])
    )
    if different:
        raise _differs(where, f"{different[0]!r} differs, one of {len(different)}", different[0])


def _differs(where: str, how: str, tensor: str | None) -> WeightsDiffer:
    return WeightsDiffer(
        f"the model in memory is not the one of {where} ({how}); save it with its weights, or pass "
        "check_weights=False to refer to the other all the same",
        field="save_pretrained",
        tensor=tensor,
    )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu(), other.cpu())


def find_components(
    parts: Mapping[str, Any], components: Mapping[str, Any], model: tuple[str, str]
) -> dict[str, tuple[str, str]]:
    """The components that the hub has as they are, each by hub id and commit; others are to be stored.

    Args:
        parts: name -> as it was given.
        components: name -> object.
        model: hub id and commit of the model, where a component that does not say where it came from is looked for.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, part in parts.items():
        if isinstance(part, Checkpoint) and part.revision is not None:
            found[name] = part.name, part.revision
        elif (place := _place(part, model)) is not None and is_same(name, components[name], *place):
            found[name] = place
    return found


def _place(part: Any, model: tuple[str, str]) -> tuple[str, str] | None:
    name = repository(part)
    if name is None or name == model[0]:
        return model
    try:
        return name, hub.commit_of(name, None)
    except SourceError:
        return None  # what goes by a name that only looks like a hub id


def is_same(name: str, component: Any, repo: str, commit: str) -> bool:
    """Whether a component in memory saves itself as that of a commit does; state that passes is left out."""
    code = not type(component).__module__.startswith("transformers.")  # then it runs already
    directory = hub.snapshot(repo, commit, [*hub.LIGHT_FILES, *(hub.CODE_FILES if code else [])])
    try:
        stored = reading.read_component(
            name, directory, type(component).__name__, trust_remote_code=code, error=SourceError
        )
    except SourceError:
        return False  # the repository has none
    return _files(component) == _files(stored)


def _files(component: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        component.save_pretrained(directory)
        return {path.name: _content(path) for path in Path(directory).rglob("*") if path.is_file()}


def _content(path: Path) -> Any:
    if path.suffix != ".json":
        return path.read_bytes()
    content = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in _PASSING}
