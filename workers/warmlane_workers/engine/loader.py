"""How models come to the device and leave it: from the store or the host's memory; to the host's memory or for good.

Knows one model at a time. Which of them stay is for the cache to say.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from warmlane.model import ModelRef
from warmlane.results import State
from warmlane_workers.engine.device import Device, measure
from warmlane_workers.engine.entry import Over, Room
from warmlane_workers.engine.host import HostTier
from warmlane_workers.engine.mixing import Mix
from warmlane_workers.engine.parking import ParkedWeights, can_park
from warmlane_workers.flavor import sharing
from warmlane_workers.flavor.mixing import parts_of
from warmlane_workers.flavor.stored import Stored
from warmlane_workers.lifecycle import JobContext
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
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


@dataclass(frozen=True, slots=True)
class BaseKey:
    """A base that adapters brought, and that is no model of the store itself."""

    identity: sharing.BaseIdentity

    def __str__(self) -> str:
        return str(self.identity)


Key = ModelKey | BaseKey


@dataclass(eq=False)
class Loaded:
    """A model in memory. Its tasks are made at the first predict that needs them, over the same weights.

    Attributes:
        identity: what makes others able to share its weights; None where they cannot.
        base: the model whose weights it shares.
        known: of a base, the components of those that share it.
        mix: where its rows share batches with those of others.
    """

    name: str
    artifact: Artifact
    components: dict[str, Any] = field(repr=False)
    dtype: str
    task: Task | None = field(default=None, repr=False)
    raw: Task | None = field(default=None, repr=False)
    identity: sharing.BaseIdentity | None = field(default=None, repr=False)
    base: Loaded | None = field(default=None, repr=False)
    known: MutableMapping[Hashable, Any] = field(default_factory=WeakValueDictionary, repr=False)
    mix: Mix | None = field(default=None, repr=False)


class Loader:
    """Brings models to one device and takes them off it.

    Args:
        source_roots: directories that an adapter's base must lie in which is named by its path.
    """

    def __init__(self, store: ModelStore, device: Device, source_roots: tuple[Path, ...]) -> None:
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
        loaded = self._restored(key, context, room)
        if loaded is not None:
            return self._measured(loaded, context)
        logger.info("loading %s as %s", key, key.dtype, extra={"action": "load", "job_id": context.job_id})
        if not artifact.model_type:  # a diagnostic task has no model
            return self._measured(Loaded(str(key), artifact, {"task": artifact.task}, ""), context)
        return self._over(key, artifact, context, trust=trust)

    def _over(self, key: ModelKey, artifact: Artifact, context: JobContext, *, trust: bool) -> Over[Key, Loaded]:
        """How to load a model, as the cache will choose: over a base that it can share, or with weights of its own."""
        with self._not_deleted(key):
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

        def alone(room: Room) -> tuple[Loaded, int]:
            with self._not_deleted(key):
                loaded = _loaded(str(key), stored, stored.adapted(stored.weights(room)), identity)
                loaded.components |= stored.components(loaded.known)
            return self._measured(loaded, context)

        def base(room: Room) -> tuple[Loaded, int]:
            assert identity is not None
            loaded = self._restored(BaseKey(identity), context, room)
            if loaded is None:
                with self._not_deleted(key):
                    loaded = _loaded(str(identity), stored, stored.weights(room), identity)
            return loaded, measure(loaded.components["model"])

        def over(below: Loaded, room: Room) -> tuple[Loaded, int]:
            with self._not_deleted(key):
                loaded = _loaded(str(key), stored, sharing.over(stored, below.components["model"]))
                loaded.components |= stored.components(below.known)
            loaded.base = below
            self._mix(loaded, below)
            return self._measured(loaded, context)

        def same(entry: Entry[Key, Loaded]) -> bool:
            # Two stored models with the same weights stay apart: each can be unloaded by its name.
            usable = artifact.has_adapter or isinstance(entry.key, BaseKey)
            return usable and identity is not None and entry.value.identity == identity

        brought = (BaseKey(identity), base) if artifact.has_adapter and identity is not None else None
        return Over(same, over, brought, alone)

    def _mix(self, loaded: Loaded, below: Loaded) -> None:
        parts = parts_of(loaded.components["model"])
        if parts is None:
            logger.info("%s shares its base, not its batches", loaded.name, extra={"action": "unmixed"})
            return
        if below.mix is None:
            below.mix = Mix(below.components["model"])
        loaded.mix = below.mix
        loaded.mix.join(loaded, parts)

    def _measured(self, loaded: Loaded, context: JobContext) -> tuple[Loaded, int]:
        context.tell(State.RUNNING, "running")
        model = loaded.components.get("model")
        if model is None:
            return loaded, 0
        if loaded.base is not None:
            return loaded, sharing.own_bytes(model, loaded.base.components["model"])
        return loaded, measure(model)

    @contextlib.contextmanager
    def _not_deleted(self, key: ModelKey) -> Iterator[None]:
        """Deleted while it is read, a model is not damaged but gone, and once warm nobody would unload it any more."""
        try:
            yield
        finally:
            self._store.resolve(ModelRef(key.name, key.version))

    def evict(self, key: Key, loaded: Loaded) -> None:
        """Take a model off the device; the host keeps it where it has room. What shares a base is soon read again."""
        if loaded.base is None and self.host.park(key, loaded):
            self._device.release()
        else:
            self.free(loaded)

    def free(self, loaded: Loaded) -> None:
        """Let go of a model, wherever it is."""
        self.host.discard(loaded)
        self._clear(loaded)

    def unload(self, matches: Callable[[Key], bool]) -> int:
        """Let go of models that only the host still keeps; returns the bytes of those."""
        return self.host.drop(matches)

    def _restored(self, key: Key, context: JobContext, room: Room) -> Loaded | None:
        size = self.host.size(key)
        if size is None:
            return None
        room(size)
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
        if loaded.mix is not None and loaded.base is not None:
            loaded.mix.leave(loaded)
        # Emptied and not only forgotten: a job that ended may still hold it.
        loaded.task = loaded.raw = loaded.mix = None
        loaded.components.clear()
        if loaded.base is None:
            self._device.release()  # takes long, and what shared a base leaves little
        loaded.base = None


def _loaded(name: str, stored: Stored, model: Any, identity: sharing.BaseIdentity | None = None) -> Loaded:
    components = {"task": stored.artifact.task, "model": model}
    return Loaded(name, stored.artifact, components, str(model.dtype).removeprefix("torch."), identity=identity)
