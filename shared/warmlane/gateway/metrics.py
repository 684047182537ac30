"""The fleet's metrics for Prometheus: what only Redis knows, asked at each scrape. Docs: docs/metrics.md.

What a worker does it tells itself. Several gateways of one fleet tell the same: scrape one, or take the maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from warmlane.fleet import FleetInfo
from warmlane.keys import pool_of

#: What a worker may say of itself; each has a number, also where it is 0.
STATES = ("starting", "ready", "draining")


class _Fleet(Collector):
    def __init__(self, fleet: FleetInfo) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        waiting = _by_queue("queue_waiting_jobs", "Jobs that no worker has taken.")
        taken = _by_queue("queue_taken_jobs", "Jobs that workers have and have not ended.")
        size = _by_queue("queue_bytes", "Messages of both, and their payloads in the blob store.")
        oldest = _by_queue("queue_oldest_job_seconds", "How long the first of those that wait has waited.")
        for queue in self._fleet.queues:
            waiting.add_metric((queue.name,), queue.waiting)
            taken.add_metric((queue.name,), queue.taken)
            size.add_metric((queue.name,), queue.bytes)
            oldest.add_metric((queue.name,), queue.oldest_s)
        yield from (waiting, taken, size, oldest)
        workers = GaugeMetricFamily("warmlane_workers", "Live workers.", labels=("pool", "state"))
        counts = Counter((worker.pool, worker.state) for worker in self._fleet.workers)
        # A pool of nobody has numbers as well, where jobs wait for it.
        for pool in {*(pool_of(queue.name) for queue in self._fleet.queues), *(pool for pool, _ in counts)}:
            for state in STATES:
                workers.add_metric((pool, state), counts[pool, state])
        yield workers
        yield GaugeMetricFamily("warmlane_dead_letters", "Jobs that wait for an operator.", value=self._fleet.dead)


def _by_queue(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"warmlane_{name}", text, labels=("queue",))


def exposed(fleet: FleetInfo, accept: str) -> tuple[bytes, str]:
    """A fleet in the form that a scraper likes best, and that form's media type."""
    registry = CollectorRegistry()
    registry.register(_Fleet(fleet))
    encoder, media = choose_encoder(accept)
    return encoder(registry), media
