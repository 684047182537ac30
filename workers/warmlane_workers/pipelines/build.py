"""A pipeline over components that are in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import transformers

from warmlane.errors import ArtifactError, MissingExtra, WarmlaneError
from warmlane_workers.pipelines import arguments

#: How transformers names a package that it misses, in a paragraph of its own for each.
_REQUIRES = re.compile(r"requires the (\w+) library")
#: Packages that are installed by another name than they are imported by.
_PACKAGES = {"pil": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn"}


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
            f"the task {components['task']} needs a package that the worker lacks: {lacking(exc)}"
        ) from exc
    except Exception as exc:
        raise ArtifactError(
            f"these components make no {components['task']} pipeline ({type(exc).__name__}); "
            "load them with return_type='components'"
        ) from exc
    return pipeline


def lacking(error: ImportError) -> str:
    """Which package a library misses, and how to get it; where it does not name one, its first sentence."""
    named = _REQUIRES.search(str(error))
    name = error.name or (named and named[1])
    if name:
        package = str(name).partition(".")[0].lower()
        return f"{package} (pip install {_PACKAGES.get(package, package)})"
    return " ".join(str(error).split()).partition(". ")[0][:200]
