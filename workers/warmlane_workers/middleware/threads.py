"""Leaves the cores to the device thread: every other thread of the process computes alone.

OpenMP keeps a team of helpers for each thread that computes in parallel. With more helpers than cores it stops spinning
between two operations and sleeps instead, and a small model runs at half its speed (`docs/log.md`, 2026-11-24).
"""

from __future__ import annotations

from typing import Any

from dramatiq import Broker, Middleware

from warmlane_workers.engine.device import set_own_threads


class ComputeAlone(Middleware):
    """Dramatiq's threads tokenise, convert and pool with one thread each."""

    def after_worker_thread_boot(self, broker: Broker, thread: Any) -> None:
        set_own_threads(1)

    def after_consumer_thread_boot(self, broker: Broker, thread: Any) -> None:
        set_own_threads(1)
