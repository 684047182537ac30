"""Write a model directory. A checkpoint's files are copied, never loaded; objects in memory save themselves.

Source: the guide, "Pipelines vs. Component Logging", "Storage-Efficient Model Logging" and "Automatic Metadata".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from transformers import Pipeline, PreTrainedModel

from warmlane import signature as signatures
from warmlane.errors import InvalidInput, MissingExtra, SourceError
from warmlane.jobs import COMPONENTS
from warmlane.model import dtype_name
from warmlane_workers.flavor import hub, requirements, source
from warmlane_workers.flavor.source import Checkpoint
from warmlane_workers.mlmodel import COMPONENTS_DIR, FILE, MODEL_DIR, Artifact
from warmlane_workers.pipelines.registry import READERS, canonical, model_type, pipeline_class

#: Guide: "MLflow by default uses a 500 MB max_shard_size"; the same environment variable overrides it.
MAX_SHARD_SIZE = "500MB"
#: Tasks that diagnose warmlane itself and have no weights.
DIAGNOSTIC_TASKS = {"echo"}
#: The source that saves one: `warmlane:echo`.
DIAGNOSTIC_SCHEME = "warmlane:"

Report = Callable[[float, str], None]


def silent(fraction: float, phase: str) -> None:
    """Progress that nobody asked for."""


def save_model(
    transformers_model: Any,
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    dtype: Any = None,
    save_pretrained: bool = True,
    revision: str | None = None,
    signature: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    model_config: Mapping[str, Any] | None = None,
    source_roots: tuple[Path, ...] = (Path("/"),),
    own: Mapping[str, Any] | None = None,
    report: Report = silent,
) -> Artifact:
    """Write a model directory at `path`.

    Args:
        transformers_model: a pipeline; a dict of components (objects, or each a directory or hub id; `model` is
            required); a checkpoint directory; a hub id; or an MLflow model directory, which is taken as it is.
        task: the pipeline's task; default: the pipeline's own, or what the architecture tells.
        dtype: recorded as the type to load in; default: the weights' own. The stored weights are not converted.
        save_pretrained: False stores the hub's name and commit instead of weights (hub ids only).
        source_roots: directories that local sources must lie in.
        own: warmlane's own facts for the `MLmodel` file.

    Returns:
        What was written.

    Raises:
        InvalidInput, SourceError, UnsupportedTask: before anything is written.
        HubUnavailable: the hub does not answer.
    """
    target = Path(path)
    if target.exists() and any(target.iterdir()):
        raise InvalidInput("path: the directory exists and is not empty", field="path")
    dtype = dtype_name(dtype)
    parts = _resolve(transformers_model, source_roots, revision, weights=save_pretrained)
    if isinstance(parts, Path):
        _refuse_changes(
            Artifact.read(parts),
            {"task": task, "dtype": dtype},
            {"signature": signature, "metadata": metadata, "model_config": model_config},
        )
        return _import(parts, target, dict(own or {}), source_roots)
    artifact = _describe(parts, task, dtype, save_pretrained)
    artifact = replace(
        artifact,
        signature=signature or signatures.DEFAULTS.get(artifact.task),
        metadata=dict(metadata or {}),
        model_config=dict(model_config or {}),
        own=dict(own or {}),
    )
    target.mkdir(parents=True, exist_ok=True)
    size = _write_parts(parts, target, save_pretrained, report)
    _write_papers(parts.get("model"), artifact.source_name, target)
    requirements.write(target)
    artifact = replace(artifact, size_bytes=size)
    artifact.write(target)
    return artifact


def _resolve(model: Any, roots: tuple[Path, ...], revision: str | None, *, weights: bool) -> dict[str, Any] | Path:
    """Component name -> checkpoint or object; or the path of an MLflow model directory."""
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, Pipeline):
        return {name: getattr(model, name) for name in COMPONENTS if getattr(model, name, None) is not None} | {
            "task": model.task
        }
    if isinstance(model, str):
        if model.removeprefix(DIAGNOSTIC_SCHEME) in DIAGNOSTIC_TASKS and model.startswith(DIAGNOSTIC_SCHEME):
            return {"task": model.removeprefix(DIAGNOSTIC_SCHEME)}
        found = source.find(model, roots, revision, weights=weights)
        if (found.directory / FILE).is_file():
            return found.directory
        found.config()
        parts: dict[str, Any] = {"model": found}
        if found.has_tokenizer():
            parts["tokenizer"] = found
        if (found.directory / "preprocessor_config.json").exists():
            kind = "image_processor" if "image_processor_type" in _preprocessor(found) else "feature_extractor"
            parts[kind] = found
        return parts
    if not isinstance(model, dict) or "model" not in model:
        raise InvalidInput(
            "transformers_model: a pipeline, a dict of components with 'model', a directory, or a hub id",
            field="transformers_model",
        )
    unknown = sorted(set(model) - set(COMPONENTS))
    if unknown:
        raise InvalidInput(f"no component may be called {unknown[0]!r}; allowed are {', '.join(COMPONENTS)}")
    return {
        name: source.find(part, roots, revision, weights=weights) if isinstance(part, str) else part
        for name, part in model.items()
    }


def _preprocessor(checkpoint: Checkpoint) -> str:
    return checkpoint.resolve(checkpoint.directory / "preprocessor_config.json").read_text(encoding="utf-8")


def _describe(parts: dict[str, Any], task: str | None, dtype: str | None, save_pretrained: bool) -> Artifact:
    """Everything that can be known, and refused, before a byte is written."""
    model = parts.get("model")
    if model is None:
        return Artifact(
            task=parts["task"],
            instance_type="",
            model_type="",
            dtype=None,
            source_name="",
            has_weights=False,
            components={},
        )
    task = canonical(task) if task else None
    if isinstance(model, Checkpoint):
        config = model.config()
        if save_pretrained:
            model.files()
        stored = model.weights_dtype()
        task = task or source.infer_task(config)
        kind = model_type(task, config) if task else ""
        dtype = dtype or _known_dtype(config.get("dtype") or config.get("torch_dtype") or stored)
        name = model.name
    elif isinstance(model, PreTrainedModel):
        task = task or parts.get("task") or source.infer_task({"architectures": [type(model).__name__]})
        kind, dtype, name = (
            type(model).__name__,
            dtype or _known_dtype(str(model.dtype)),
            model.name_or_path or "",
        )
    else:
        raise InvalidInput("the component 'model' is neither a transformers model nor a source", field="model")
    if task is None:
        raise InvalidInput("task: the source does not tell it; give one, e.g. 'text-classification'", field="task")
    if not save_pretrained and not (isinstance(model, Checkpoint) and model.revision):
        raise InvalidInput(
            "save_pretrained=False needs a hub id; a directory can only be copied", field="save_pretrained"
        )
    _check_tokenizer(parts, task)
    return Artifact(
        task=task,
        instance_type=pipeline_class(task).__name__,
        model_type=kind,
        dtype=dtype,
        source_name=name,
        source_revision=model.revision if isinstance(model, Checkpoint) else None,
        has_weights=save_pretrained,
        components={key: _class_name(key, part) for key, part in parts.items() if key in READERS},
        component_sources={
            key: (part.name, part.revision)
            for key, part in parts.items()
            if key in READERS and isinstance(part, Checkpoint) and part.revision
        },
    )


def _known_dtype(text: Any) -> str | None:
    """A checkpoint's own type, if it is one that models are loaded in."""
    try:
        return dtype_name(text)
    except InvalidInput:
        return None


def _check_tokenizer(parts: dict[str, Any], task: str) -> None:
    if getattr(pipeline_class(task), "_load_tokenizer", False) and "tokenizer" not in parts:
        raise SourceError(f"{task} needs a tokenizer and the source has none ({', '.join(source.TOKENIZER_FILES)})")
    tokenizer = parts.get("tokenizer")
    if isinstance(tokenizer, Checkpoint) and not tokenizer.has_tokenizer():
        raise SourceError(f"{tokenizer.name}: no tokenizer files ({', '.join(source.TOKENIZER_FILES)})")


def _class_name(key: str, part: Any) -> str:
    return type(_read(key, part)).__name__


def _read(key: str, part: Any) -> Any:
    """A component as an object; small files only, no weights, no custom code."""
    if not isinstance(part, Checkpoint):
        return part
    for path in part.directory.iterdir():
        part.resolve(path)
    try:
        return READERS[key].from_pretrained(part.directory, trust_remote_code=False)
    except ImportError as exc:
        raise MissingExtra(
            f"the {key} needs a package that is not installed: {str(exc).strip().splitlines()[0]}"
        ) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise SourceError(f"{part.name}: the {key} does not load ({type(exc).__name__})") from exc


def _write_parts(parts: dict[str, Any], target: Path, save_pretrained: bool, report: Report) -> int:
    if not save_pretrained or "model" not in parts:
        return 0
    report(0.1, "writing weights")
    model = parts["model"]
    if isinstance(model, Checkpoint):
        model.copy_to(target / MODEL_DIR)
    else:
        shard = os.environ.get("MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE", MAX_SHARD_SIZE)
        model.save_pretrained(target / MODEL_DIR, max_shard_size=shard)
    report(0.8, "writing components")
    for key in READERS:
        if key in parts:
            _read(key, parts[key]).save_pretrained(target / COMPONENTS_DIR / key)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _write_papers(model: Any, name: str, target: Path) -> None:
    """The model card and the licence, as far as the source carries them (the guide, "Automatic Metadata")."""
    directory = model.directory if isinstance(model, Checkpoint) else None
    if directory is not None:
        card = directory / "README.md"
        if card.is_file():
            shutil.copyfile(model.resolve(card), target / "model_card.md")
        for path in sorted(directory.iterdir()):
            if path.name.lower().startswith("license") and path.is_file():
                shutil.copyfile(model.resolve(path), target / path.name)
                return
    where = f" of {name!r}" if name else ""
    text = f"No licence came with the weights{where}. Ask their publisher which restrictions exist before use.\n"
    (target / "LICENSE.txt").write_text(text, encoding="utf-8")


def _refuse_changes(artifact: Artifact, values: Mapping[str, Any], extras: Mapping[str, Any]) -> None:
    """An MLflow directory is taken as it is: say so instead of dropping what was asked for."""
    changed = [name for name, value in values.items() if value not in (None, getattr(artifact, name))]
    changed += [name for name, value in extras.items() if value]
    if changed:
        raise InvalidInput(
            f"{changed[0]}: an MLflow model directory is taken as it is; leave this out, or save its checkpoint",
            field=changed[0],
        )


def _import(origin: Path, target: Path, own: dict[str, Any], roots: tuple[Path, ...]) -> Artifact:
    """Take an MLflow model directory as it is; only warmlane's own key is added to its `MLmodel`."""
    if Artifact.read(origin).has_weights:
        weights = Checkpoint(origin / MODEL_DIR, str(origin), None, roots)
        weights.files()
        weights.weights_dtype()
    allowed = (*hub.SAFE_FILES, "*.yaml", FILE)
    true = {path: source.inside(path, roots) for path in sorted(origin.rglob("*"))}
    for path, place in ((path, target / path.relative_to(origin)) for path in true):
        if path.is_file() and any(Path(path.name).match(pattern) for pattern in allowed):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(true[path], place)
    document = yaml.safe_load((target / FILE).read_text(encoding="utf-8"))
    document["flavors"]["transformers"]["warmlane"] = own
    (target / FILE).write_text(yaml.safe_dump(document, sort_keys=True, allow_unicode=True), encoding="utf-8")
    return Artifact.read(target)
