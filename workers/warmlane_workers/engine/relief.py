"""What is done when the device's memory is full in a forward. Knows neither cache nor batcher.

Once more with whatever could be freed; then as an error, on which the batcher runs the batch by halves. So in the end
only a row that does not fit by itself fails.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from warmlane.errors import OutOfMemory
from warmlane_workers.engine.batcher import Run
from warmlane_workers.pipelines.memory import is_exhausted

logger = logging.getLogger(__name__)


def relieved(run: Run, relieve: Callable[[], None]) -> Run:
    """The same run, with a second try where the memory was full.

    Args:
        relieve: frees what nobody uses, before the second try.

    Raises:
        OutOfMemory: it was full at the second try, too.
    """

    def tried(batch: list[Any]) -> Any:
        """The outputs, in a list, or none where the memory was full."""
        try:
            return [run(batch)]
        except Exception as exc:
            if not is_exhausted(exc):
                raise
            # The allocator's words are about bytes, never about rows.
            logger.warning("no memory for a batch of %d: %s", len(batch), exc, extra={"action": "out_of_memory"})
            return []

    def relieved_run(batch: list[Any]) -> Any:
        # Nothing goes on inside the handler, and the error has no cause: a traceback would keep the batch's tensors.
        outputs = tried(batch)
        if not outputs:
            relieve()
            outputs = tried(batch)
        if not outputs:
            raise OutOfMemory(
                "the input needs more memory than the device can free; send a shorter one, or let the worker keep more "
                "room for batches (lower WARMLANE_CACHE_BYTES)"
            )
        return outputs[0]

    return relieved_run
