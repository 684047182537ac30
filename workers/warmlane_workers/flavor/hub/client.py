"""The patience of the hub's client, taken from it for calls that have ours.

huggingface_hub waits for as long as the hub asks it to, if it be an hour, and holds the lock of the file meanwhile, so
that no process on the machine gets that file. A try of ours ends with the answer instead. The client serves the whole
process: calls of others keep its own ways.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

#: HTTP's statuses for what may pass.
PASSING = frozenset({408, 429, 500, 502, 503, 504})

#: Of the try that runs in this context: raises when nobody waits for it any more.
_check: ContextVar[Callable[[], object] | None] = ContextVar("check", default=None)


@contextlib.contextmanager
def one_try(check: Callable[[], object]) -> Iterator[None]:
    """Within it the client raises an answer that may pass, an `HfHubHTTPError`, and does not wait.

    Args:
        check: called before each request; what it raises ends the call.
    """
    hooks = huggingface_hub.get_session().event_hooks  # of a client that it replaces at times
    for moment, hook in (("request", _asks), ("response", _answers)):
        if hook not in hooks[moment]:
            hooks[moment].append(hook)
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def _asks(request: Any) -> None:
    check = _check.get()
    if check is not None:
        check()


def _answers(response: Any) -> None:
    if _check.get() is not None and response.status_code in PASSING:
        raise HfHubHTTPError(f"HTTP {response.status_code}", response=response)
