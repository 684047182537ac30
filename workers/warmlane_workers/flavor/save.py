"""Write a model directory. A checkpoint's files are copied, never loaded; objects in memory save themselves.

Everything that can be refused is refused before a byte is written; `MLmodel` comes last, so that a directory without it
is no artifact. Source: the guide, "Pipelines vs. Component Logging", "Storage-Efficient Model Logging", "PEFT Models".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from warmlane.errors import InvalidShardSize, PathNotEmpty
from warmlane.jobs import split_example
from warmlane.model import dtype_name
from warmlane.saving import PROMPT_TEMPLATE, check_options, check_prompt_template
from warmlane.signature import check_signature, default_signature
from warmlane_workers.flavor import configured, examples, hub, papers, requirements, signatures
from warmlane_workers.flavor.code_paths import gather_code
from warmlane_workers.flavor.components import in_memory, read_components
from warmlane_workers.flavor.describe import Wishes, describe
from warmlane_workers.flavor.hub import Report
from warmlane_workers.flavor.imports import import_directory
from warmlane_workers.flavor.parts import Lookup, Parts, resolve
from warmlane_workers.flavor.source import Checkpoint, inside
from warmlane_workers.flavor.writing import Beside, write
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.pipelines.build import build_pipeline

#: Guide: "MLflow by default uses a 500 MB max_shard_size"; the environment variable overrides it.
MAX_SHARD_SIZE = "500MB"
SHARD_SIZE_VARIABLE = "MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE"
#: A size as huggingface_hub reads one, but above zero: of less it makes one file a tensor, in silence.
_SIZE = re.compile(r"(?=[\d.]*[1-9])\d+(?:\.\d+)? ?[KMGT]B", re.IGNORECASE)


def silent(fraction: float, phase: str) -> None:
    """Progress that nobody asked for."""


def save_model(
    transformers_model: Any,
    path: str | os.PathLike[str],
    *,
    processor: Any = None,
    task: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    model_card: Any = None,
    code_paths: Sequence[str] | None = None,
    signature: Any = None,
    input_example: Any = None,
    pip_requirements: Sequence[str] | str | None = None,
    extra_pip_requirements: Sequence[str] | str | None = None,
    conda_env: Mapping[str, Any] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    model_config: Mapping[str, Any] | None = None,
    prompt_template: str | None = None,
    save_pretrained: bool = True,
    base_model_path: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    check_weights: bool = True,
    trust_remote_code: bool = False,
    source_roots: tuple[Path, ...] = (Path("/"),),
    own: Mapping[str, Any] | None = None,
    report: Report = silent,
) -> Artifact:
    """Write a model directory at `path`.

    Args:
        transformers_model: a pipeline; a dict of components (objects, or each a directory or hub id; `model` is
            required); a checkpoint directory; a hub id; a PEFT model (as the model of a pipeline or dict) or an
            adapter's directory; or an MLflow model directory, which is taken as it is.
        path: absent, or an empty directory.
        processor: a processor object, directory or hub id; the artifact then loads as components, unless its task's
            pipeline takes a processor.
        task: the pipeline's task, or `llm/v1/chat`, `completions`, `embeddings`; default: the pipeline's own, else what
            the model card or the architecture tells.
        dtype: recorded as the type to load in; default: the weights' own. The stored weights are not converted.
        torch_dtype: the guide's word for `dtype`.
        model_card: a `huggingface_hub.ModelCard`, its text, or a path; default: the source's own.
        code_paths: files and directories to keep under `code/`.
        signature: `{"inputs", "outputs", "params"}` or MLflow's `ModelSignature`; default: of the input example, else
            of the task.
        input_example: an input, or a tuple of an input and params. One prediction on it gives the signature.
        pip_requirements, extra_pip_requirements, conda_env: the environment instead of, or beside, the inferred one.
        metadata: kept in the `MLmodel` file.
        model_config: parameters of every predict.
        prompt_template: frames each input; exactly one `{prompt}`.
        save_pretrained: False stores the hub's name and commit, of the model and of each component, instead of files.
        base_model_path: checkpoint directory of an adapter's base, referred to by its path.
        revision: branch, tag or commit of a hub id.
        check_weights: a model in memory is compared with what it is a reference to; False refers unseen.
        trust_remote_code: take custom code along; reading custom tokenizers runs it.
        source_roots: directories that local sources must lie in.
        own: warmlane's own facts for the `MLmodel` file.
        report: told how far it is.

    Returns:
        What was written.

    Raises:
        SaveRefused, SourceError, UnsupportedTask, CustomCodeRefused: before anything is written.
        InvalidParams: so is a `model_config` by which every predict would fail.
        HubUnavailable: the hub does not answer.
        StoreError: the disk is full; what was written is removed.
    """
    target = _empty(path)
    example, example_params = split_example(input_example)
    check_options(
        task=task,
        signature=signature,
        metadata={} if metadata is None else metadata,
        model_config={} if model_config is None else model_config,
        prompt_template=prompt_template,
        pip_requirements=pip_requirements,
        extra_pip_requirements=extra_pip_requirements,
        conda_env=conda_env,
        code_paths=code_paths,
    )
    shard_size = _shard_size()
    dtype = dtype_name(torch_dtype if dtype is None else dtype)
    report(0.0, "reading the source")
    wishes = Wishes(task, dtype, save_pretrained, check_weights, trust_remote_code, report)
    lookup = Lookup(source_roots, revision, save_pretrained, trust_remote_code, report, task=task)
    allowed = partial(inside, roots=source_roots)
    parts = resolve(transformers_model, processor, base_model_path, lookup)
    if isinstance(parts, Path):
        changes = {"signature": signature, "metadata": metadata, "model_config": model_config}
        changes |= {"prompt_template": prompt_template, "input_example": example, "model_card": model_card}
        changes |= {"pip_requirements": pip_requirements, "extra_pip_requirements": extra_pip_requirements}
        changes |= {"conda_env": conda_env, "code_paths": code_paths}
        asked = {"task": task, "dtype": dtype}
        return import_directory(parts, target, lookup, wishes, asked=asked, changes=changes, own=own or {})

    components = read_components(parts, wishes)
    artifact = describe(parts, components, wishes)
    check_prompt_template(prompt_template, artifact.task)
    code = gather_code(code_paths, allowed)
    beside = Beside(
        components=components,
        shard_size=shard_size,
        papers=_papers(parts, artifact, model_card, allowed),
        environment=requirements.plan(
            components=components,
            has_adapter=artifact.has_adapter,
            code_files=[*code.python_files, *(_brought_code(parts) if trust_remote_code else ())],
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
            conda_env=conda_env,
            resolve=allowed,
        ),
        code=code,
        example=None if example is None else examples.render(example, example_params),
    )
    configured.check(model_config or {}, parts, components, artifact)
    artifact = replace(
        artifact,
        signature=_signature(
            parts, components, artifact, wishes, signature, (example, example_params), model_config or {}
        ),
        metadata=_metadata(artifact, metadata, prompt_template),
        model_config=_model_config(artifact.task, model_config, prompt_template),
        code=bool(code.files),
        own={**artifact.own, **(own or {})},
    )
    return write(parts, artifact, beside, target, wishes)


def _signature(
    parts: Parts,
    components: Mapping[str, Any],
    artifact: Artifact,
    wishes: Wishes,
    given: Any,
    example: tuple[Any, Mapping[str, Any] | None],
    model_config: Mapping[str, Any],
) -> Mapping[str, Any] | None:
    """The guide's three ways: the one that was given, that of the example, that of the task."""
    if given is not None:
        return check_signature(given)
    if example[0] is None or artifact.inference_task is not None:
        return default_signature(artifact.task, artifact.inference_task)
    wishes.report(0.05, "predicting the input example")
    pipeline = parts.pipeline or build_pipeline(in_memory(parts, components, artifact, wishes))
    return signatures.of_example(pipeline, *example, model_config=model_config)


def _empty(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PathNotEmpty("path: something is there already; give an empty or an absent directory", field="path")
    return target


def _shard_size() -> str:
    """The largest weight file.

    Raises:
        InvalidShardSize: the environment variable holds no size.
    """
    text = os.environ.get(SHARD_SIZE_VARIABLE, MAX_SHARD_SIZE).strip()
    if not _SIZE.fullmatch(text):
        raise InvalidShardSize(f"{SHARD_SIZE_VARIABLE}: a size such as 500MB or 5GB", field=SHARD_SIZE_VARIABLE)
    return text


def _model_config(task: str, config: Mapping[str, Any] | None, template: str | None) -> dict[str, Any]:
    """The guide: with a template, text generation gives back what it generates only, unless it is told otherwise."""
    default = {"return_full_text": False} if template is not None and task == "text-generation" else {}
    return {**default, **(config or {})}


def _metadata(artifact: Artifact, metadata: Mapping[str, Any] | None, template: str | None) -> dict[str, Any]:
    found = dict(metadata or {})
    if template is not None:
        found[PROMPT_TEMPLATE] = template
    if artifact.inference_task is not None:
        found["task"] = artifact.inference_task
    return found


def _papers(parts: Parts, artifact: Artifact, card: Any, allowed: Callable[[Path], Path]) -> papers.Papers:
    """The card and the licence: of a checkpoint's directory, of the one that a model in memory was loaded from, or of
    the hub's repository."""
    model = parts.model
    if isinstance(model, Checkpoint):
        hub_id = model.name if model.revision else None
        return papers.gather(model.directory, hub_id, model.revision, card, model.resolve, resolve_card=allowed)
    name = artifact.source_name
    if name and Path(name).is_dir():
        return papers.gather(allowed(Path(name)), None, None, card, allowed, resolve_card=allowed)
    hub_id = name if hub.is_id(name) else None
    return papers.gather(None, hub_id, artifact.source_revision, card, resolve_card=allowed)


def _brought_code(parts: Parts) -> list[Path]:
    """The Python files that come along with checkpoints."""
    sources = {
        part.directory: part for part in (parts.model, *parts.components.values()) if isinstance(part, Checkpoint)
    }
    return [part.resolve(path) for directory, part in sources.items() for path in sorted(directory.rglob("*.py"))]
