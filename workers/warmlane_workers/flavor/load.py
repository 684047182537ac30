"""Read a model directory into memory, as a pipeline or as its components. Custom code runs only on request.

Source: the guide, "Saving a pipeline and loading components" and "Scale Inference with Overriding Pytorch dtype".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from warmlane.errors import (
    DeviceError,
    InvalidInput,
    UnknownComponent,
)
from warmlane.jobs import RETURN_TYPES
from warmlane.model import dtype_name
from warmlane_workers.flavor import hub
from warmlane_workers.flavor.stored import Stored, read_component
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.pipelines.build import build_pipeline
from warmlane_workers.pipelines.registry import pipeline_class


def load_model(
    path: str | os.PathLike[str],
    return_type: str = "pipeline",
    *,
    dtype: Any = None,
    torch_dtype: Any = None,
    device: Any = None,
    device_map: Any = None,
    components: Sequence[str] | None = None,
    base_model_path: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
    source_roots: tuple[Path, ...] = (Path("/"),),
    **pipeline_kwargs: Any,
) -> Any:
    """Load a model directory.

    Args:
        return_type: "pipeline", or "components": a dict that `transformers.pipeline(**components)` takes.
        dtype: overrides the recorded type: `float32 float16 bfloat16 float64`, with or without `torch.`, or a
            `torch.dtype`.
        torch_dtype: the guide's word for `dtype`.
        device: a torch device, its name or number (-1 is the CPU); default: the first GPU, else the CPU.
        device_map: spread the model over devices, e.g. "auto"; excludes `device`.
        components: names of those to load, e.g. `("tokenizer",)`, which reads no weights; returns a dict of them.
        base_model_path: where the base of an adapter lies now, for one that refers to it by a path.
        trust_remote_code: run the model's own code, and let `code/` be imported.
        source_roots: directories that a base must lie in which is referred to by its path.
        pipeline_kwargs: go to `transformers.pipeline`, over the arguments of the pipeline that was saved.

    Raises:
        ArtifactIncomplete, ArtifactDamaged, ArtifactChanged, ArtifactTooNew: the artifact is not whole, or not the
            saved one.
        ArtifactError: the parts make no pipeline.
        CustomCodeRefused: it needs code of its own.
        DeviceError: no such device here.
        HubUnavailable: a reference-only model whose weights are not in the cache.
    """
    if return_type not in RETURN_TYPES:
        raise InvalidInput(f"return_type: must be one of {', '.join(RETURN_TYPES)}", field="return_type")
    directory = Path(path)
    artifact = Artifact.read(directory)
    dtype = dtype_name(torch_dtype if dtype is None else dtype)
    if components is not None:
        return _some(directory, artifact, components, trust_remote_code)
    if return_type == "pipeline":
        check_pipeline(artifact)
    if device is not None and device_map is not None:
        raise InvalidInput("device: excludes device_map; give one of them", field="device")
    loaded = load_components(
        directory,
        dtype=dtype,
        device=None if device_map is not None else find_device(device),
        device_map=device_map,
        base_model_path=base_model_path,
        trust_remote_code=trust_remote_code,
        source_roots=source_roots,
    )
    if return_type == "components":
        return {**loaded, "dtype": loaded["model"].dtype}
    return build_pipeline(loaded, artifact.own.get("pipeline"), **pipeline_kwargs)


def load_components(
    path: str | os.PathLike[str],
    *,
    dtype: Any = None,
    device: Any = "cpu",
    device_map: Any = None,
    base_model_path: str | os.PathLike[str] | None = None,
    trust_remote_code: bool = False,
    source_roots: tuple[Path, ...] = (Path("/"),),
    report: hub.Report | None = None,
    room: Callable[[int], None] = lambda size: None,
) -> dict[str, Any]:
    """`{"task", "model", "tokenizer", …}`; the model is in evaluation mode on its device. Arguments as `load_model`.

    Args:
        report: told how far a download is.
        room: told how many bytes the weights will take, before they are read; may raise.

    Raises:
        OutOfMemory: the device's memory is full.
    """
    directory = Path(path)
    artifact = Artifact.read(directory)
    stored = Stored.find(
        directory,
        artifact,
        dtype=dtype,
        device=device,
        device_map=device_map,
        base_model_path=base_model_path,
        trust_remote_code=trust_remote_code,
        source_roots=source_roots,
        report=report,
    )
    model = stored.adapted(stored.weights(room))
    return {"task": artifact.task, "model": model, **stored.components()}


def check_pipeline(artifact: Artifact) -> None:
    """Whether an artifact's components make a pipeline, before its weights are read.

    Raises:
        InvalidInput: its processor would have no place in it (the guide: such models load as components).
    """
    if "processor" in artifact.components and pipeline_class(artifact.task)._load_processor is False:
        raise InvalidInput(
            f"return_type: the model has a processor, and a {artifact.task} pipeline takes none; "
            "load it with return_type='components'",
            field="return_type",
        )


def find_device(device: Any) -> torch.device:
    """A device of this machine.

    Raises:
        DeviceError: there is none of that name.
    """
    if device is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        found = torch.device("cpu") if device == -1 else torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError) as exc:
        raise DeviceError(
            "device: there is none of that name here; leave it out for the best there is", field="device"
        ) from exc
    return found


def _some(directory: Path, artifact: Artifact, names: Sequence[str], trust_remote_code: bool) -> dict[str, Any]:
    unknown = [name for name in names if name not in artifact.components]
    if isinstance(names, str) or unknown:
        raise UnknownComponent(
            f"components: a list of names; the model has {', '.join(artifact.components) or 'none'}",
            field="components",
            allowed=list(artifact.components),
        )
    return {name: read_component(directory, artifact, name, trust_remote_code) for name in names}
