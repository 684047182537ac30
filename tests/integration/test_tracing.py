"""Traces: spans from a request to its result, over a real server, with a model of our own. No exporter but memory's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests import tiny
from warmlane import AsyncClient, Client, Settings, tracing
from warmlane.embedded import EmbeddedServer
from warmlane.errors import MissingExtra
from warmlane.jobs import PredictJob
from warmlane.keys import Keys
from warmlane.store import RedisStore, connect
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor.save import save_model
from warmlane_workers.lifecycle import Lifecycle
from warmlane_workers.modelstore import ModelStore

SECRET = "a very secret text"


class Worker(NamedTuple):
    """A worker without its process."""

    life: Lifecycle
    engine: Engine


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process wants traces."""
    monkeypatch.setenv("WARMLANE_TRACING", "1")
    tracing.enabled.cache_clear()
    yield
    tracing.enabled.cache_clear()


@pytest.fixture
def spans(traced: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What this process has traced."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    server = EmbeddedServer(tmp_path / "h")
    server.attach()
    yield Settings(redis_url=server.url)
    server.detach()


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[Worker]:
    assert settings.redis_url
    redis = connect(settings.redis_url, retry_s=1)
    store = ModelStore(tmp_path / "models")
    checkpoint = tiny.save("text-classification", tmp_path / "checkpoint")
    store.publish("sentiment", lambda directory: save_model(checkpoint, directory))
    cpu = device.find("cpu", batch_tokens=512)
    engine = Engine(store, cpu, source_roots=(), trust_remote_code=False, on_change=lambda: None)
    engine.start()
    records = RedisStore(redis, Keys(), settings.redis_url)
    yield Worker(Lifecycle(records, "w1", {"predict": engine.predict}, 60, lambda queue, job_id: None), engine)
    engine.stop(30)
    redis.close()
    redis.connection_pool.disconnect()


def named(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def test_a_trace_goes_from_the_request_to_the_load(
    spans: InMemorySpanExporter, settings: Settings, worker: Worker
) -> None:
    """The worker's spans are of the caller's trace; the batch is linked to its job; no span has the payload."""
    with Client(settings=settings) as client:
        job = client.predict("sentiment", [SECRET])
        worker.life.work("predict", job.id, PredictJob(model="sentiment", inputs=[SECRET]))
        job.result(timeout=30)
    worker.engine.stop(30)  # a batch's span ends just behind its rows' answers
    found = named(spans)
    enqueue, run, load, forward = (found[f"warmlane.{name}"] for name in ("enqueue", "job", "load", "forward"))
    assert run.parent is not None
    assert load.parent is not None
    assert (run.parent.span_id, load.parent.span_id) == (enqueue.context.span_id, run.context.span_id)
    assert enqueue.context.trace_id == run.context.trace_id == load.context.trace_id
    assert [link.context.span_id for link in forward.links] == [run.context.span_id]
    assert run.attributes is not None
    assert run.attributes["warmlane.outcome"] == "succeeded"
    assert not any(SECRET in span.to_json() for span in found.values())


def test_a_loops_requests_are_traced_too(spans: InMemorySpanExporter, settings: Settings) -> None:
    """A request of `AsyncClient` is a span below the one that its task was in."""

    async def ask() -> None:
        async with AsyncClient(settings=settings) as client:
            with tracing.span("mine"):
                await client.predict("sentiment", ["x"])

    asyncio.run(ask())
    found = named(spans)
    assert found["warmlane.enqueue"].parent == found["mine"].context


def test_nothing_is_imported_unless_it_is_wanted() -> None:
    """Without `WARMLANE_TRACING` a span is nothing, and OpenTelemetry stays unloaded."""
    code = """
import sys
from warmlane import tracing
from warmlane.testing import FakeLane
lane = FakeLane()
lane.answer("m", "x")
lane.client().predict("m", ["a"]).result(timeout=5)
with tracing.span("x") as span:
    print(repr(span.traceparent), "opentelemetry" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "'' False"


def test_a_missing_package_is_told(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces that are wanted and cannot be made are refused with what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtra, match=r"warmlane\[otel\]"):
        tracing.check()
