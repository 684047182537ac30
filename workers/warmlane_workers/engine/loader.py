"""How models come to the device and leave it: from the store or the host's memory; to the host's memory or for good.

Knows one model at a time. Which of them stay is for the cache to say.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmlane import tracing
from warmlane.model import ModelRef
from warmlane.results import State
from warmlane_workers.context import JobContext
from warmlane_workers.engine.device import Device, measure
from warmlane_workers.engine.entry import Entry, Over, Room
from warmlane_workers.engine.host import HostTier
from warmlane_workers.engine.loaded import BaseKey, Key, Loaded, ModelKey
from warmlane_workers.engine.mixing import Mix
from warmlane_workers.engine.parking import ParkedWeights, can_park
from warmlane_workers.flavor import sharing
from warmlane_workers.flavor.mixing import parts_of
from warmlane_workers.flavor.stored import Stored
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.observer import UNSEEN, Observer

logger = logging.getLogger(__name__)


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
        self.host: HostTier[Key, Loaded] = HostTier(device.host_bytes, self._copy, self._clear)

    def load(
        self, key: ModelKey, artifact: Artifact, context: JobContext, room: Room, *, trust: bool
    ) -> tuple[Loaded, int] | Over[Key, Loaded]:
        """A model on the device and its bytes, from the host's memory if it is there, else from the store; or over what
        it can be loaded.

        Args:
            room: told the bytes that it will take, before it takes them.

        Raises:
            CacheFull: there is no room for it.
            OutOfMemory: the device's memory is full.
        """
        context.tell(State.LOADING, "loading")
        began = time.monotonic()
        loaded = self.restored(key, context, room)
        if loaded is not None:
            self._observer.loaded(key.name, "host", time.monotonic() - began)
            context.tell(State.RUNNING, "running")
            return loaded, measure(loaded.components["model"])
        logger.info("loading %s as %s", key, key.dtype, extra={"action": "load", "job_id": context.job_id})
        if not artifact.model_type:  # a diagnostic task has no model
            return Loaded(str(key), artifact, {"task": artifact.task}, ""), 0
        return self._found(key, artifact, context, began, trust=trust)

    def _found(
        self, key: ModelKey, artifact: Artifact, context: JobContext, began: float, *, trust: bool
    ) -> Over[Key, Loaded]:
        with self.not_deleted(key):
            stored = Stored.find(
                self._store.path(key.name, key.version),
                artifact,
                dtype=key.dtype,
                device=self._device.name,
                trust_remote_code=trust,
                source_roots=self._source_roots,
                report=context.report,
            )
            obstacle = sharing.obstacle(stored)
            identity = None if obstacle else sharing.identity(stored)
        if obstacle:
            extra = {"action": "own_base", "job_id": context.job_id}
            logger.warning("%s has a base of its own: %s", key, obstacle, extra=extra)

        def done() -> None:
            self._observer.loaded(key.name, "store", time.monotonic() - began)
            context.tell(State.RUNNING, "running")

        return _Load(self, key, stored, identity, context, done).plan()

    @contextlib.contextmanager
    def not_deleted(self, key: ModelKey) -> Iterator[None]:
        """Deleted while it is read, a model is not damaged but gone, and once warm nobody would unload it any more."""
        try:
            yield
        finally:
            self._store.resolve(ModelRef(key.name, key.version))

    def evict(self, key: Key, loaded: Loaded) -> None:
        """Take a model off the device; the host keeps it where it has room. What shares a base is soon read again."""
        _still(loaded)
        if loaded.base is None and self.host.park(key, loaded):
            self._device.release()
            self._observer.evicted(key.name, "host")
        else:
            self.free(loaded)
            self._observer.evicted(key.name, "nowhere")

    def free(self, loaded: Loaded) -> None:
        """Let go of a model, wherever it is."""
        self.host.discard(loaded)
        self._clear(loaded)

    def unload(self, matches: Callable[[Key], bool]) -> int:
        """Let go of models that only the host still keeps; returns the bytes of those."""
        return self.host.drop(matches)

    def restored(self, key: Key, context: JobContext, room: Room) -> Loaded | None:
        """What the host has kept, back on the device; None if it has not."""
        size = self.host.size(key)
        if size is None:
            return None
        with tracing.span("warmlane.load", model=key.name) as span:
            span.say(source="host")
            _telling(context, room)(size)
            loaded = self.host.restore(key)
        if loaded is not None:
            logger.info("%s is back from host memory", key, extra={"action": "restore", "job_id": context.job_id})
        return loaded

    def _copy(self, loaded: Loaded) -> ParkedWeights | None:
        model = loaded.components.get("model")
        if model is None or not can_park(model, self._device.torch):
            return None
        return ParkedWeights(model, self._device.torch)

    def _clear(self, loaded: Loaded) -> None:
        _still(loaded)
        if loaded.mix is not None and loaded.base is not None:
            loaded.mix.leave(loaded)
        # Emptied and not only forgotten: a job that ended may still hold it.
        loaded.task = loaded.raw = loaded.mix = None
        loaded.components.clear()
        if loaded.base is None:
            self._device.release()  # takes long, and what shared a base leaves little
        loaded.base = None


def _still(loaded: Loaded) -> None:
    """End what generates with a model by itself."""
    for batch in loaded.running.values():
        batch.close()
    for batch in loaded.running.values():
        batch.wait()
    loaded.running.clear()


def _telling(context: JobContext, room: Room) -> Room:
    """Says what the job does around the making of room."""

    def make_room(size: int) -> None:
        context.tell(State.LOADING, "making room", 0.1)  # it may wait for models in use
        room(size)
        context.tell(State.LOADING, "moving weights", 0.2)

    return make_room


@dataclass(frozen=True, slots=True)
class _Load:
    """A model on its way from the store: with weights of its own, or over those of a base, as the cache will choose.

    Attributes:
        identity: of its weights, or its base's; None where they are its own.
        done: called when it is there.
    """

    loader: Loader
    key: ModelKey
    stored: Stored
    identity: sharing.BaseIdentity | None
    context: JobContext
    done: Callable[[], None]

    def plan(self) -> Over[Key, Loaded]:
        if self.stored.artifact.has_adapter and self.identity is not None:
            return Over(self._same, self._over, (BaseKey(self.identity), self._base))
        return Over(self._same, self._over, alone=self._alone)

    def _same(self, entry: Entry[Key, Loaded]) -> bool:
        # Two stored models with the same weights stay apart: each can be unloaded by its name.
        usable = self.stored.artifact.has_adapter or isinstance(entry.key, BaseKey)
        return usable and self.identity is not None and entry.value.identity == self.identity

    def _alone(self, room: Room) -> tuple[Loaded, int]:
        with self._reading():
            model = self.stored.adapted(self.stored.weights(_telling(self.context, room)))
            loaded = self._made(str(self.key), model, self.identity)
            loaded.components |= self.stored.components(loaded.known)
        self.done()
        return loaded, measure(model)

    def _base(self, room: Room) -> tuple[Loaded, int]:
        assert self.identity is not None
        key = BaseKey(self.identity)
        loaded = self.loader.restored(key, self.context, room)
        if loaded is None:
            with self._reading():
                weights = self.stored.weights(_telling(self.context, room))
                loaded = self._made(str(key), weights, self.identity)
        return loaded, measure(loaded.components["model"])

    def _over(self, below: Loaded, room: Room) -> tuple[Loaded, int]:
        base = below.components["model"]
        with self._reading():
            model = sharing.over(self.stored, base)
            loaded = self._made(str(self.key), model)
            loaded.components |= self.stored.components(below.known)
        loaded.base = below
        self._mix(loaded, below)
        self.done()
        return loaded, sharing.own_bytes(model, base)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with tracing.span("warmlane.load", model=self.key.name) as span, self.loader.not_deleted(self.key):
            span.say(source="store")
            yield

    def _made(self, name: str, model: Any, identity: sharing.BaseIdentity | None = None) -> Loaded:
        artifact = self.stored.artifact
        components = {"task": artifact.task, "model": model}
        return Loaded(name, artifact, components, str(model.dtype).removeprefix("torch."), identity=identity)

    def _mix(self, loaded: Loaded, below: Loaded) -> None:
        parts = parts_of(loaded.components["model"])
        if parts is None:
            extra = {"action": "unmixed", "job_id": self.context.job_id}
            logger.info("%s shares its base, and no batches: its method cannot", loaded.name, extra=extra)
            return
        if below.mix is None:
            below.mix = Mix(below.components["model"])
        loaded.mix = below.mix
        loaded.mix.join(loaded, parts)
