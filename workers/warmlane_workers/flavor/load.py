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
    ArtifactError,
    ArtifactIncomplete,
    DeviceError,
    InvalidBaseModel,
    InvalidInput,
    UnknownComponent,
)
from warmlane.jobs import RETURN_TYPES
from warmlane.model import dtype_name
from warmlane_workers.flavor import adapters, files, heads, hub, reading, source, weights
from warmlane_workers.flavor.code_paths import add_code
from warmlane_workers.mlmodel import COMPONENTS_DIR, MODEL_DIR, PEFT_DIR, Artifact
from warmlane_workers.pipelines.build import build_pipeline
from warmlane_workers.pipelines.memory import within_memory
from warmlane_workers.pipelines.registry import READERS, pipeline_class


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
    if "files" in artifact.own:
        files.check(directory, artifact.own["files"])
    if artifact.code and trust_remote_code:
        add_code(directory)
    chosen = dtype_name(dtype) or _recorded_dtype(artifact)
    place = _model_dir(directory, artifact, base_model_path, source_roots, trust_remote_code, report)
    room(weights.loaded_bytes(place, chosen))
    if device is not None and torch.device(device).type != "cpu":
        device_map = {"": device}  # tensor by tensor from the files to the device: the host never holds the model
    with within_memory("the model"):
        model = reading.read_model(
            place,
            artifact.model_type,
            artifact.task,
            dtype=chosen,
            device_map=device_map,
            key_mapping=adapters.MLFLOW_NAMES if artifact.has_adapter else None,
            unneeded=heads.replaced_in(directory / PEFT_DIR) if artifact.has_adapter else (),
            settings=heads.settings(artifact.own.get("head")),
            trust_remote_code=trust_remote_code,
        )
        if artifact.has_adapter:
            model = adapters.apply(model, directory / PEFT_DIR).eval()
        if device is not None:
            model = model.to(device)
    names = [name for name in artifact.components if name in READERS]
    read = {name: _component(directory, artifact, name, trust_remote_code) for name in names}
    return {"task": artifact.task, "model": model, **read}


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
    return {name: _component(directory, artifact, name, trust_remote_code) for name in names}


def _model_dir(
    directory: Path,
    artifact: Artifact,
    base_model_path: str | os.PathLike[str] | None,
    roots: tuple[Path, ...],
    code: bool,
    report: hub.Report | None,
) -> Path:
    if base_model_path is not None and artifact.base_path is None:
        raise InvalidBaseModel(
            "base_model_path: this model does not refer to a base by its path; leave it out", field="base_model_path"
        )
    if artifact.has_weights:
        found = artifact.model_directory(directory)
        if not found.is_dir():
            raise ArtifactIncomplete(f"the directory {MODEL_DIR}/ is missing from the artifact; save the model again")
        return found
    if artifact.base_path is not None:
        base = source.inside(Path(base_model_path or artifact.base_path), roots)
        if not base.is_dir():
            raise ArtifactIncomplete("the adapter's base is not where it was; say where with base_model_path")
        if "base_files" in artifact.own:
            files.check(base, artifact.own["base_files"])
        return base
    if not artifact.source_revision:
        raise ArtifactIncomplete("the artifact has neither weights nor a hub commit; save the model again")
    patterns = [*hub.SAFE_FILES, *(hub.CODE_FILES if code else [])]
    return hub.snapshot(artifact.source_name, artifact.source_revision, patterns, report=report)


def _component(directory: Path, artifact: Artifact, name: str, trust_remote_code: bool) -> Any:
    stored = directory / COMPONENTS_DIR / name
    old = artifact.model_directory(directory)
    if not stored.is_dir() and name in artifact.component_sources:
        patterns = [*hub.LIGHT_FILES, *(hub.CODE_FILES if trust_remote_code else [])]
        stored = hub.snapshot(*artifact.component_sources[name], patterns)
    elif not stored.is_dir() and old.name != MODEL_DIR:
        stored = old
    elif not stored.is_dir():
        raise ArtifactIncomplete(f"the component {name!r} is missing from the artifact; save the model again")
    model = stored if (stored / "config.json").is_file() else old
    kind = artifact.components[name]
    return reading.read_component(name, stored, kind, model=model, trust_remote_code=trust_remote_code)


def _recorded_dtype(artifact: Artifact) -> str | None:
    try:
        return dtype_name(artifact.dtype)
    except InvalidInput as exc:  # MLflow writes down what it was given
        raise ArtifactError(f"the recorded dtype cannot be loaded in: {exc.message}; give one at load") from exc
