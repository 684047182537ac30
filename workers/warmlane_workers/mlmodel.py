"""The `MLmodel` file: what a stored model says about itself, with the keys that MLflow writes. Knows YAML, no torch.

What only warmlane knows (which job made it, the bytes of its weights) is kept under one key of its own in the flavor's
configuration, `warmlane`, which MLflow ignores.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata as packages
from pathlib import Path
from typing import Any, TypeVar

import yaml

from warmlane.errors import ArtifactDamaged, ArtifactError, ArtifactIncomplete, ArtifactTooNew
from warmlane.saving import PROMPT_TEMPLATE

T = TypeVar("T")

FILE = "MLmodel"
MODEL_DIR = "model"
COMPONENTS_DIR = "components"
PEFT_DIR = "peft"
CODE_DIR = "code"
#: What warmlane's own section of the flavor's configuration may hold, and the number of that agreement.
FORMAT = 1
#: `job`: the id of the job that made it. `files`: path -> `[bytes, XXH3-128, mtime in ns]` of each weight file.
#: `base_files`: the same of an adapter's base that is referred to by its path.
#: `pipeline`: constructor arguments of the saved pipeline. `head`: labels of a head that an adapter brings.
OWN_KEYS = frozenset({"format", "job", "files", "base_files", "pipeline", "head"})
#: The order in which MLflow lists components; a processor is not among them.
_COMPONENT_ORDER = ("feature_extractor", "tokenizer", "image_processor")
#: Keys of the transformers flavor's configuration in any MLflow; `pipeline` is that of before 2.4.1.
_KNOWN = frozenset(
    {
        *("transformers_version", "code", "task", "instance_type", "framework", "torch_dtype", "pipeline_model_type"),
        *("source_model_name", "source_model_revision", "model_binary", "pipeline", "components", "peft_adaptor"),
        *("local_base_model_path", "inference_task", "prompt_template", "warmlane"),
    }
)
_OF_COMPONENT = re.compile(r"(?:feature_extractor|tokenizer|image_processor|processor)_(?:type|name|revision)")
#: The MLflow whose layout this is; its loader asks for a version to be there.
_MLFLOW_VERSION = "2.14.3"
#: Largest MLmodel file that is read, in bytes: it is text about a model, not the model.
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored model's description.

    Attributes:
        task: the pipeline's task.
        instance_type: class name of the pipeline.
        model_type: class name of the model; of an adapter's base.
        dtype: element type to load in, short name; None leaves it to the weights.
        source_name: hub id or path that it came from; "" if it came from neither.
        source_revision: commit of the hub repository, in a reference-only artifact.
        has_weights: whether `model/` lies beside the file; else it is a reference to the hub.
        components: component name -> class name, e.g. `{"tokenizer": "BertTokenizer"}`; a processor among them.
        component_sources: component name -> (hub id, commit), in a reference-only artifact.
        has_adapter: whether `peft/` holds a PEFT adapter of the model.
        base_path: directory of an adapter's base that is referred to by its path.
        inference_task: `llm/v1/…`, where the model answers in OpenAI's shapes.
        pyfunc: whether MLflow may load it as a python function.
        code: whether `code/` holds Python files of the saver's.
        example: MLflow's description of the input example's files.
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
    has_adapter: bool = False
    base_path: str | None = None
    inference_task: str | None = None
    pyfunc: bool = True
    code: bool = False
    signature: Mapping[str, Any] | None = None
    example: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model_config: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int = 0
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt_template(self) -> str | None:
        template = self.metadata.get(PROMPT_TEMPLATE)
        return template if isinstance(template, str) else None

    def model_directory(self, directory: Path) -> Path:
        """Where the weights lie; MLflow before 2.4.1 called it `pipeline`."""
        old = directory / "pipeline"
        return old if old.is_dir() and not (directory / MODEL_DIR).exists() else directory / MODEL_DIR

    def write(self, directory: Path) -> None:
        """Write the file, whole or not at all."""
        text = to_yaml(self._document(), sort_keys=True)
        beside = directory / f".{FILE}.{uuid.uuid4().hex}"
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(directory / FILE)

    def _document(self) -> dict[str, Any]:
        flavors = {"transformers": self._flavor()}
        if self.pyfunc:
            flavors["python_function"] = self._python_function()
        document: dict[str, Any] = {
            "flavors": flavors,
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
        if self.example is not None:
            document["saved_input_example_info"] = dict(self.example)
        if self.metadata:
            document["metadata"] = dict(self.metadata)
        return document

    def _flavor(self) -> dict[str, Any]:
        conf: dict[str, Any] = {
            "transformers_version": _version("transformers"),
            "code": CODE_DIR if self.code else None,
            "task": self.task,
            "instance_type": self.instance_type,
            "pipeline_model_type": self.model_type,
            "source_model_name": self.source_name,
            "torch_dtype": f"torch.{self.dtype}" if self.dtype else None,
            "components": [name for name in _COMPONENT_ORDER if name in self.components],
            "warmlane": {"format": FORMAT, **self.own},
        }
        if self.has_weights:
            conf["model_binary"] = MODEL_DIR
        elif self.base_path is not None:
            conf["local_base_model_path"] = self.base_path
        elif self.source_revision:
            conf["source_model_revision"] = self.source_revision
        if self.has_adapter:
            conf["peft_adaptor"] = PEFT_DIR
        if self.inference_task is not None:
            conf["inference_task"] = self.inference_task
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
        if self.code:
            conf["code"] = CODE_DIR
        if self.model_config:
            conf["config"] = dict(self.model_config)
        return conf

    @classmethod
    def read(cls, directory: Path) -> Artifact:
        """Read the file of a model directory, whether warmlane or MLflow wrote it.

        Raises:
            ArtifactIncomplete: absent.
            ArtifactDamaged: not YAML, or of another shape.
            ArtifactTooNew: it says things that this release does not know.
            ArtifactError: no transformers flavor.
        """
        document = _load(directory / FILE)
        flavors = _part(document, "flavors", dict)
        conf = _part(flavors, "transformers", dict)
        if not _part(conf, "task", str):
            raise ArtifactError(f"{FILE}: no transformers flavor with a task; only transformers models are served")
        own = _part(conf, "warmlane", dict)
        _refuse_unknown(conf, own)
        names = [str(name) for name in _part(conf, "components", list)]
        names += ["processor"] if conf.get("processor_type") else []
        dtype = conf.get("torch_dtype")
        revision = _part(conf, "source_model_revision", str) or None
        base_path = _part(conf, "local_base_model_path", str) or None
        # MLflow before 2.4.1 had no `model_binary`: there, what refers to nothing has weights.
        has_weights = "model_binary" in conf or bool(conf.get("pipeline_model_type") and not (revision or base_path))
        pyfunc = _part(flavors, "python_function", dict)
        return cls(
            task=conf["task"],
            instance_type=str(conf.get("instance_type", "")),
            model_type=str(conf.get("pipeline_model_type", "")),
            dtype=str(dtype).removeprefix("torch.") if dtype else None,
            source_name=str(conf.get("source_model_name") or ""),
            source_revision=revision,
            has_weights=has_weights,
            components={name: str(conf.get(f"{name}_type", "")) for name in names},
            component_sources={
                name: (_part(conf, f"{name}_name", str), _part(conf, f"{name}_revision", str))
                for name in names
                if conf.get(f"{name}_revision")
            },
            has_adapter="peft_adaptor" in conf,
            base_path=base_path,
            inference_task=_part(conf, "inference_task", str) or None,
            pyfunc=bool(pyfunc),
            code=bool(conf.get("code")),
            signature=_read_signature(document.get("signature")),
            example=_part(document, "saved_input_example_info", dict) or None,
            metadata=_part(document, "metadata", dict),
            model_config=_part(pyfunc, "config", dict),
            size_bytes=_part(document, "model_size_bytes", int),
            own={name: value for name, value in own.items() if name != "format"},
        )


def to_yaml(value: Any, *, sort_keys: bool = False) -> str:
    """Plain data as YAML; by the C library where PyYAML has it, which takes a tenth of the time."""
    text: str = yaml.dump(value, Dumper=_DUMPER, sort_keys=sort_keys, allow_unicode=True)
    return text


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_version = functools.cache(packages.version)


def _refuse_unknown(conf: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """What a key that nobody here knows would change, nobody here can tell."""
    unknown = [key for key in conf if key not in _KNOWN and not _OF_COMPONENT.fullmatch(str(key))]
    unknown += [f"warmlane.{key}" for key in own if key not in OWN_KEYS]
    if own.get("format", FORMAT) != FORMAT:
        raise ArtifactTooNew(f"{FILE}: of format {own['format']}, this release reads {FORMAT}; upgrade warmlane")
    if unknown:
        raise ArtifactTooNew(
            f"{FILE}: the key {str(unknown[0])[:60]!r} is not known; it is of a newer release: upgrade warmlane",
            key=str(unknown[0])[:60],
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ArtifactDamaged(f"{FILE}: larger than {_MAX_BYTES} bytes")
        # Not by the C library: it overflows the stack, and so ends the process, on a file of open brackets.
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactIncomplete(f"no {FILE} file in the model directory; was it deleted?") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as exc:
        raise ArtifactDamaged(f"{FILE}: not readable as YAML") from exc
    except OSError as exc:
        raise ArtifactDamaged(f"{FILE}: not readable ({type(exc).__name__})") from exc
    if not isinstance(document, dict):
        raise ArtifactDamaged(f"{FILE}: not a mapping")
    return document


def _part(mapping: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """A value of a type, empty where there is none."""
    value = mapping.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ArtifactDamaged(f"{FILE}: {key} is a {type(value).__name__} and not a {kind.__name__}")
    return value


def _read_signature(stored: Any) -> dict[str, Any] | None:
    if not isinstance(stored, dict):
        return None
    try:
        return {part: json.loads(text) if text else None for part, text in stored.items() if part != "metadata"}
    except (TypeError, ValueError, RecursionError) as exc:
        raise ArtifactDamaged(f"{FILE}: the signature is not JSON") from exc
