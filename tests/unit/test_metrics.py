"""A worker's metrics: what is counted, under which labels, and where it is read."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import generate_latest

from tests.fleet import free_port
from warmlane.errors import ConfigurationError
from warmlane.results import WarmModel, WorkerInfo
from warmlane_workers.metrics import MOST_MODELS, OTHER, Metrics
from warmlane_workers.observer import Batch, Ended

WARM = WarmModel("sentiment/3", "text-classification", "float32", "cpu", 700, True, 0.0)
WORKER = WorkerInfo("w1", "host", 1, "cpu", "ready", 64, 5, 1000, ("predict",), (WARM,), pace_ms=250.0)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda: WORKER, lambda: 30)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """A sample as a scrape has it; None where there is none."""
    return metrics.registry.get_sample_value(f"warmlane_{name}", labels)


@contextmanager
def served(metrics: Metrics, port: int) -> Iterator[str]:
    stop = metrics.serve("127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        stop()


def test_jobs_are_counted_by_kind_and_outcome(metrics: Metrics) -> None:
    """An outcome is "succeeded", or the code of the error."""
    for outcome in ("succeeded", "succeeded", "cache_full"):
        metrics.ended(Ended("predict", "sentiment", outcome, 0.1, 0.001))
    assert value(metrics, "jobs_total", kind="predict", outcome="succeeded") == 2
    assert value(metrics, "jobs_total", kind="predict", outcome="cache_full") == 1


def test_each_stage_has_its_time_by_model(metrics: Metrics) -> None:
    """A job and its batch leave one time in each of the six stages, under the name of their model."""
    metrics.wanted("sentiment", warm=False)
    metrics.loaded("sentiment", "store", 2.0)
    metrics.prepared("sentiment", 0.25)
    metrics.batch(Batch("sentiment", 4, 30, 40, 0.5, 0.125))
    metrics.ended(Ended("predict", "sentiment", "succeeded", 4.0, 0.0625))
    expected = {
        "queued": 4.0,
        "loading": 2.0,
        "preparing": 0.25,
        "waiting": 0.5,
        "forward": 0.125,
        "committing": 0.0625,
    }
    for stage, seconds in expected.items():
        assert value(metrics, "stage_seconds_sum", stage=stage, model="sentiment") == seconds, stage


def test_a_batch_tells_its_rows_and_its_padding(metrics: Metrics) -> None:
    """Rows, tokens with padding and without, and the time that the device was busy."""
    metrics.batch(Batch("m", 4, 30, 40, 0.0, 0.5))
    metrics.batch(Batch("m", 1, 8, 8, 0.0, 0.25))
    assert value(metrics, "batch_rows_sum", model="m") == 5
    assert value(metrics, "batch_padded_tokens_sum", model="m") == 48
    assert value(metrics, "batch_tokens_total", model="m") == 38
    assert value(metrics, "device_busy_seconds_total") == 0.75


def test_a_batch_that_answers_nobody_takes_the_device_and_no_more(metrics: Metrics) -> None:
    """The size of batches is measured by some: they are no traffic, and belong to no model."""
    metrics.batch(Batch("", 4, 30, 40, 0.0, 0.5))
    assert value(metrics, "device_busy_seconds_total") == 0.5
    assert 'model=""' not in generate_latest(metrics.registry).decode()


def test_the_cache_tells_hits_loads_and_evictions(metrics: Metrics) -> None:
    """A request is a hit or a miss, a load has its source, an eviction says where the model went."""
    metrics.wanted("m", warm=True)
    metrics.wanted("m", warm=False)
    metrics.loaded("m", "host", 0.1)
    metrics.evicted("m", "nowhere")
    assert value(metrics, "cache_requests_total", result="hit") == 1
    assert value(metrics, "cache_requests_total", result="miss") == 1
    assert value(metrics, "model_loads_total", model="m", source="host") == 1
    assert value(metrics, "model_evictions_total", model="m", to="nowhere") == 1


def test_what_is_now_is_asked_at_the_scrape(metrics: Metrics) -> None:
    """Running jobs, pace, budget and warm models are those of the worker at this moment."""
    assert value(metrics, "jobs_running") == 5
    assert value(metrics, "job_pace_seconds") == 0.25
    assert (value(metrics, "cache_bytes"), value(metrics, "cache_budget_bytes")) == (700, 1000)
    assert value(metrics, "host_cache_bytes") == 30
    assert value(metrics, "model_bytes", model="sentiment/3", dtype="float32", pinned="true") == 700
    assert value(metrics, "worker_info", worker="w1", device="cpu", pool="default", state="ready") == 1


def test_a_name_that_no_model_had_makes_no_series(metrics: Metrics) -> None:
    """Jobs for models that never were in memory are counted together, whatever their callers typed."""
    for number in range(50):
        metrics.ended(Ended("predict", f"typo-{number}", "model_not_found", 0.0, 0.0))
    assert value(metrics, "stage_seconds_count", stage="committing", model=OTHER) == 50
    assert b"typo" not in generate_latest(metrics.registry)


def test_models_beyond_a_number_are_counted_together(metrics: Metrics) -> None:
    """The first models have series of their own, the others share one."""
    for number in range(MOST_MODELS + 5):
        metrics.batch(Batch(f"m{number}", 1, 1, 1, 0.0, 0.0))
    assert value(metrics, "batch_rows_count", model="m0") == 1
    assert value(metrics, "batch_rows_count", model=OTHER) == 5


def test_a_port_gives_them_to_who_asks(metrics: Metrics) -> None:
    """`/metrics` has Prometheus' text, without a series of creation times."""
    metrics.wanted("m", warm=True)
    with served(metrics, free_port()) as url, urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    assert 'warmlane_cache_requests_total{result="hit"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text


def test_a_port_that_is_taken_is_told(metrics: Metrics) -> None:
    """An address that another process has is a ConfigurationError that names the variable."""
    port = free_port()
    with served(metrics, port), pytest.raises(ConfigurationError, match="WARMLANE_METRICS_PORT"):
        metrics.serve("127.0.0.1", port)
