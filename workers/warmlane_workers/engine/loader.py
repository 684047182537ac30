"""How models come to the device and leave it: from the store or the host's memory; to the host's memory or for good.

Knows one model at a time. Which of them stay is for the cache to say.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmlane import tracing
from warmlane.model import ModelRef
from warmlane.results import State
from warmlane_workers.engine.cache import Room
from warmlane_workers.engine.device import Device, measure
from warmlane_workers.engine.host import HostTier
from warmlane_workers.engine.parking import ParkedWeights, can_park
from warmlane_workers.flavor.load import load_components
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.observer import UNSEEN, Observer
from warmlane_workers.tasks.base import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What makes a loaded model this one and no other."""

    name: str
    version: int
    dtype: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(eq=False)
class Loaded:
    """A model in memory. Its tasks are made at the first predict that needs them, over the same weights.

    Attributes:
        batch_tokens: what was measured to suit its batches; 0: nothing yet.
    """

    name: str
    artifact: Artifact
    components: dict[str, Any] = field(repr=False)
    dtype: str
    batch_tokens: int = 0
    task: Task | None = field(default=None, repr=False)
    raw: Task | None = field(default=None, repr=False)


class Loader:
    """Brings models to one device and takes them off it.

    Args:
        source_roots: directories that an adapter's base must lie in which is named by its path.
        observer: told of what comes and goes.
    """

    def __init__(
        self, store: ModelStore, device: Device, source_roots: tuple[Path, ...], observer: Observer = UNSEEN
    ) -> None:
        self._observer = observer
        self._store = store
        self._device = device
        self._source_roots = source_roots
        self.host: HostTier[ModelKey, Loaded] = HostTier(device.host_bytes, self._copy, self._clear)

    def load(
        self, key: ModelKey, artifact: Artifact, context: JobContext, room: Room, *, trust: bool
    ) -> tuple[Loaded, int]:
        """A model on the device and its bytes, from the host's memory if it is there, else from the store.

        Args:
            room: told the bytes that it will take, before it takes them.

        Raises:
            CacheFull: there is no room for it.
            OutOfMemory: the device's memory is full.
        """
        context.tell(State.LOADING, "loading")
        began = time.monotonic()

        def make_room(size: int) -> None:
            context.tell(State.LOADING, "making room", 0.1)  # it may wait for models in use
            room(size)
            context.tell(State.LOADING, "moving weights", 0.2)

        with tracing.span("warmlane.load", model=key.name) as span:
            loaded = self._restored(key, context, make_room)
            source = "host" if loaded is not None else "store"
            span.say(source=source)
            if loaded is None:
                loaded = self._read(key, artifact, context, make_room, trust=trust)
        self._observer.loaded(key.name, source, time.monotonic() - began)
        context.tell(State.RUNNING, "running")
        return loaded, measure(loaded.components["model"]) if "model" in loaded.components else 0

    def evict(self, key: ModelKey, loaded: Loaded) -> None:
        """Take a model off the device; the host keeps it where it has room."""
        if self.host.park(key, loaded):
            self._device.release()
            self._observer.evicted(key.name, "host")
        else:
            self.free(loaded)
            self._observer.evicted(key.name, "nowhere")

    def free(self, loaded: Loaded) -> None:
        """Let go of a model, wherever it is."""
        self.host.discard(loaded)
        self._clear(loaded)

    def unload(self, matches: Callable[[ModelKey], bool]) -> int:
        """Let go of models that only the host still keeps; returns the bytes of those."""
        return self.host.drop(matches)

    def _restored(self, key: ModelKey, context: JobContext, room: Room) -> Loaded | None:
        size = self.host.size(key)
        if size is None:
            return None
        room(size)
        loaded = self.host.restore(key)
        if loaded is not None:
            logger.info("%s is back from host memory", key, extra={"action": "restore", "job_id": context.job_id})
        return loaded

    def _read(self, key: ModelKey, artifact: Artifact, context: JobContext, room: Room, *, trust: bool) -> Loaded:
        logger.info("loading %s as %s", key, key.dtype, extra={"action": "load", "job_id": context.job_id})
        if not artifact.model_type:  # a diagnostic task has no model
            return Loaded(str(key), artifact, {"task": artifact.task}, "")
        try:
            components = load_components(
                self._store.path(key.name, key.version),
                dtype=key.dtype,
                device=self._device.name,
                trust_remote_code=trust,
                source_roots=self._source_roots,
                report=context.report,
                room=room,
            )
        finally:
            # Deleted meanwhile: it is not damaged but gone, and once warm nobody would unload it any more.
            self._store.resolve(ModelRef(key.name, key.version))
        return Loaded(str(key), artifact, components, str(components["model"].dtype).removeprefix("torch."))

    def _copy(self, loaded: Loaded) -> ParkedWeights | None:
        model = loaded.components.get("model")
        if model is None or not can_park(model, self._device.torch):
            return None
        return ParkedWeights(model, self._device.torch)

    def _clear(self, loaded: Loaded) -> None:
        # Emptied and not only forgotten: a job that ended may still hold it.
        loaded.task = loaded.raw = None
        loaded.components.clear()
        self._device.release()
