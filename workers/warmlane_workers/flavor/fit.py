"""Whether weights fit their configuration, told from the files' headers before anything is written.

transformers itself compares them, on torch's device that has no memory; so whatever it renames or converts while it
loads is renamed and converted here too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, SourceError, SourceIncomplete
from warmlane_workers.flavor import custom_code, reading
from warmlane_workers.flavor.source import Checkpoint

#: Everything on torch's device without memory.
_NOWHERE = {"": "meta"}


def check(
    checkpoint: Checkpoint,
    model_type: str,
    task: str,
    *,
    key_mapping: Mapping[str, str] | None = None,
    unneeded: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Whether a checkpoint would load. Not told of classes that the installed transformers does not have, whose code
    would have to run, and of quantized weights.

    Args:
        model_type: class name of the model.
        key_mapping, unneeded, settings: as for `reading.read_model`.

    Raises:
        SourceIncomplete: tensors are missing.
        SourceError: some have another shape, or the configuration makes no model.
    """
    if not custom_code.is_native(model_type) or "quantization_config" in checkpoint.config():
        return
    try:
        reading.read_model(
            checkpoint.directory,
            model_type,
            task,
            device_map=_NOWHERE,
            key_mapping=key_mapping,
            unneeded=unneeded,
            settings=settings,
            error=SourceError,
        )
    except ArtifactIncomplete as exc:
        raise SourceIncomplete(f"{checkpoint.name}: {exc.message}", **exc.details) from exc
    except ArtifactDamaged as exc:
        raise SourceError(f"{checkpoint.name}: {exc.message}", **exc.details) from exc
