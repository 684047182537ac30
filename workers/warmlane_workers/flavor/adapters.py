"""PEFT: the adapter and its base, apart. An artifact keeps the adapter under `peft/`, and the base as it came.

Source: the guide, "PEFT Models in MLflow Transformers flavor". Where MLflow writes a base's weights beside an adapter
they are the adapted model's, under names that no base has, so its layers come back random; here they are the base's.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from transformers import PreTrainedModel

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, SourceError, UnsupportedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
#: What MLflow puts into the names of a base's tensors when it writes them beside an adapter, and what belongs there.
MLFLOW_NAMES = {r"\.base_layer\.": ".", r"\.original_module\.": "."}
#: PEFT's names of the tasks whose heads it keeps beside an adapter -> ours.
_TASKS = {"SEQ_CLS": "text-classification", "TOKEN_CLS": "token-classification", "QUESTION_ANS": "question-answering"}


def base_of(model: PeftModel) -> PreTrainedModel:
    """The model below an adapter, without it: another object, whose tensors are the same.

    Raises:
        UnsupportedModel: the adapter is merged into the base, or it has none of transformers' models below it.
    """
    if any(layer.merged for layer in model.modules() if isinstance(layer, BaseTunerLayer)):
        raise UnsupportedModel(
            "the adapter is merged into its base; call `unmerge_adapter()`, or save `merge_and_unload()`", field="model"
        )
    inner = twin(model.base_model)
    for name, module in list(inner.named_modules()):
        if isinstance(module, AuxiliaryTrainingWrapper):  # a head that was trained beside the adapter
            parent, _, child = name.rpartition(".")
            setattr(inner.get_submodule(parent), child, module.original_module)
    base = inner.unload() if isinstance(inner, BaseTuner) else inner
    if not isinstance(base, PreTrainedModel):
        raise UnsupportedModel("the model below the adapter is none of transformers' models", field="model")
    return base


def twin(model: torch.nn.Module) -> Any:
    """A deep copy of everything but the tensors: modules of its own, over the same memory."""
    # What is known to `memo` is taken as it is.
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def check(model: PeftModel) -> None:
    """Whether an adapter can be saved.

    Raises:
        UnsupportedModel: there are several.
    """
    if len(model.peft_config) != 1:
        names = ", ".join(sorted(model.peft_config))
        raise UnsupportedModel(
            f"the model has {len(model.peft_config)} adapters ({names}) and an artifact has one; "
            "call `delete_adapter()` on the others, or save each as a model of its own",
            field="model",
        )


def write(model: PeftModel, directory: Path) -> None:
    """Save a model's one adapter, whatever its name, where `PeftModel.from_pretrained` looks."""
    (name,) = model.peft_config
    # The base is never saved with the adapter, so its embeddings need not be; "auto" would ask the hub for them.
    model.save_pretrained(str(directory), save_embedding_layers=False)
    if name != "default":
        for path in (directory / name).iterdir():
            path.rename(directory / path.name)
        (directory / name).rmdir()


def apply(base: PreTrainedModel, directory: Path) -> PeftModel:
    """The adapter of a directory over a base that is in memory.

    Raises:
        ArtifactIncomplete: a file of the adapter is not there.
        ArtifactDamaged: it does not fit the base.
    """
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise ArtifactIncomplete(f"peft/{name} is missing from the artifact; save the model again")
    try:
        model = PeftModel.from_pretrained(base, str(directory))
        with safetensors.safe_open(directory / WEIGHTS, "pt") as file:
            stored = set(file.keys())
    except safetensors.SafetensorError as exc:
        raise ArtifactDamaged(f"peft/{WEIGHTS} is damaged; save the model again") from exc
    except (RuntimeError, KeyError, ValueError) as exc:
        raise ArtifactDamaged(
            f"the adapter does not fit its base ({type(exc).__name__}); save the model again"
        ) from exc
    # PEFT only warns, and leaves random weights.
    missing = sorted(set(get_peft_model_state_dict(model, save_embedding_layers=False)) - stored)
    if missing:
        raise ArtifactDamaged(f"peft/{WEIGHTS} has no {missing[0]!r}; save the model again")
    return model


def base_source(directory: Path) -> tuple[str, str | None]:
    """Of an adapter's directory: the name of its base, a hub id or a path, and the revision.

    Raises:
        SourceError: the configuration is not readable, or names no base.
    """
    name, revision = _config(directory, "base_model_name_or_path", "revision")
    if not isinstance(name, str) or not name:
        raise SourceError(f"{CONFIG}: names no base model; give one with base_model_path")
    return name, revision if isinstance(revision, str) and revision else None


def task_of(directory: Path) -> str | None:
    """The task that an adapter's directory was trained for, if its configuration tells and it brings a head for it.

    Raises:
        SourceError: the configuration is not readable.
    """
    (kind,) = _config(directory, "task_type")
    return _TASKS.get(kind) if isinstance(kind, str) else None


def _config(directory: Path, *keys: str) -> list[Any]:
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        return [config.get(key) for key in keys]
    except (ValueError, AttributeError, RecursionError) as exc:
        raise SourceError(f"{CONFIG}: not the configuration of an adapter") from exc
