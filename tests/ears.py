"""Hears what a client is told, to count it: a job's end is told once."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

import redis

from warmlane.records import Outcome
from warmlane.store import connect

#: How long it tries to reach a server that is away, in seconds.
RETRY_S = 90.0


class Ears:
    """Counts how often each job's end is told to a client. What is told while the server is away is not heard."""

    def __init__(self, url: str, inbox: str) -> None:
        self.counts: Counter[str] = Counter()
        self._done = threading.Event()
        self._client = connect(url, retry_s=RETRY_S, connections=4)
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(inbox)
        self._thread = threading.Thread(target=self._listen, name="ears")
        self._thread.start()

    def _listen(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):  # it subscribes again by itself
                message = self._pubsub.get_message(timeout=0.2)
                if message is not None:
                    self.counts[Outcome.from_event(message["data"])[0]] += 1

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self._pubsub.close()
        self._client.close()
        self._client.connection_pool.disconnect()
