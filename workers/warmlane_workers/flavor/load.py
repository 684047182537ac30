"""Read a model directory into memory, as a pipeline or as its components. Custom code runs only on request.

Source: the guide, "Saving a pipeline and loading components" and "Scale Inference with Overriding Pytorch dtype".
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from warmlane.errors import ArtifactError, InvalidInput, MissingExtra
from warmlane.jobs import RETURN_TYPES
from warmlane.model import dtype_name
from warmlane_workers.flavor import hub
from warmlane_workers.flavor.source import BYTE_TOKENIZERS, has_tokenizer
from warmlane_workers.mlmodel import COMPONENTS_DIR, MODEL_DIR, Artifact
from warmlane_workers.pipelines.build import build_pipeline
from warmlane_workers.pipelines.registry import READERS, model_class


def load_model(
    path: str | os.PathLike[str],
    return_type: str = "pipeline",
    *,
    dtype: Any = None,
    device: str = "cpu",
    trust_remote_code: bool = False,
    **pipeline_kwargs: Any,
) -> Any:
    """Load a model directory.

    Args:
        return_type: "pipeline", or "components": a dict that `transformers.pipeline(**components)` takes.
        dtype: overrides the recorded type.
        device: a torch device.
        pipeline_kwargs: go to `transformers.pipeline`.

    Raises:
        ArtifactError: a file is missing or damaged, or the parts make no pipeline.
        HubUnavailable: a reference-only model whose weights are not in the cache.
    """
    if return_type not in RETURN_TYPES:
        raise InvalidInput(f"return_type: must be one of {', '.join(RETURN_TYPES)}", field="return_type")
    components = load_components(path, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    return components if return_type == "components" else build_pipeline(components, **pipeline_kwargs)


#: transformers patches its own classes and torch's default type while it builds a model: one at a time in a process.
_BUILDING = threading.Lock()


def load_components(
    path: str | os.PathLike[str], *, dtype: Any = None, device: str = "cpu", trust_remote_code: bool = False
) -> dict[str, Any]:
    """`{"task", "model", "tokenizer", …}`; the model is in evaluation mode on its device."""
    directory = Path(path)
    artifact = Artifact.read(directory)
    chosen = dtype_name(dtype) or _recorded_dtype(artifact)
    model_dir = _model_dir(directory, artifact)
    components: dict[str, Any] = {"task": artifact.task}
    try:
        options = {} if chosen is None else {"dtype": getattr(torch, chosen)}
        with _BUILDING:
            model, loading = _model_class(artifact).from_pretrained(
                model_dir,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # refused below, in words of ours
                output_loading_info=True,
                **options,
            )
        _refuse_random(model, loading, artifact.task)
        components["model"] = model.eval().to(device)
        for name in artifact.components:
            if name in READERS:
                origin = _component_dir(directory, artifact, name)
                components[name] = READERS[name].from_pretrained(origin, trust_remote_code=trust_remote_code)
    except safetensors.SafetensorError as exc:
        raise ArtifactError("the weights are damaged (not readable as safetensors); save the model again") from exc
    except ImportError as exc:
        raise MissingExtra(
            f"the model needs a package that is not installed: {str(exc).strip().splitlines()[0]}"
        ) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise ArtifactError(f"the model does not load ({type(exc).__name__}: {str(exc)[:300]})") from exc
    return components


def _model_dir(directory: Path, artifact: Artifact) -> Path:
    if artifact.has_weights:
        found = directory / MODEL_DIR
        if not found.is_dir():
            raise ArtifactError(f"the directory {MODEL_DIR}/ is missing from the artifact; save the model again")
        if not (found / "config.json").is_file():  # transformers makes one up
            raise ArtifactError(f"{MODEL_DIR}/config.json is missing from the artifact; save the model again")
        return found
    if not artifact.source_revision:
        raise ArtifactError("the artifact has neither weights nor a hub commit; save the model again")
    return hub.snapshot(artifact.source_name, artifact.source_revision, hub.SAFE_FILES)


def _component_dir(directory: Path, artifact: Artifact, name: str) -> Path:
    stored = directory / COMPONENTS_DIR / name
    if stored.is_dir() and (name != "tokenizer" or _is_tokenizer(stored, artifact)):
        return stored
    if name not in artifact.component_sources:
        raise ArtifactError(f"the component {name!r} is missing from the artifact; save the model again")
    repo, revision = artifact.component_sources[name]
    return hub.snapshot(repo, revision, hub.LIGHT_FILES)


def _is_tokenizer(directory: Path, artifact: Artifact) -> bool:
    """Whether there is a vocabulary; transformers makes one up, in silence, where there is none."""
    return artifact.components["tokenizer"] in BYTE_TOKENIZERS or has_tokenizer(directory)


def _model_class(artifact: Artifact) -> Any:
    """The recorded class; where this transformers has no model of that name, the auto class of the task."""
    kind = getattr(transformers, artifact.model_type, None)
    if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
        return kind
    return model_class(artifact.task)


def _refuse_random(model: Any, loading: Any, task: str) -> None:
    """transformers puts random weights where the files have none that fit; an answer of these would be noise."""
    if loading["mismatched_keys"]:
        raise ArtifactError("the weights do not fit the model's configuration; save the model again")
    # A base model is saved with or without its pooler, and features are taken before it.
    unasked = ("pooler.",) if model.base_model is model else ()
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(unasked))
    if missing:
        raise ArtifactError(
            f"the weights have no {missing[0]!r}: they are incomplete, or this model was never trained for {task}; "
            "save one that is whole"
        )


def _recorded_dtype(artifact: Artifact) -> str | None:
    try:
        return dtype_name(artifact.dtype)
    except InvalidInput as exc:  # MLflow writes down what it was given
        raise ArtifactError(f"the recorded dtype cannot be loaded in: {exc.message}; give one at load") from exc
