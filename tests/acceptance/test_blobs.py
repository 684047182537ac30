"""A payload and a result far above what a message may have, through a real worker."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fleet import Fleet
from warmlane import Client


def test_40_mb_go_in_and_out_and_redis_stays_small(warm_fleet: Fleet, client: Client) -> None:
    """An array of ten million numbers comes back as it went; Redis holds a few references."""
    client.predict("echo", "connect").result(timeout=30)
    redis: Any = client._transport._store.client  # type: ignore[attr-defined]
    before = redis.info("memory")["used_memory"]
    array = np.arange(10_000_000, dtype=np.float32)
    job = client.predict("echo", [array])
    (back,) = job.result(timeout=60)
    assert np.array_equal(back, array)
    assert redis.info("memory")["used_memory_peak"] < before + 10_000_000
    assert redis.info("memory")["used_memory"] < before + 1_000_000
    blobs = [path for path in (warm_fleet.home / "blobs").rglob("*") if path.name.startswith(job.id)]
    assert sum(path.stat().st_size for path in blobs) > 2 * array.nbytes
