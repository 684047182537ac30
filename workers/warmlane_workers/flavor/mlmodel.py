"""The `MLmodel` file: what a stored model says about itself, with the keys that MLflow writes. Knows YAML, no torch.

What only warmlane knows (which job made it, the bytes of its weights) is kept under one key of its own in the flavor's
configuration, `warmlane`, which MLflow ignores.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path
from typing import Any, TypeVar

import yaml

from warmlane.errors import ArtifactError

T = TypeVar("T")

FILE = "MLmodel"
MODEL_DIR = "model"
COMPONENTS_DIR = "components"
#: The MLflow whose layout this is; its loader asks for a version to be there.
_MLFLOW_VERSION = "2.14.3"
#: Largest MLmodel file that is read, in bytes: it is text about a model, not the model.
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored model's description.

    Attributes:
        task: the pipeline's task.
        instance_type: class name of the pipeline.
        model_type: class name of the model.
        dtype: element type to load in, short name; None leaves it to the weights.
        source_name: hub id or path that it came from; "" if it came from neither.
        source_revision: commit of the hub repository, in a reference-only artifact.
        has_weights: whether `model/` lies beside the file; else it is a reference to the hub.
        components: component name -> class name, e.g. `{"tokenizer": "BertTokenizer"}`.
        component_sources: component name -> (hub id, commit), in a reference-only artifact.
        own: warmlane's own facts.
    """

    task: str
    instance_type: str
    model_type: str
    dtype: str | None
    source_name: str
    has_weights: bool
    components: Mapping[str, str]
    source_revision: str | None = None
    component_sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    signature: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model_config: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write the file, whole or not at all."""
        text = yaml.safe_dump(self._document(), sort_keys=True, allow_unicode=True)
        beside = directory / f".{FILE}.{uuid.uuid4().hex}"
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(directory / FILE)

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "flavors": {"transformers": self._flavor(), "python_function": self._python_function()},
            "mlflow_version": _MLFLOW_VERSION,
            "model_size_bytes": self.size_bytes,
            "model_uuid": uuid.uuid4().hex,
            "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
        }
        if self.signature is not None:
            document["signature"] = {
                part: None if self.signature.get(part) is None else json.dumps(self.signature[part])
                for part in ("inputs", "outputs", "params")
            }
        if self.metadata:
            document["metadata"] = dict(self.metadata)
        return document

    def _flavor(self) -> dict[str, Any]:
        conf: dict[str, Any] = {
            "transformers_version": packages.version("transformers"),
            "code": None,
            "task": self.task,
            "instance_type": self.instance_type,
            "pipeline_model_type": self.model_type,
            "source_model_name": self.source_name,
            "torch_dtype": f"torch.{self.dtype}" if self.dtype else None,
            "components": sorted(self.components),
            "warmlane": dict(self.own),
        }
        if self.has_weights:
            conf["model_binary"] = MODEL_DIR
        elif self.source_revision:
            conf["source_model_revision"] = self.source_revision
        for name, kind in self.components.items():
            conf[f"{name}_type"] = kind
        if not self.has_weights:
            for name, (repo, revision) in self.component_sources.items():
                conf[f"{name}_name"], conf[f"{name}_revision"] = repo, revision
        return conf

    def _python_function(self) -> dict[str, Any]:
        conf: dict[str, Any] = {
            "loader_module": "mlflow.transformers",
            "python_version": ".".join(map(str, sys.version_info[:3])),
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        }
        if self.model_config:
            conf["config"] = dict(self.model_config)
        return conf

    @classmethod
    def read(cls, directory: Path) -> Artifact:
        """Read the file of a model directory, whether warmlane or MLflow wrote it.

        Raises:
            ArtifactError: absent, not YAML, of another shape, or without the transformers flavor.
        """
        document = _load(directory / FILE)
        flavors = _part(document, "flavors", dict)
        conf = _part(flavors, "transformers", dict)
        if not _part(conf, "task", str):
            raise ArtifactError(f"{FILE}: no transformers flavor with a task; only transformers models are served")
        names = [name for name in _part(conf, "components", list) if isinstance(name, str)]
        dtype = conf.get("torch_dtype")
        return cls(
            task=conf["task"],
            instance_type=str(conf.get("instance_type", "")),
            model_type=str(conf.get("pipeline_model_type", "")),
            dtype=str(dtype).removeprefix("torch.") if dtype else None,
            source_name=str(conf.get("source_model_name") or ""),
            source_revision=_part(conf, "source_model_revision", str) or None,
            has_weights="model_binary" in conf,
            components={name: str(conf.get(f"{name}_type", "")) for name in names},
            component_sources={
                name: (_part(conf, f"{name}_name", str), _part(conf, f"{name}_revision", str))
                for name in names
                if conf.get(f"{name}_revision")
            },
            signature=_read_signature(document.get("signature")),
            metadata=_part(document, "metadata", dict),
            model_config=_part(_part(flavors, "python_function", dict), "config", dict),
            size_bytes=_part(document, "model_size_bytes", int),
            own=_part(conf, "warmlane", dict),
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ArtifactError(f"{FILE}: larger than {_MAX_BYTES} bytes")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"no {FILE} file in the model directory; was it deleted?") from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ArtifactError(f"{FILE}: not readable as YAML") from exc
    except OSError as exc:
        raise ArtifactError(f"{FILE}: not readable ({type(exc).__name__})") from exc
    if not isinstance(document, dict):
        raise ArtifactError(f"{FILE}: not a mapping")
    return document


def _part(mapping: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """A value of a type, empty where there is none."""
    value = mapping.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ArtifactError(f"{FILE}: {key} is a {type(value).__name__} and not a {kind.__name__}")
    return value


def _read_signature(stored: Any) -> dict[str, Any] | None:
    if not isinstance(stored, dict):
        return None
    try:
        return {part: json.loads(text) if text else None for part, text in stored.items() if part != "metadata"}
    except (TypeError, ValueError) as exc:
        raise ArtifactError(f"{FILE}: the signature is not JSON") from exc
