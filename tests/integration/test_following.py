"""A text in Redis: what a worker appends, and what callers read of it, also when attempts overtake each other.

The test plays the worker, by the operations that a worker runs, on a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from warmlane import Client, Settings, State, codec
from warmlane._wire import RECHECK_S
from warmlane.client import Job
from warmlane.errors import ResultExpired, StreamInterrupted
from warmlane.jobs import new_id
from warmlane.keys import Keys
from warmlane.ops import Finish, Start
from warmlane.records import Outcome
from warmlane.store import RedisStore, connect
from warmlane.stream import AppendText, Piece

TTL_S = 600


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(redis_url=url, namespace=new_id(), result_ttl_s=TTL_S)


@pytest.fixture
def store(settings: Settings, url: str) -> Iterator[RedisStore]:
    client = connect(url, retry_s=1)
    yield RedisStore(client, Keys(settings.namespace), url)
    client.close()
    client.connection_pool.disconnect()


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings=settings) as client:
        yield client


@pytest.fixture
def job(client: Client, store: RedisStore) -> Job:
    """A job that a worker has taken up."""
    job = client.predict("chat", "Count!", stream=True)
    start(store, job)
    return job


def start(store: RedisStore, job: Job) -> None:
    assert store.run(Start(job.id, "w-1")).word == "run"


def append(store: RedisStore, job: Job, attempt: int, at: int, text: str, *, last: bool = False) -> bool:
    return store.run(AppendText(job.id, attempt, Piece(at, text, last)))


def succeed(store: RedisStore, job: Job, text: str) -> None:
    assert store.run(Finish(job.id, Outcome(State.SUCCEEDED, codec.encode("result", [text])), TTL_S))


def test_a_piece_wakes_whoever_follows(job: Job, store: RedisStore) -> None:
    """A reader that waits hears of a piece from the server, long before it would look again."""
    pieces = iter(job)
    with ThreadPoolExecutor(1) as pool:
        for at, text in ((0, "One "), (4, "and ")):
            heard = pool.submit(next, pieces)
            append(store, job, 1, at, text)
            assert heard.result(timeout=RECHECK_S / 2) == text


def test_two_readers_of_one_handle_are_both_woken(job: Job, store: RedisStore) -> None:
    """Each has its own place in the text, and neither takes the other's news."""
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(lambda: "".join(job)) for _ in range(2)]
        result = pool.submit(job.result)
        append(store, job, 1, 0, "One ")
        append(store, job, 1, 4, "two.", last=True)
        succeed(store, job, "One two.")
        assert [reader.result(timeout=RECHECK_S / 2) for reader in readers] == ["One two."] * 2
        assert result.result(timeout=RECHECK_S / 2) == ["One two."]


def test_an_attempt_that_was_overtaken_writes_nothing(job: Job, store: RedisStore) -> None:
    """A worker that was thought dead goes on beside the next: what it tells is dropped, and it is not told to stop."""
    append(store, job, 1, 0, "One ")
    start(store, job)
    append(store, job, 2, 0, "One two", last=False)
    assert not append(store, job, 1, 4, "or three.", last=True)
    append(store, job, 2, 7, ".", last=True)
    succeed(store, job, "One two.")
    assert "".join(job) == "One two."


def test_an_answer_of_another_attempt_is_no_end_of_the_text(job: Job, store: RedisStore) -> None:
    """Where the record ends and the text does not, the reader is sent to the result."""
    append(store, job, 1, 0, "One ")
    succeed(store, job, "Another.")
    pieces = iter(job)
    assert next(pieces) == "One "
    with pytest.raises(StreamInterrupted):
        next(pieces)
    assert job.result(timeout=1) == ["Another."]


def test_whoever_appends_hears_of_a_cancel(job: Job, store: RedisStore) -> None:
    """The reply to a piece says that the job should stop, when somebody has cancelled it or it has ended."""
    assert not append(store, job, 1, 0, "One ")
    job.cancel()
    assert append(store, job, 1, 4, "two")
    succeed(store, job, "One two")
    assert append(store, job, 1, 7, ".")


def test_a_text_expires_with_its_result(job: Job, store: RedisStore) -> None:
    """Both have one time to live, and whoever comes later hears that it has expired."""
    append(store, job, 1, 0, "One.", last=True)
    succeed(store, job, "One.")
    stream, result = store.names.stream(job.id), store.names.result(job.id)
    assert 0 < store.client.ttl(stream) <= TTL_S
    store.client.delete(stream, result)
    with pytest.raises(ResultExpired):
        list(job)
