"""References to the hub: which repository and commit an object in memory came from, and whether it still is what lies
there.

Source: the guide, "Storage-Efficient Model Logging". MLflow refers to a fine-tuned model by the weights that it was
once loaded from, in silence; here it is compared with them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from warmlane.errors import SourceError, WeightsDiffer
from warmlane_workers.flavor import hub, reading
from warmlane_workers.flavor.source import Checkpoint

#: State of a tokenizer that a pipeline changes as it works, and names that say where it was loaded from.
_PASSING = frozenset({"padding", "truncation", "name_or_path", "is_local", "_commit_hash", "processor_class"})


def origin(part: Any) -> tuple[str, str] | None:
    """Hub id and commit of a part; None for one that did not come from the hub.

    An object knows its repository, and a model knows the commit; for others it is the one that the repository has now.

    Raises:
        SourceError, HubUnavailable: the commit cannot be told.
    """
    if isinstance(part, Checkpoint):
        return (part.name, part.revision) if part.revision else None
    name = getattr(part, "name_or_path", None)
    if not isinstance(name, str) or not hub.is_id(name) or Path(name).exists():
        return None
    commit = getattr(getattr(part, "config", None), "_commit_hash", None)
    return name, commit or hub.commit_of(name, None)


def check_model(model: PreTrainedModel, task: str, directory: Path, where: str) -> None:
    """Whether a model in memory has the weights of a checkpoint, in its own element type. Loads them beside it.

    Args:
        where: what the checkpoint goes by, for the message.

    Raises:
        WeightsDiffer: it has not; names a tensor.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    stored = reading.read_model(directory, type(model).__name__, task, dtype=dtype, error=SourceError).state_dict()
    mine = model.state_dict()
    different = sorted(set(stored) ^ set(mine)) or sorted(
        name for name, tensor in stored.items() if not _equal(tensor, mine[name])
    )
    if different:
        raise WeightsDiffer(
            f"the model in memory is not the one of {where}: {different[0]!r} differs, one of {len(different)}; save "
            "it with its weights, or pass check_weights=False to refer to the other all the same",
            field="save_pretrained",
            tensor=different[0],
        )


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu(), other.cpu())


def is_same(name: str, component: Any, repo: str, commit: str) -> bool:
    """Whether a component in memory saves itself as that of a commit does; state that passes is left out."""
    directory = hub.snapshot(repo, commit, hub.LIGHT_FILES)
    try:
        stored = reading.read_component(name, directory, type(component).__name__, error=SourceError)
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
