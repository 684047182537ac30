"""A worker's metrics for Prometheus: what it was told of its work, and what it is now. Docs: docs/metrics.md.

Imports prometheus_client, so only a worker that serves metrics imports this. Nothing is registered globally. Labels are
bounded: kinds, error codes and stages by the code, models by `MOST_MODELS`; a name counts as a model's only when the
worker has had that model, so that a caller's typing makes no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from warmlane.errors import ConfigurationError
from warmlane.results import WorkerInfo
from warmlane_workers.observer import Batch, Ended, Observer

#: So many models have series of their own; what comes later is counted as `OTHER`.
MOST_MODELS = 200
OTHER = "other"
#: Upper bounds of the buckets: seconds, rows, and padded tokens.
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (16, 64, 256, 512, 1024, 4096, 16_384, 65_536)


class Metrics(Observer):
    """Counts what it is told.

    Args:
        describe: the worker as it is now; asked at each scrape.
        host_bytes: what the second tier of its cache takes now.
    """

    def __init__(self, describe: Callable[[], WorkerInfo], host_bytes: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self._models: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"warmlane_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"warmlane_{name}", text, labels, buckets=buckets, registry=registry)

        self._jobs = counter("jobs", "Jobs that ended, by their kind and how.", "kind", "outcome")
        self._stages = histogram(
            "stage_seconds", "Time in a stage: a job's, of waiting and forward a batch's.", _SECONDS, "stage", "model"
        )
        self._rows = histogram("batch_rows", "Rows of a batch.", _ROWS, "model")
        self._padded = histogram("batch_padded_tokens", "Tokens of a batch, padding included.", _TOKENS, "model")
        self._tokens = counter("batch_tokens", "Tokens of the batches, without padding.", "model")
        self._busy = counter("device_busy_seconds", "Time in which batches ran; two at a time count twice.")
        self._running = counter(
            "running_batches", "Batches that texts join: begun, or refused for answering otherwise.", "model", "result"
        )
        self._wanted = counter("cache_requests", "Models that jobs asked for, warm (hit) or not (miss).", "result")
        self._loads = counter("model_loads", "Loads, from the store or from the host tier.", "model", "source")
        self._evictions = counter("model_evictions", "Models that left, to the host tier or nowhere.", "model", "to")
        registry.register(_Now(describe, host_bytes))
        ProcessCollector(registry=registry)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve at `/metrics`, in a thread; returns what ends that.

        Raises:
            ConfigurationError: there is no such address here, or another process has it.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each series that says when it began
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as exc:
            raise ConfigurationError(
                f"WARMLANE_METRICS_PORT: cannot listen on {host}:{port} ({exc.strerror}); with several devices each "
                "worker takes the next port, so leave a range free"
            ) from exc

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def ended(self, job: Ended) -> None:
        model = job.model if job.model in self._models else OTHER
        self._jobs.labels(job.kind, job.outcome).inc()
        if job.waited_s is not None:
            self._stages.labels("queued", model).observe(job.waited_s)
        self._stages.labels("committing", model).observe(job.commit_s)

    def batch(self, batch: Batch) -> None:
        self._busy.inc(batch.run_s)
        if not batch.model:
            return
        model = self._known(batch.model)
        self._rows.labels(model).observe(batch.rows)
        self._padded.labels(model).observe(batch.padded)
        self._tokens.labels(model).inc(batch.tokens)
        self._stages.labels("waiting", model).observe(batch.waited_s)
        self._stages.labels("forward", model).observe(batch.run_s)

    def began_running(self, model: str, *, steady: bool) -> None:
        self._running.labels(self._known(model), "begun" if steady else "refused").inc()

    def prepared(self, model: str, seconds: float) -> None:
        self._stages.labels("preparing", self._known(model)).observe(seconds)

    def wanted(self, model: str, *, warm: bool) -> None:
        self._known(model)
        self._wanted.labels("hit" if warm else "miss").inc()

    def loaded(self, model: str, source: str, seconds: float) -> None:
        name = self._known(model)
        self._loads.labels(name, source).inc()
        self._stages.labels("loading", name).observe(seconds)

    def evicted(self, model: str, to: str) -> None:
        self._evictions.labels(self._known(model), to).inc()

    def _known(self, model: str) -> str:
        """The label of a model that is, or was, in memory here."""
        if model in self._models:
            return model
        if len(self._models) >= MOST_MODELS:
            return OTHER
        self._models.add(model)
        return model


class _Now(Collector):
    """What is asked at each scrape, and not counted."""

    def __init__(self, describe: Callable[[], WorkerInfo], host_bytes: Callable[[], int]) -> None:
        self._describe = describe
        self._host_bytes = host_bytes

    def collect(self) -> Iterator[Metric]:
        worker = self._describe()
        yield _gauge("jobs_running", "Jobs that run now.", worker.running)
        yield _gauge("job_pace_seconds", "How long a job takes lately, all together.", worker.pace_ms / 1000)
        yield _gauge("threads", "Jobs that can run at a time.", worker.threads)
        yield _gauge("cache_budget_bytes", "What the warm models may take.", worker.budget_bytes)
        yield _gauge("cache_bytes", "What the warm models take.", worker.held_bytes)
        yield _gauge("cache_models", "Warm models.", len(worker.models))
        yield _gauge("host_cache_bytes", "What the second tier takes of the host's memory.", self._host_bytes())
        sizes = GaugeMetricFamily(
            "warmlane_model_bytes", "What a warm model takes.", labels=("model", "dtype", "pinned")
        )
        for model in worker.models:
            sizes.add_metric((model.model, model.dtype, str(model.pinned).lower()), model.bytes)
        yield sizes
        about = GaugeMetricFamily("warmlane_worker_info", "1.", labels=("worker", "device", "pool", "state"))
        about.add_metric((worker.id, worker.device, worker.pool, worker.state), 1)
        yield about


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"warmlane_{name}", text, value=value)
