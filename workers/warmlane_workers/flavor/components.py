"""The parts of a save as objects. Code of their own runs only where the caller agreed to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from warmlane.errors import SourceError, SourceIncomplete, UnsupportedModel
from warmlane_workers.flavor import adapters, custom_code, heads, hub, reading
from warmlane_workers.flavor.describe import Wishes
from warmlane_workers.flavor.parts import Parts, check_kind
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import Artifact


def read_components(parts: Parts, wishes: Wishes) -> dict[str, Any]:
    """The components as objects, each read once.

    Raises:
        CustomCodeRefused, UnsupportedModel, SourceError: one that cannot come along.
    """
    if parts.model is not None:
        _check_code(parts, wishes)
    return {name: _read(name, part, code=wishes.code) for name, part in parts.components.items()}


def _read(name: str, part: Any, *, code: bool) -> Any:
    if not isinstance(part, Checkpoint):
        return part
    for path in part.directory.rglob("*"):  # whatever a reader may open
        part.resolve(path)
    found = reading.read_component(name, part.directory, trust_remote_code=code, error=SourceError)
    if name == "processor":  # where a directory has none, transformers reads something else of it
        check_kind(name, found)
    return found


def _check_code(parts: Parts, wishes: Wishes) -> None:
    """Refuse custom code that nobody agreed to, and such as would not come along."""
    for name, part in {"model": parts.model, **parts.components}.items():
        if isinstance(part, Checkpoint):
            foreign = custom_code.elsewhere(part.directory)
            if wishes.code and foreign:
                raise SourceIncomplete(
                    f"{part.name}: its code lies in another repository ({foreign}); load it with transformers, and "
                    "save the object"
                )
            if name == "model":
                architectures = part.config().get("architectures") or [""]
                file = custom_code.model_file(part.directory, str(architectures[0]))
                if file is not None:
                    custom_code.refuse(file, "the model", agreed=wishes.code)
        else:
            _check_class(type(part), name, name, agreed=wishes.code)
            if isinstance(part, PreTrainedModel):
                _check_class(type(part.config), f"{name}'s configuration", name, agreed=wishes.code)


def _check_class(kind: type, what: str, field: str, *, agreed: bool) -> None:
    """Refuse an object in memory whose class's code nobody agreed to, or would not be saved with it."""
    module = kind.__module__
    if module.startswith("transformers."):
        return
    custom_code.refuse(module.rpartition(".")[2] + ".py", f"the {what}", agreed=agreed)
    if getattr(kind, "_auto_class", None) is None:
        remedy = "call its class's `register_for_auto_class()` first, so that its code is saved with it"
    elif module == "__main__":
        remedy = "put the class into a module of its own first; a script's code cannot be saved"
    else:
        return
    raise UnsupportedModel(f"the {what} is a {kind.__name__} of your own; {remedy}", field=field)


def in_memory(parts: Parts, components: Mapping[str, Any], artifact: Artifact, wishes: Wishes) -> dict[str, Any]:
    """The parts as components of a pipeline; checkpoints are loaded."""
    model: Any = parts.model
    if isinstance(model, Checkpoint):
        directory = model.directory
        if model.revision:
            directory = hub.snapshot(model.name, model.revision, hub.SAFE_FILES, report=wishes.report)
        model = reading.read_model(
            directory,
            artifact.model_type,
            artifact.task,
            dtype=artifact.dtype,
            unneeded=heads.replaced(parts.adapter),
            settings=heads.settings(artifact.own.get("head")),
            trust_remote_code=wishes.code,
            error=SourceError,
        )
    if isinstance(parts.adapter, Checkpoint):
        model = adapters.apply(model, parts.adapter.directory)
    elif parts.adapter is not None:
        model = parts.adapter
    return {"task": artifact.task, "model": model, **components}
