"""What suits a model's batches on this device: measured when a model is warmed, by running it.

On a CPU a large batch is slower than a small one, on a GPU a small one wastes the device; where the best lies depends
on both and on the model, so no default is right everywhere. What a batch costs whatever its size says how much padding
it is worth to have one batch less: a model that takes next to nothing wants few batches, a large one little padding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from warmlane.budget import BatchBudget, KnownBudget
from warmlane.errors import InputTooLong
from warmlane_workers.context import JobContext
from warmlane_workers.engine.batcher import Lane, Row
from warmlane_workers.engine.device import Device
from warmlane_workers.engine.loaded import Loaded
from warmlane_workers.pipelines.memory import is_exhausted
from warmlane_workers.tasks.base import Prepared, Task

#: Sizes that are tried, relative to the device's default; ascending.
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Another size than the default has to be so much better: what is measured once has some noise.
LEAST_GAIN = 1.1
#: A size is run so often, and its best time counts; the first run warms what is made once.
_RUNS = 3
#: No further size is tried after so long, in seconds.
PATIENCE_S = 2.0


def best(
    run: Callable[[int], tuple[int, float]],
    default: int,
    *,
    steps: Sequence[float] = STEPS,
    clock: Callable[[], float] = time.monotonic,
) -> BatchBudget:
    """The size of a batch at which most tokens are done in a second, and what a batch costs whatever its size.

    Args:
        run: a size in tokens -> the tokens of a batch of about that size, and the seconds that it takes.
        default: is kept unless another is better by `LEAST_GAIN`, twice: others use the machine as well.
    """
    began = clock()
    ran = {default: run(default)}

    def rate(found: tuple[int, float]) -> float:
        return found[0] / found[1]

    for size in sorted({int(default * step) for step in steps} - {default}, key=lambda size: abs(size - default)):
        if clock() - began > PATIENCE_S:
            break
        ran[size] = run(size)
    found = max(ran, key=lambda size: rate(ran[size]))
    better = rate(ran[found]) >= LEAST_GAIN * rate(ran[default])
    tokens = found if better and rate(run(found)) >= LEAST_GAIN * rate(run(default)) else default
    return BatchBudget(tokens, fixed_cost({size: seconds for size, seconds in ran.values() if seconds < math.inf}))


def fixed_cost(times: Mapping[int, float]) -> int:
    """What a batch costs whatever its size, in tokens: of the line through the times of batches by their sizes.

    0 where the times do not tell, as when larger batches are slower by more than their size.
    """
    if len(times) < 2:
        return 0
    # Relative errors count: the time of a small batch says most of what it costs to have one.
    slope, start = np.polyfit(list(times), list(times.values()), 1, w=[1 / time for time in times.values()])
    return int(start / slope) if slope > 0 and start > 0 else 0


class Budgets:
    """Finds what suits a model's batches: as it is known in the fleet, or measured now.

    Args:
        submit: queues rows for the device, as `Batcher.submit` does.
    """

    def __init__(self, device: Device, submit: Callable[[Lane, Sequence[Row]], None]) -> None:
        self._device = device
        self._submit = submit

    def find(self, loaded: Loaded, task: Task, context: JobContext) -> None:
        """Set the model's budget, unless the operator has set that of all, or its task has no use for it. It is one for
        all that share a base: an adapter takes little of the time."""
        if task.specimen is None or self._device.batch_fixed or loaded.budget:
            return
        shared = loaded.base or loaded
        model = f"{shared.name} {loaded.dtype}"
        known = shared.budget or context.ask(KnownBudget(self._device.kind, model))
        if not known:
            context.report(0.9, "measuring")
            try:
                known = best(self._run(loaded, task), self._device.batch_tokens)
            except InputTooLong:  # it reads less than a text of middle length
                return
            context.ask(KnownBudget(self._device.kind, model, known))
        loaded.budget = shared.budget = known

    def _run(self, loaded: Loaded, task: Task) -> Callable[[int], tuple[int, float]]:
        """As `best` wants it: in the device's thread, after what else waits for it."""
        plan = task.plan({})
        (part,) = task.prepare(task.specimen, plan)

        def timed(batch: list[Prepared]) -> list[float]:
            took = [math.inf]
            self._device.share_cores(False)  # as it is under load, when it counts
            try:
                for _ in range(_RUNS):
                    began = self._device.timer()
                    task.forward(batch, plan)
                    took.append(self._device.timer() - began)
            except Exception as exc:
                if not is_exhausted(exc):
                    raise
                took = [math.inf]  # too large
            return [min(took)] * len(batch)

        def run(tokens: int) -> tuple[int, float]:
            rows = [Row(part, part.length) for _ in range(max(1, tokens // part.length))]
            self._submit(Lane(object(), loaded.in_turn(timed), BatchBudget(tokens)), rows)
            return len(rows) * part.length, rows[0].future.result()

        return run
