"""A pipeline over components that are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from warmlane.errors import ArtifactError, WarmlaneError
from warmlane_workers.pipelines import arguments


def build_pipeline(components: Mapping[str, Any], record: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """A pipeline over components that are in memory; shares their weights.

    Args:
        record: arguments of the pipeline that was saved, as `arguments.dump` wrote them; `kwargs` win.
        kwargs: arguments of `transformers.pipeline`.

    Raises:
        ArtifactError: the components make none for their task.
    """
    model = components["model"]
    # A model that lies on several devices knows itself where its inputs go.
    place = {} if getattr(model, "hf_device_map", None) else {"device": model.device}
    try:
        pipeline = transformers.pipeline(**components, **place, **kwargs)
        if record:
            arguments.restore(pipeline, record)
    except WarmlaneError:
        raise
    except Exception as exc:
        raise ArtifactError(
            f"these components make no {components['task']} pipeline ({type(exc).__name__}); "
            "load them with return_type='components'"
        ) from exc
    return pipeline
