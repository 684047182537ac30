"""Removes blobs whose jobs nobody knows any more. Every worker does it now and then; twice is as good as once."""

from __future__ import annotations

import logging
import random
import threading

from warmlane.blobs import Blobs
from warmlane.dead import ReadKnown
from warmlane.errors import WarmlaneError
from warmlane.store import RedisStore

logger = logging.getLogger(__name__)

#: How often a worker looks, in seconds; it begins at a time of its own, so that a fleet's workers take turns.
SWEEP_S = 3600.0
#: A younger blob is left alone, in seconds: its job may be on its way still.
YOUNG_S = 3600.0
#: Of so many jobs at a time Redis is asked: a script keeps everybody waiting.
_ASKED = 1000


class Sweeper:
    """A thread that sweeps until it is stopped."""

    def __init__(self, store: RedisStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmlane-sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def sweep(self) -> int:
        """Remove what is nobody's; how many blobs.

        Raises:
            ServerUnreachable, BlobStoreUnavailable: what is left is for the next time.
        """
        return self._blobs.sweep(self._known, YOUNG_S)

    def _known(self, job_ids: set[str]) -> set[str]:
        asked = sorted(job_ids)
        known = set[str]()
        for at in range(0, len(asked), _ASKED):
            found = self._store.run(ReadKnown(tuple(asked[at : at + _ASKED])))
            known |= found
        return known

    def _run(self) -> None:
        wait_s = random.uniform(0, SWEEP_S)  # noqa: S311 - no secret
        while not self._stopped.wait(wait_s):
            wait_s = SWEEP_S
            try:
                count = self.sweep()
            except WarmlaneError as exc:
                logger.warning("blobs are not swept this time: %s", exc, extra={"action": "sweep_failed"})
            else:
                logger.info("%d blobs were nobody's", count, extra={"action": "blobs_swept"})
