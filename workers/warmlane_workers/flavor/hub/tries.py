"""Patience with the hub: what passes is tried again, and nothing is waited for without an end."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import huggingface_hub

from warmlane_workers.flavor.hub.client import one_try
from warmlane_workers.flavor.hub.errors import FOREIGN, told

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Waits between tries, in seconds.
WAITS_S = (0.5, 1.0, 2.0, 4.0)
#: Waits where nothing is heard of the hub: it is down, and whoever asks can use the cache or try later.
UNHEARD_WAITS_S = (0.5,)
#: How long all waits of a call may take, in seconds; a hub that asks for more is tried again by the caller, later.
PATIENCE_S = 30.0


def tried(
    action: Callable[[], T], repo: str, revision: str | None, *, pause: Callable[[float], object] = time.sleep
) -> T:
    """What an action returns, in the end. Its errors are translated.

    Args:
        pause: waits for so many seconds, or raises because nobody waits any more; also asked with 0.

    Raises:
        SourceError: the hub says no.
        HubUnavailable: it does not answer, or says "later" too often.
        StoreError: the cache on this machine cannot be written.
    """
    left = PATIENCE_S
    for count in range(len(WAITS_S) + 1):
        try:
            with one_try(lambda: pause(0)):
                return action()
        except FOREIGN as exc:
            found = told(exc, repo, revision)
            waits = WAITS_S if found.answered else UNHEARD_WAITS_S
            if huggingface_hub.constants.HF_HUB_OFFLINE or not found.passing or count >= len(waits):
                raise found.error from exc
            wait = waits[count] if found.wait_s is None else found.wait_s
            left -= wait
            if left < 0:
                raise found.error from exc
            logger.info("the hub is tried again in %.1f s (%s)", wait, type(exc).__name__, extra={"action": "retry"})
        pause(wait)
    raise AssertionError("the last try returns or raises")


def within(seconds: float, action: Callable[[], T]) -> T:
    """What an action returns, if it does so in time.

    The client asks some things of the hub without a time-out, and nothing ends such a read; so the thread of one that
    hangs is left behind.

    Raises:
        TimeoutError: it does not.
    """
    outcome: Future[T] = Future()
    context = contextvars.copy_context()  # it is still the same try

    def run() -> None:
        try:
            outcome.set_result(context.run(action))
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised where the call is waited for
            outcome.set_exception(exc)

    threading.Thread(target=run, name="hub", daemon=True).start()
    return outcome.result(seconds)
