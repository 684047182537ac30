"""A pipeline over components that are in memory."""

from __future__ import annotations

from typing import Any

import transformers

from warmlane.errors import ArtifactError


def build_pipeline(components: dict[str, Any], **kwargs: Any) -> Any:
    """A pipeline over components that are in memory; shares their weights.

    Raises:
        ArtifactError: they make none for their task.
    """
    try:
        return transformers.pipeline(**components, device=components["model"].device, **kwargs)
    except Exception as exc:
        raise ArtifactError(
            f"these components make no {components['task']} pipeline ({type(exc).__name__}); "
            "load them with return_type='components'"
        ) from exc
