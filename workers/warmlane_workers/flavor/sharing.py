"""Adapters over a base that is in memory already: which can share it, which bases are the same, and how it is shared.

Each adapter gets modules of its own over the base's tensors, so that none sees another, and the base stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import xxhash

from warmlane.errors import ArtifactDamaged
from warmlane_workers.flavor import adapters, files, heads, weights
from warmlane_workers.flavor.stored import Stored
from warmlane_workers.mlmodel import MODEL_DIR, PEFT_DIR, Artifact

#: Methods that leave the base's tensors as they are, and what the names of their own tensors contain. Others may not:
#: they share no base.
_METHODS = {
    "LORA": ("lora_",),
    "IA3": ("ia3_l",),
    "PROMPT_TUNING": ("prompt_embeddings",),
    "P_TUNING": ("prompt_embeddings",),
    "PREFIX_TUNING": ("prompt_embeddings",),
}
#: Settings of LoRA with the values that write nothing into the base. Some initialisations take their part out of it,
#: trained biases are kept in its place.
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "init_lora_weights": (True, False, "gaussian", None),
    "layer_replication": (None,),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
}


@dataclass(frozen=True, slots=True)
class BaseIdentity:
    """What makes the weights in memory those of a base, and no others.

    Attributes:
        source: the hub's name and commit, or the files' hashes.
        config: name and hash of each of the small files beside them.
        lacking: name and shape of the tensors that the adapter replaces and the files do not have as it has them; in
            memory they are random.
    """

    source: tuple[Hashable, ...]
    config: tuple[tuple[str, str], ...]
    model_type: str
    task: str
    dtype: str | None
    lacking: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        """As reports name it: what it is, and eight characters that tell it from others."""
        return f"{self.model_type}@{xxhash.xxh3_64_hexdigest(repr(self).encode())[:8]}"


def identity(stored: Stored) -> BaseIdentity:
    """Of the weights that an artifact has or refers to.

    Raises:
        ArtifactDamaged: the adapter's files are not readable.
    """
    artifact, place = stored.artifact, stored.place
    replaced = heads.replaced_in(stored.directory / PEFT_DIR) if artifact.has_adapter else {}
    shapes = weights.shapes(place, replaced)
    config = tuple((name, digest) for name, digest in files.content(place) if name.endswith("config.json"))
    return BaseIdentity(
        _source(artifact, place),
        config,
        artifact.model_type,
        artifact.task,
        stored.dtype,
        tuple(sorted((name, shape) for name, shape in replaced.items() if shapes.get(name) != shape)),
    )


def kin(artifact: Artifact) -> str:
    """What is the same for a model and its adapters, which may share its weights; "" where nobody knows.

    Less than their identity: it is for choosing a worker, so it asks no file, and the type does not count.
    """
    source = _recorded(artifact) or ((artifact.base_path,) if artifact.base_path else ())
    if not (artifact.model_type and any(source)):
        return ""
    return f"{artifact.model_type}@{xxhash.xxh3_64_hexdigest(repr(source).encode())}"


def _source(artifact: Artifact, place: Path) -> tuple[Hashable, ...]:
    recorded = _recorded(artifact)
    if recorded:  # checked at this load
        return recorded
    stats = [(path.name, path.stat()) for path in sorted(place.glob("*.safetensors"))]
    return str(place.resolve()), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _recorded(artifact: Artifact) -> tuple[Hashable, ...]:
    """Where weights come from, as far as the artifact says it: hashes of their files, or the hub's name and commit."""
    known = artifact.own.get("files" if artifact.has_weights else "base_files")
    if known is not None:
        inside = f"{MODEL_DIR}/" if artifact.has_weights else ""
        named = {name.removeprefix(inside): digest for name, (_, digest, _) in known.items() if name.startswith(inside)}
        return tuple(sorted(named.items()))
    if not artifact.has_weights and artifact.base_path is None:
        return artifact.source_name, artifact.source_revision
    return ()


def obstacle(stored: Stored) -> str | None:
    """Why an artifact's weights cannot be shared; None if they can. What is wrong with its files is for the load to
    say."""
    if not stored.artifact.has_adapter:
        return None
    adapter = stored.directory / PEFT_DIR
    try:
        config = json.loads((adapter / adapters.CONFIG).read_text(encoding="utf-8"))
        marks = _METHODS.get(str(config.get("peft_type")))
        if marks is None:
            return f"{str(config.get('peft_type'))[:40]} may change its base"
        changed = [name for name, values in _HARMLESS.items() if config.get(name) not in values]
        if changed:
            return f"{changed[0]} changes its base"
        with safetensors.safe_open(adapter / adapters.WEIGHTS, "pt") as file:
            others = [key for key in file.keys() if not any(mark in key for mark in marks)]  # noqa: SIM118 - no mapping
    except (OSError, ValueError, AttributeError, RecursionError, safetensors.SafetensorError):
        return "its files are not readable"
    return None if len(others) == len(heads.replaced_in(adapter)) else "it brings weights of its base"


def over(stored: Stored, base: Any) -> Any:
    """The model of an artifact, over the tensors of a base of its identity.

    Args:
        base: the model, without adapter.

    Raises:
        ArtifactIncomplete, ArtifactDamaged: the adapter is not whole, or does not fit.
        OutOfMemory: the device's memory is full.
    """
    twin = adapters.twin(base)
    labels = heads.settings(stored.artifact.own.get("head"))
    if labels and len(labels["id2label"]) != base.config.num_labels:
        raise ArtifactDamaged("the adapter's labels are not as many as its head has; save the model again")
    twin.config.update(labels)
    return stored.adapted(twin)


def own_bytes(model: Any, base: Any) -> int:
    """Bytes of the tensors that a model has beside those of its base."""
    shared = {tensor.untyped_storage().data_ptr() for tensor in (*base.parameters(), *base.buffers())}
    tensors = [*model.parameters(), *model.buffers()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(size for place, size in storages.items() if place not in shared)
