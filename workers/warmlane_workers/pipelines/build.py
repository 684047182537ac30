"""A pipeline over components that are in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from warmlane.errors import ArtifactError, MissingExtra, WarmlaneError
from warmlane_workers.pipelines import arguments


def build_pipeline(components: Mapping[str, Any], record: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """A pipeline over components that are in memory; shares their weights.

    Args:
        record: arguments of the pipeline that was saved, as `arguments.dump` wrote them; `kwargs` win.
        kwargs: arguments of `transformers.pipeline`.

    Raises:
        ArtifactError: the components make none for their task.
        MissingExtra: its pipeline needs a package that is not installed.
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
    except ImportError as exc:
        raise MissingExtra(
            f"a {components['task']} pipeline needs a package that the worker lacks: {lacking(exc)}"
        ) from exc
    except Exception as exc:
        raise ArtifactError(
            f"these components make no {components['task']} pipeline ({type(exc).__name__}); "
            "load them with return_type='components'"
        ) from exc
    return pipeline


def lacking(error: ImportError) -> str:
    """What a library says of a package that it misses, in a line; transformers' own words name it and how to get it."""
    return " ".join(str(error).split())[:300]
