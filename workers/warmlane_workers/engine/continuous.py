"""Which rows join a running batch, and which go to the batcher. Knows models in memory and room; generates nothing.

A model gets a running batch with the first row that can be in one: if there is room for its keys and values in the
cache's budget, and if it answers as the model does, which is looked at once a load. Whatever stands against it, rows go
to the batcher, as they do for tasks that do not generate.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import PreTrainedModel

from warmlane_workers.engine import steady
from warmlane_workers.engine.batcher import Row
from warmlane_workers.engine.cache import WarmCache
from warmlane_workers.engine.device import Device
from warmlane_workers.engine.entry import Entry
from warmlane_workers.engine.loaded import Key, Loaded
from warmlane_workers.engine.running import MOST_ROWS, Extent, RunningBatch
from warmlane_workers.engine.seats import PAGE, Seat
from warmlane_workers.observer import Observer
from warmlane_workers.pipelines.memory import is_exhausted
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan, Prepared, Task
from warmlane_workers.tasks.generation import GeneratingTask

logger = logging.getLogger(__name__)

#: What keys and values of one running batch may take of the cache's budget.
_SHARE = 1 / 8
#: Tokens of a batch together, in widths of the model. The attention of each row goes over the keys of all, and hides
#: those of others: at about six widths that takes as long as the model's weights do.
_WIDTHS = 8
#: It is so many at least, in tokens.
_LEAST = 4096
#: Most tokens that are read in one step: what its neighbours wait for between two tokens.
_CPU_STEP, _GPU_STEP = 256, 1024

Submit = Callable[[list[Row]], None]


class Continuous:
    """The running batches of one device.

    Args:
        wanted: whether the operator lets there be any.
        cache: holds the models; gives room.
        observer: told of slices of the batches' time.
    """

    def __init__(self, device: Device, cache: WarmCache[Key, Loaded], observer: Observer, *, wanted: bool) -> None:
        self._device = device
        self._cache = cache
        self._observer = observer
        self._wanted = wanted
        self._lock = threading.Lock()  # held while a batch begins; rows of its model wait for that
        self._running: list[RunningBatch] = []

    def over(self, entry: Entry[Key, Loaded], task: Task, plan: Plan, static: Submit) -> Submit:
        """What takes a job's rows: into a running batch those that can be in one, the others to `static`.

        Args:
            entry: the model, leased until the rows are answered.
        """
        if not self._wanted or not isinstance(task, GeneratingTask) or entry.value.unsteady:
            return static
        return partial(self._submit, entry, task, plan, static)

    def stop(self, timeout_s: float) -> None:
        """End all batches, with what is in them, if that is in time."""
        self._wanted = False
        running = list(self._running)
        for batch in running:
            batch.close()
        for batch in running:
            batch.wait(timeout_s)

    def _submit(
        self, entry: Entry[Key, Loaded], task: GeneratingTask, plan: Plan, static: Submit, rows: list[Row]
    ) -> None:
        extent = self._extent(task)
        if extent is None:
            static(rows)
            return

        def seated(row: Row) -> bool:
            seat = _seat(row, task, plan, static)
            return seat is not None and seat.room <= extent.tokens and self._joined(entry, task, extent, seat)

        static([row for row in rows if not seated(row)])

    def _joined(self, entry: Entry[Key, Loaded], task: GeneratingTask, extent: Extent, seat: Seat) -> bool:
        sampled = seat.request.manner.sampling is not None
        running = entry.value.running.get(sampled)
        if running is not None and running.join(seat):
            return True
        with self._lock:
            batch = self._batch(entry, task, extent, sampled=sampled)
        return batch is not None and batch.join(seat)

    def _batch(
        self, entry: Entry[Key, Loaded], task: GeneratingTask, extent: Extent, *, sampled: bool
    ) -> RunningBatch | None:
        """A model's batch that runs, begun if need be; None where there can be none."""
        loaded = entry.value
        found = loaded.running.get(sampled)
        if found is not None and found.runs:
            return found
        size = _bytes(loaded.components["model"], extent)
        if not self._wanted or loaded.unsteady or not self._cache.grow(entry, size):
            return None
        try:
            batch = self._begun(entry, extent, size, sampled=sampled)
            if sampled not in loaded.steady:
                self._check(batch, loaded, task, sampled=sampled)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the batcher answers
            self._give_up(entry, exc)
            return None
        loaded.running[sampled] = batch
        self._observer.began_running(entry.key.name, steady=True)
        return batch

    def _begun(self, entry: Entry[Key, Loaded], extent: Extent, size: int, *, sampled: bool) -> RunningBatch:
        def ended(batch: RunningBatch) -> None:
            self._cache.shrink(entry, size)
            self._running.remove(batch)
            if batch.broken is not None:
                self._give_up(entry, batch.broken)

        loaded = entry.value
        try:
            batch = RunningBatch(
                entry.key.name,
                loaded.components["model"],
                extent,
                sampled=sampled,
                before=lambda: self._device.share_cores(True),
                on_slice=self._observer.batch,
                on_end=ended,
            )
        except Exception:
            self._cache.shrink(entry, size)
            raise
        self._running.append(batch)
        batch.start()
        return batch

    def _check(self, batch: RunningBatch, loaded: Loaded, task: GeneratingTask, *, sampled: bool) -> None:
        vocabulary = limits.vocabulary(task.model)
        assert vocabulary is not None
        try:
            steady.check(batch, task.model, vocabulary, sampled=sampled)
        except steady.Unsteady as exc:
            batch.close()
            batch.wait()
            raise (batch.broken or exc) from exc
        loaded.steady.add(sampled)
        logger.info("%s generates in running batches", loaded.name, extra={"action": "running", "model": loaded.name})

    def _give_up(self, entry: Entry[Key, Loaded], error: Exception) -> None:
        """After an error the batcher answers; where memory was full it may be tried again."""
        loaded, name = entry.value, entry.key.name
        if is_exhausted(error) or loaded.unsteady:
            return
        loaded.unsteady = True
        self._observer.began_running(name, steady=False)
        logger.warning(
            "%s generates in static batches: %s",
            loaded.name,
            error if isinstance(error, steady.Unsteady) else type(error).__name__,
            extra={"action": "unsteady", "model": name},
        )

    def _extent(self, task: GeneratingTask) -> Extent | None:
        """How large a model's batch may be; None where it cannot have one."""
        model: Any = task.model
        config = model.config.get_text_config()
        positions = task.max_length or _LEAST
        if task.stretches or not _fit(model) or limits.vocabulary(model) is None or positions < steady.TOKENS:
            return None
        most = min(max(_LEAST, _WIDTHS * config.hidden_size), MOST_ROWS * positions)
        room = int(self._cache.budget * _SHARE) // _token_bytes(model)
        step = _CPU_STEP if self._device.name == "cpu" else _GPU_STEP
        tokens = min(most, room) // PAGE * PAGE
        return Extent(tokens, min(step, tokens)) if tokens >= steady.TOKENS + PAGE * 3 else None


def _seat(row: Row, task: GeneratingTask, plan: Plan, static: Submit) -> Seat | None:
    """A row as one that can be in a running batch; None where it cannot."""
    part: Prepared = row.payload
    request = task.request(part, plan)
    if request is None:
        return None
    tell = None if part.watch is None else part.watch.tell
    return Seat(row, request, lambda tokens: task.so_far(part, tokens, plan), static, tell)


def _fit(model: Any) -> bool:
    """Whether a model is one that transformers can generate with so, by its class and its sizes."""
    config = model.config.get_text_config()
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    return isinstance(model, PreTrainedModel) and all(isinstance(getattr(config, name, None), int) for name in sizes)


def _token_bytes(model: Any) -> int:
    """Keys and values of one token, in all layers."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers * heads * width * model.dtype.itemsize)


def _bytes(model: Any, extent: Extent) -> int:
    """What a running batch takes of the device's memory until it ends: keys and values, and the mask of one step."""
    mask = extent.step * (extent.tokens + extent.step) * int(model.dtype.itemsize)
    return (extent.tokens + 2 * PAGE) * _token_bytes(model) + mask
