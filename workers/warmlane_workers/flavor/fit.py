"""Whether weights fit their configuration, told from the files' headers before anything is written.

transformers itself compares them, on torch's device that has no memory; so whatever it renames or converts while it
loads is renamed and converted here too.
"""

from __future__ import annotations

from collections.abc import Mapping

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, SourceError, SourceIncomplete
from warmlane_workers.flavor import custom_code, reading
from warmlane_workers.flavor.source import Checkpoint

#: Everything on torch's device without memory.
_NOWHERE = {"": "meta"}


def check(checkpoint: Checkpoint, model_type: str, task: str, *, key_mapping: Mapping[str, str] | None = None) -> None:
    """Whether a checkpoint would load. Not told of custom code, which does not run here, and of quantized weights.

    Args:
        model_type: class name of the model.
        key_mapping: as for `reading.read_model`.

    Raises:
        SourceIncomplete: tensors are missing.
        SourceError: some have another shape, or the configuration makes no model.
    """
    directory = checkpoint.directory
    if custom_code.model_file(directory, model_type) is not None or "quantization_config" in checkpoint.config():
        return
    try:
        reading.read_model(directory, model_type, task, device_map=_NOWHERE, key_mapping=key_mapping, error=SourceError)
    except ArtifactIncomplete as exc:
        raise SourceIncomplete(f"{checkpoint.name}: {exc.message}", **exc.details) from exc
    except ArtifactDamaged as exc:
        raise SourceError(f"{checkpoint.name}: {exc.message}", **exc.details) from exc
