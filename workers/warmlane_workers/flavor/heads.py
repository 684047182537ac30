"""What an adapter replaces of its base: tensors, most often a head that was trained beside it, and that head's labels.

PEFT keeps whole modules under the names in `modules_to_save`, so what the base has of these never answers, and need not
be there: the usual base of a classifier's adapter is a checkpoint without a head.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from peft import PeftModel, get_peft_model_state_dict
from transformers import PreTrainedConfig, PreTrainedModel

from warmlane.errors import ArtifactDamaged, PipelineMismatch, SourceError
from warmlane_workers.flavor import adapters, custom_code, reading
from warmlane_workers.flavor.source import Checkpoint

#: Name of a tensor in the base -> its shape in the adapter.
Replaced = Mapping[str, tuple[int, ...]]

#: Only the methods that leave the base's layers alone keep this tensor; they wrap the base once less than the others.
_PROMPT = "prompt_embeddings"
#: Steps in the names of tensors inside PEFT's wrapper of a kept module; with `bias="all"` it keeps these a second time.
_INSIDE = {"original_module", "modules_to_save"}


def replaced(adapter: Checkpoint | PeftModel | None) -> Replaced:
    """What an adapter replaces; nothing without one.

    Raises:
        SourceError: its files are not readable.
    """
    if isinstance(adapter, Checkpoint):
        adapter.adapter_files()
        return _in_directory(adapter.directory, SourceError)
    if adapter is None:
        return {}
    (config,) = adapter.peft_config.values()
    (name,) = adapter.peft_config
    tensors = get_peft_model_state_dict(adapter, adapter_name=name, save_embedding_layers=False)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return _below(getattr(config, "modules_to_save", None), shapes)


def replaced_in(directory: Path) -> Replaced:
    """What the adapter of an artifact replaces, by its `peft/`; nothing where there is none, which the load will say.

    Raises:
        ArtifactDamaged: its files are not readable.
    """
    if not all((directory / name).is_file() for name in (adapters.CONFIG, adapters.WEIGHTS)):
        return {}
    return _in_directory(directory, ArtifactDamaged)


def _in_directory(directory: Path, error: type[SourceError | ArtifactDamaged]) -> Replaced:
    try:
        modules = json.loads((directory / adapters.CONFIG).read_text(encoding="utf-8")).get("modules_to_save")
        with safetensors.safe_open(directory / adapters.WEIGHTS, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping
    except safetensors.SafetensorError as exc:
        raise error(f"peft/{adapters.WEIGHTS} is damaged; save the model again") from exc
    except (ValueError, AttributeError, RecursionError) as exc:
        raise error(f"{adapters.CONFIG}: not the configuration of an adapter") from exc
    return _below(modules, shapes)


def _below(modules: Any, shapes: Mapping[str, tuple[int, ...]]) -> Replaced:
    """The tensors of an adapter that lie below the modules that it keeps whole, by their names in the base."""
    if not isinstance(modules, list | tuple | set):
        return {}
    kept = tuple(name for name in modules if isinstance(name, str) and name)
    above = "base_model." if _PROMPT in shapes else "base_model.model."
    names = {key.removeprefix(above): shape for key, shape in shapes.items() if key.startswith(above)}
    return {
        name: shape
        for name, shape in names.items()
        if any(path.endswith(kept) for path in _modules_above(name)) and _INSIDE.isdisjoint(name.split("."))
    }


def _modules_above(tensor: str) -> list[str]:
    """`a.b.weight` -> `a`, `a.b`; PEFT looks for a module's name at the end of each."""
    steps = tensor.split(".")[:-1]
    return [".".join(steps[: count + 1]) for count in range(len(steps))]


# -- whether head and base go together --------------------------------------------------------------------------------


def check(base: Checkpoint, model_type: str, task: str, brought: Replaced) -> dict[str, Any]:
    """Whether the parts of a base and of an adapter's directory make a model; reads the base's configuration only, so
    that its weights need not be here.

    Args:
        model_type: class name of the model.
        brought: what the adapter replaces.

    Returns:
        The head's labels, see `labels`; empty where the base's configuration already says how many there are.

    Raises:
        PipelineMismatch: neither of them has a head for the task.
        SourceError: what the adapter brings has no place in the base.
    """
    if not custom_code.is_native(model_type):
        return {}
    found: dict[str, Any] = {}
    model = reading.skeleton(base.directory, model_type, task)
    if other := _misshapen(model, brought):
        found = _numbered(brought[other[0]])
        model = reading.skeleton(base.directory, model_type, task, **settings(found))
        other = _misshapen(model, brought)
    if other:
        raise SourceError(f"{adapters.WEIGHTS}: {other[0][:80]!r} does not fit the base; give the one it was made for")
    declared = str((base.config().get("architectures") or [model_type])[0])
    if declared != model_type and any(name not in brought for name in _head_of(model)):
        raise missing(declared, task, [model_type])
    return found


def missing(declared: str, task: str, known: list[str]) -> PipelineMismatch:
    """The refusal of a model without a head.

    Args:
        declared: class name of the model.
        known: of those that the task takes, best first.
    """
    return PipelineMismatch(
        f"a {declared} has no trained head for {task}; {task} takes a {known[0]} of this kind",
        field="task",
        allowed=known,
    )


def _head_of(model: PreTrainedModel) -> list[str]:
    """The tensors that a model has beside its base model, and not of it."""
    tied, below = model._tied_weights_keys or (), f"{model.base_model_prefix}."
    return [name for name in model.state_dict() if not name.startswith(below) and name not in tied]


def _misshapen(model: PreTrainedModel, brought: Replaced) -> list[str]:
    """The tensors that a model has not, or in another shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return sorted(name for name, shape in brought.items() if shapes.get(name) != shape)


def _numbered(shape: tuple[int, ...]) -> dict[str, Any]:
    """Labels, as many as a head's tensor has rows; the adapter knows no names for them."""
    count = shape[0] if math.prod(shape) else 0  # a tensor without elements may claim any number of rows
    return {"id2label": {number: f"LABEL_{number}" for number in range(count)}, "problem_type": None} if shape else {}


# -- labels -----------------------------------------------------------------------------------------------------------


def labels(config: PreTrainedConfig) -> dict[str, Any]:
    """What a configuration says of a head, as an artifact keeps it; empty where it says nothing."""
    names = getattr(config, "id2label", None)
    if not names:
        return {}
    return {"id2label": dict(names), "problem_type": getattr(config, "problem_type", None)}


def settings(kept: Any) -> dict[str, Any]:
    """What `labels` gave as arguments of a configuration.

    Raises:
        ArtifactDamaged: it is something else.
    """
    if not kept:
        return {}
    names = kept.get("id2label") if isinstance(kept, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str | int) for name in names.values()):
        raise ArtifactDamaged("MLmodel: the labels of the adapter's head are not readable; save the model again")
    numbers = {name: number for number, name in names.items()}
    return {"id2label": names, "label2id": numbers, "problem_type": kept.get("problem_type")}


def write(kept: Any, directory: Path) -> None:
    """Put labels into the `config.json` of a checkpoint, where whoever loads the base without warmlane finds them."""
    changes = settings(kept)
    if changes:
        path = directory / "config.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("num_labels", None)
        path.write_text(json.dumps({**content, **changes}, indent=2) + "\n", encoding="utf-8")
