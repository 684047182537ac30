"""A worker process: the only file that builds everything and joins it. Phases: startup, serve, drain, shutdown.

Logging comes first, torch last, so that whatever goes wrong early says so kindly.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty
from typing import TYPE_CHECKING

from warmlane import tracing
from warmlane.blame import Absolve, Blame
from warmlane.blobs import Blobs
from warmlane.embedded import server_url
from warmlane.errors import ConfigurationError, WarmlaneError
from warmlane.keys import Keys, pool_queue
from warmlane.results import WorkerInfo
from warmlane.store import RedisStore, connect
from warmlane_workers.logs import configure_logging
from warmlane_workers.observer import UNSEEN, Observer
from warmlane_workers.settings import WorkerSettings
from warmlane_workers.stopping import StopRequests
from warmlane_workers.supervisor import EXIT_CONFIGURATION
from warmlane_workers.sweeper import Sweeper

if TYPE_CHECKING:
    from warmlane_workers.catalog import Catalog
    from warmlane_workers.engine.engine import Engine
    from warmlane_workers.lifecycle import Handler
    from warmlane_workers.metrics import Metrics
    from warmlane_workers.modelstore import ModelStore
    from warmlane_workers.unload import Unload

logger = logging.getLogger(__name__)

#: How long a worker's command tries to reach the server before it says so, in seconds; after that it tries on.
_RETRY_S = 60.0
#: How long a stop may take to put messages back, in seconds.
_GIVE_BACK_S = 3.0
#: How long the device may take, after a drain, to end a batch that no job waits for, in seconds.
_ENGINE_STOP_S = 5.0
#: Thresholds of Python's cyclic collection: new objects before it looks through the young ones, and so on.
_COLLECT = (5_000, 20, 20)


class WorkerProcess:
    """One device's worker.

    Args:
        life: names this process (`warmlane.blame`).
        crashed: the lives before it that ended in a crash.
    """

    def __init__(self, settings: WorkerSettings, worker_id: str, life: str, crashed: Sequence[str] = ()) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._life = life
        self._crashed = crashed
        self._stop = StopRequests(self._stop_now)
        self._state = "starting"
        self._metrics: Metrics | None = None
        self._stop_metrics: Callable[[], None] = lambda: None

    def run(self) -> int:
        """Live until told to stop; the exit status."""
        self._stop.listen()
        self._startup()
        self._serve()
        self._drain()
        self._shutdown()
        return 0

    def _startup(self) -> None:
        tracing.check()
        self._open_store()
        self._blame()
        self._blobs = Blobs.of(self._settings.client)
        self._sweeper = None if self._blobs is None else Sweeper(self._store, self._blobs)
        logger.info("worker %s starts, importing torch", self._worker_id, extra={"action": "starting"})

        import dramatiq
        import transformers

        from warmlane_workers.bell import Bell
        from warmlane_workers.catalog import Catalog
        from warmlane_workers.middleware.presence import Presence
        from warmlane_workers.modelstore import ModelStore
        from warmlane_workers.unload import Unload

        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        transformers.utils.logging.disable_default_handler()  # its warnings go where ours do
        transformers.utils.logging.enable_propagation()
        store, settings = self._store, self._settings
        models = ModelStore(settings.store, settings.store_cache)
        models.open()
        self._presence = Presence(store, self._describe)
        observer = self._observer()
        self._engine = self._make_engine(models, observer)
        unload = Unload(store, self._client, store.names, self._worker_id, self._engine.unload)
        catalog = Catalog(store, models, unload.handle)
        self._make_broker(self._handlers(models, catalog, unload), observer)
        self._bell = Bell(self._client, store.names, self._broker, unload.obey)
        catalog.announce_all()
        self._engine.start()
        self._bell.start()
        self._worker = dramatiq.Worker(self._broker, worker_threads=settings.threads)

    def _open_store(self) -> None:
        settings = self._settings.client
        url = server_url(settings)
        self._client = connect(url, retry_s=_RETRY_S, connections=self._settings.threads + 32)
        self._store = RedisStore(self._client, Keys(settings.namespace), url)

    def _make_engine(self, models: ModelStore, observer: Observer) -> Engine:
        from warmlane_workers.engine import device
        from warmlane_workers.engine.engine import Engine

        settings = self._settings
        found = device.find(settings.device, settings.cache_bytes, settings.batch_tokens, settings.host_cache_bytes)
        if found.name != "cpu":
            device.hold(alone=not settings.cache_bytes)
        return Engine(
            models,
            found,
            source_roots=settings.source_roots,
            trust_remote_code=settings.trust_remote_code,
            url_inputs=settings.url_inputs,
            conversation_ttl_s=settings.conversation_ttl_s,
            cache_ttl_s=settings.cache_ttl_s,
            continuous_batching=settings.continuous_batching,
            on_change=self._presence.beat,
            observer=observer,
        )

    def _handlers(self, models: ModelStore, catalog: Catalog, unload: Unload) -> dict[str, Handler]:
        """What runs a job, by its kind."""
        from warmlane_workers.management import Management

        settings = self._settings
        trust = settings.trust_remote_code
        management = Management(models, catalog.announce, settings.source_roots, trust_remote_code=trust)
        return {
            "predict": self._engine.predict,
            "load": self._engine.load,
            "unload": unload.handle,
            "save": management.save,
            "persist": management.persist,
            "alias": catalog.alias,
            "delete": catalog.delete,
        }

    def _make_broker(self, handlers: dict[str, Handler], observer: Observer) -> None:
        """Dramatiq's broker with our actors, and the life of the jobs that they are given."""
        from warmlane_workers import actors
        from warmlane_workers.broker import LaneBroker
        from warmlane_workers.lifecycle import Lifecycle
        from warmlane_workers.middleware.threads import ComputeAlone
        from warmlane_workers.threadless import Threadless

        settings = self._settings
        broker = self._broker = LaneBroker(self._store, self._worker_id, settings.threads)
        self._lifecycle = Lifecycle(
            self._store,
            self._worker_id,
            handlers,
            settings.client.result_ttl_s,
            broker.settled,
            self._life,
            self._blobs,
            observer,
        )
        self._threadless = Threadless(self._lifecycle, self._engine.beginner)
        broker.begin = self._threadless.begin
        broker.on_reject = self._lifecycle.reject
        broker.describe = self._describe
        # No hook may lose a job, so jobs' life is in their actors; these two may be late or fail alone.
        for middleware in (ComputeAlone(), self._presence):
            broker.add_middleware(middleware)
        actors.declare(broker, self._lifecycle, settings.queues, settings.pool)

    def _blame(self) -> None:
        """Before anything else, torch included: what a crash left must not be taken up unmarked by another worker."""
        for life in self._crashed:
            count = self._store.run(Blame(life))
            if count:
                logger.warning("the last process crashed with %d jobs", count, extra={"action": "blamed"})

    def _observer(self) -> Observer:
        """Who is told of the work: the metrics, where they are served."""
        if not self._settings.metrics_port:
            return UNSEEN
        from warmlane_workers.metrics import Metrics

        self._metrics = Metrics(self._describe, lambda: self._engine.host_bytes)
        return self._metrics

    def _describe(self) -> WorkerInfo:
        settings = self._settings
        return WorkerInfo(
            id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=self._engine.device.name,
            state=self._state,
            threads=settings.threads,
            running=self._lifecycle.running,
            budget_bytes=self._engine.cache.budget,
            queues=tuple(pool_queue(queue, settings.pool) for queue in settings.queues),
            models=self._engine.warm(),
            pool=settings.pool,
            pace_ms=self._lifecycle.pace.ms,
            load_ms=self._lifecycle.pace.load_ms,
        )

    def _serve(self) -> None:
        self._state = "ready"
        if self._metrics is not None:
            self._stop_metrics = self._metrics.serve(self._settings.metrics_host, self._settings.metrics_port)
        self._calm_collector()
        self._worker.start()
        if self._sweeper is not None:
            self._sweeper.start()
        logger.info("worker %s ready on %s", self._worker_id, self._engine.device.name, extra={"action": "ready"})
        self._stop.wait()

    def _calm_collector(self) -> None:
        """Leave what was imported out of Python's cyclic collection, which takes 0.2 s to look through half a million
        objects; and let more come before it looks."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT)

    def _drain(self) -> None:
        """Take nothing more, give back what has not begun, finish what runs."""
        logger.info("worker %s drains", self._worker_id, extra={"action": "draining"})
        self._state = "draining"
        self._broker.draining = True
        self._broker.ring()
        self._presence.beat()
        self._leave_lanes()
        while True:
            try:
                message = self._worker.work_queue.get_nowait().message
            except Empty:
                break
            self._worker.consumers[message.queue_name].requeue_messages([message])
        until = time.monotonic() + self._settings.drain_timeout_s
        self._threadless.wait(self._settings.drain_timeout_s)  # while the consumers' heartbeats go on
        self._worker.stop(timeout=int(1000 * max(0.0, until - time.monotonic())))
        self._threadless.wait(max(0.0, until - time.monotonic()))  # what its consumers have begun since

    def _leave_lanes(self) -> None:
        try:
            self._broker.leave_lanes()
        except WarmlaneError as exc:  # then the others take it when our word has expired
            logger.warning("our lanes stay for now: %s", exc, extra={"action": "lanes_left"})

    def _shutdown(self) -> None:
        """Leave. What a drain's end cut off goes back first, so that others take it at once."""
        self._bell.stop()
        self._stop_metrics()
        if self._sweeper is not None:
            self._sweeper.stop()
        back = self._broker.give_back()
        if back:
            self._store.run(Absolve(self._life))
            logger.warning("%d jobs were cut off and go back to the queue", back, extra={"action": "cut_off"})
        ended = self._engine.stop(_ENGINE_STOP_S)
        self._client.close()
        logger.info("worker %s left", self._worker_id, extra={"action": "left"})
        if not ended:
            os._exit(0)  # nobody waits for what the device still computes

    def _stop_now(self) -> None:
        """The second signal: put back what runs and go, whatever the threads do."""
        logger.warning("worker %s stops at once", self._worker_id, extra={"action": "stopping"})
        back = threading.Thread(target=self._give_back, daemon=True)
        back.start()
        back.join(_GIVE_BACK_S)
        os._exit(1)

    def _give_back(self) -> None:
        if hasattr(self, "_broker"):
            self._broker.draining = True
            self._broker.give_back()
            self._store.run(Absolve(self._life))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="warmlane_workers.app", allow_abbrev=False)
    parser.add_argument("--device", required=True)
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--life", required=True)
    parser.add_argument("--crashed", default="")
    arguments = parser.parse_args(argv)
    try:
        configure_logging(arguments.worker_id)
        settings = WorkerSettings.from_env(device=arguments.device)
        crashed = [life for life in arguments.crashed.split(",") if life]
        return WorkerProcess(settings, arguments.worker_id, arguments.life, crashed).run()
    except ConfigurationError as exc:
        print(f"warmlane: {exc.code}: {exc.message}", file=sys.stderr)  # noqa: T201 - the command's own message
        return EXIT_CONFIGURATION
    except WarmlaneError as exc:
        print(f"warmlane: {exc.code}: {exc.message}", file=sys.stderr)  # noqa: T201 - the command's own message
        return 1


if __name__ == "__main__":
    sys.exit(main())
