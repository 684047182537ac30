"""A store that takes no for no answer: what must not be lost is offered until the server takes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from warmlane.combining import Combiner
from warmlane.errors import ConfigurationError, InternalError, ServerUnreachable
from warmlane.ops import Op
from warmlane.store import RedisStore

logger = logging.getLogger(__name__)

R = TypeVar("R")

#: Pause before an operation is offered again to a server that did not take it, in seconds.
INSIST_S = 1.0
#: Away, read-only, out of memory, or refusing us: an operator's trouble, which no job may pay for.
_TROUBLE = (ServerUnreachable, ConfigurationError, InternalError)


class InsistingStore:
    """Runs operations until the server has taken them. Those of threads that meet share a round trip."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._pause = threading.Event()  # never set: only waited for
        self._combiner: Combiner[Op[Any], Any] = Combiner(self.run_all)

    def run(self, op: Op[R]) -> R:
        """The reply to an operation."""
        reply: R = self._combiner.run(op)
        return reply

    def run_all(self, ops: Sequence[Op[Any]]) -> list[Any]:
        """The replies to operations, in one round trip where the server takes all at once."""
        replies: list[Any] = [None] * len(ops)
        left = list(range(len(ops)))
        while True:
            left = self._offer(ops, replies, left)
            if not left:
                return replies
            self._pause.wait(INSIST_S)

    def _offer(self, ops: Sequence[Op[Any]], replies: list[Any], places: list[int]) -> list[int]:
        """Run the operations at these places; returns those that the server did not take."""
        found: Sequence[Any]
        try:
            found = self._store.run_all([ops[place] for place in places])
        except _TROUBLE as exc:
            found = [exc] * len(places)
        left: list[int] = []
        for place, reply in zip(places, found, strict=True):
            if isinstance(reply, _TROUBLE):
                left.append(place)
            elif isinstance(reply, Exception):
                raise reply
            else:
                replies[place] = reply
        if left:
            trouble = next(reply for reply in found if isinstance(reply, _TROUBLE))
            logger.error("the server does not take it, trying on: %s", trouble, extra={"action": "insist"})
        return left
