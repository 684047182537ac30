"""How many padded tokens suit a model's batches on this device: measured when a model is warmed, by running it.

On a CPU a large batch is slower than a small one, on a GPU a small one wastes the device; where the best lies depends
on both and on the model, so no default is right everywhere.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from warmlane.budget import BatchBudget
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
    run: Callable[[int], float],
    default: int,
    *,
    steps: Sequence[float] = STEPS,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """The size of a batch, in tokens, at which most tokens are done in a second.

    Args:
        run: a size in tokens -> tokens a second.
        default: is kept unless another is better by `LEAST_GAIN`, twice: others use the machine as well.
    """
    began = clock()
    rates = {default: run(default)}
    for size in sorted({int(default * step) for step in steps} - {default}, key=lambda size: abs(size - default)):
        if clock() - began > PATIENCE_S:
            break
        rates[size] = run(size)
    found = max(rates, key=lambda size: rates[size])
    better = rates[found] >= LEAST_GAIN * rates[default]
    return found if better and run(found) >= LEAST_GAIN * run(default) else default


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
        if task.specimen is None or self._device.batch_fixed or loaded.batch_tokens:
            return
        shared = loaded.base or loaded
        model = f"{shared.name} {loaded.dtype}"
        known = shared.batch_tokens or context.ask(BatchBudget(self._device.kind, model))
        if not known:
            context.report(0.9, "measuring")
            try:
                known = best(self._rate(loaded, task), self._device.batch_tokens)
            except InputTooLong:  # it reads less than a text of middle length
                return
            context.ask(BatchBudget(self._device.kind, model, known))
        loaded.batch_tokens = shared.batch_tokens = known

    def _rate(self, loaded: Loaded, task: Task) -> Callable[[int], float]:
        """A size -> tokens a second in batches of that size, in the device's thread, after what else waits for it."""
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

        def rate(tokens: int) -> float:
            rows = [Row(part, part.length) for _ in range(max(1, tokens // part.length))]
            self._submit(Lane(object(), loaded.in_turn(timed), tokens), rows)
            seconds: float = rows[0].future.result()
            return len(rows) * part.length / seconds

        return rate
