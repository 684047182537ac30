"""Traces by OpenTelemetry, where it is installed (extra "otel") and `WARMLANE_TRACING=1`; else nothing is imported.

Spans go to the tracer provider of the process: the application's own, or the one that `opentelemetry-instrument` sets
up from `OTEL_*`. A span has no payload and no words of an exception. A job's record carries the context from its caller
to its worker, as `traceparent` of the W3C.

    warmlane.enqueue    in the caller: a job is checked and accepted
    warmlane.job        in the worker, below it: a job is run
    warmlane.load       below that: its model comes into memory
    warmlane.forward    a batch on the device, with links to the jobs whose rows are in it
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from warmlane.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_HEADER = "traceparent"


class Span:
    """A span that nobody records.

    Attributes:
        traceparent: names it to others, "" where there is nothing to name.
    """

    traceparent = ""

    def say(self, **attributes: str | int) -> None:
        """Add to what the span tells."""


class _Recorded(Span):
    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self.traceparent = current()

    def say(self, **attributes: str | int) -> None:
        self._span.set_attributes({f"warmlane.{name}": value for name, value in attributes.items()})


_UNRECORDED = Span()


@functools.cache
def enabled() -> bool:
    """Whether this process wants traces; asked of the environment once."""
    return os.environ.get("WARMLANE_TRACING") in ("1", "true", "yes")


def check() -> None:
    """Refuse at the start what would fail each job.

    Raises:
        MissingExtra: traces are wanted, and OpenTelemetry is not installed.
    """
    if enabled():
        _tracer()


@contextmanager
def span(name: str, *, parent: str = "", links: Iterable[str] = (), **attributes: str | int) -> Iterator[Span]:
    """A span around what happens inside, in this thread.

    Args:
        parent: the `traceparent` of the span above it; default: the one that is current.
        links: the `traceparent` of spans that it has to do with.

    Raises:
        MissingExtra: traces are wanted, and OpenTelemetry is not installed.
    """
    if not enabled():
        yield _UNRECORDED
        return
    tracer = _tracer()
    from opentelemetry.trace import Link, get_current_span

    above = _context(parent) if parent else None
    linked = [Link(get_current_span(_context(link)).get_span_context()) for link in links if link]
    # No exception is recorded: its words may quote a payload.
    with tracer.start_as_current_span(
        name, above, links=linked, record_exception=False, set_status_on_exception=False
    ) as made:
        recorded = _Recorded(made)
        recorded.say(**attributes)
        yield recorded


def current() -> str:
    """The `traceparent` of the span that this thread is in; "" without one."""
    if not enabled():
        return ""
    carrier: dict[str, str] = {}
    _propagator().inject(carrier)
    return carrier.get(_HEADER, "")


def _context(traceparent: str) -> Context:
    context: Context = _propagator().extract({_HEADER: traceparent})
    return context


def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def _tracer() -> Tracer:
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        raise MissingExtra("WARMLANE_TRACING needs OpenTelemetry: pip install 'warmlane[otel]'") from None
    return trace.get_tracer("warmlane")
