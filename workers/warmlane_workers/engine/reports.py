"""What is told of a model in memory: to the registry, and to whoever loaded it."""

from __future__ import annotations

from typing import Any

from warmlane.results import WarmModel
from warmlane_workers.engine.entry import Entry
from warmlane_workers.engine.loaded import Key, Loaded
from warmlane_workers.flavor.sharing import kin


def warm(entry: Entry[Key, Loaded], device: str, idle_s: float) -> WarmModel:
    """For the registry."""
    below = entry.below
    return WarmModel(
        model=str(entry.key),
        task=entry.value.artifact.task,
        dtype=entry.value.dtype,
        device=device,
        bytes=entry.bytes,
        pinned=entry.pinned,
        idle_s=round(idle_s, 1),
        base="" if below is None else str(below.key),
        base_bytes=0 if below is None else below.bytes,
        kin=kin(entry.value.artifact),
    )


def sharing(entry: Entry[Key, Loaded]) -> dict[str, Any]:
    """The base of an adapter, its bytes, and who else shares it; empty where it shares none."""
    if entry.below is None:
        return {}
    others = sorted(str(other.key) for other in list(entry.below.above) if other is not entry)
    return {"base": str(entry.below.key), "base_bytes": entry.below.bytes, "shared_with": others}


def types(loaded: Loaded, return_type: str) -> dict[str, str]:
    """Class names of its pipeline, if that was asked for, and of its components."""
    parts = {name: type(part).__name__ for name, part in loaded.components.items() if name != "task"}
    pipeline = getattr(loaded.task, "pipeline", None)
    if return_type == "pipeline" and pipeline is not None:
        return {"pipeline": type(pipeline).__name__, **parts}
    return parts
