"""Both clients on real servers: the embedded one, and Debian's `redis-server` where this machine has it.

The test plays the worker, by the operations that a worker runs. Every test has a namespace of its own on a server that
the file shares; what changes a server (passwords, ends of life) starts one of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import stat
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.server import Server
from warmlane import AsyncClient, Client, Settings, State, codec
from warmlane._wire import RECHECK_S
from warmlane.client import Job
from warmlane.embedded import EmbeddedServer
from warmlane.errors import (
    ConfigurationError,
    InternalError,
    JobCancelled,
    JobNotFound,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    ServerUnreachable,
    SourceError,
)
from warmlane.jobs import LoadJob, new_id
from warmlane.keys import PREDICT_QUEUE, Keys
from warmlane.lanes import Submit
from warmlane.message import JobMessage
from warmlane.ops import Finish, ReportProgress, Start
from warmlane.records import INLINE_RESULT_BYTES, Outcome
from warmlane.registry import Beat, Leave, PublishModel
from warmlane.results import ModelInfo, Progress, WarmModel, WorkerInfo
from warmlane.store import RedisStore, connect

REDIS = shutil.which("redis-server")
OPENSSL = shutil.which("openssl")
WAIT_S = 30
BROKER = "broker-1"
TTL_S = 600
#: From the worker's commit to the caller's result, on an idle machine about 1 ms.
WAKE_S = 0.05


# -- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def embedded(home: Path) -> Iterator[str]:
    server = EmbeddedServer(home)
    server.attach()
    try:
        yield server.url
    finally:
        server.detach()


@contextmanager
def debian(home: Path, *options: str) -> Iterator[str]:
    """A redis-server of our own on a socket in a directory; it is given nothing else unless by options."""
    assert REDIS is not None
    home.mkdir(exist_ok=True)
    path = home / "redis.sock"
    command = [REDIS, "--port", "0", "--unixsocket", str(path), "--dir", str(home), "--save", "", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with admin(f"unix://{path}", retry_s=WAIT_S) as client:
                client.ping()
            yield f"unix://{path}"
        finally:
            process.terminate()


SERVERS: dict[str, Any] = {"embedded": embedded, **({"redis-server": debian} if REDIS else {})}


@contextmanager
def admin(url: str, retry_s: float = 0.01) -> Iterator[redis.Redis]:
    client = connect(url, retry_s=retry_s)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()


def raw(client: redis.Redis, *words: str) -> Any:
    """A command that redis-py has no method for."""
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with SERVERS[request.param](tmp_path_factory.mktemp("h")) as url:
        yield url


@pytest.fixture(params=SERVERS)
def own_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server for one test, which may do to it what it likes."""
    with SERVERS[request.param](tmp_path / "h") as url:
        yield url


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(redis_url=url, namespace=new_id(), result_ttl_s=TTL_S)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings=settings) as client:
        yield client


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    with playing_worker(settings) as worker:
        yield worker


class Worker:
    """What a worker does to the store, one step a call."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store
        self.run = store.run

    def take(self) -> str:
        """Take up the next job of the predict queue."""
        taken: Any = self.store.client.blpop([self.store.names.queue(PREDICT_QUEUE)], timeout=WAIT_S)
        assert taken is not None, "nobody has enqueued a job"
        job_id = bytes(taken[1]).decode()
        self.store.client.sadd(self.store.names.acks(BROKER, PREDICT_QUEUE), job_id)  # as Dramatiq's fetch does
        assert self.run(Start(job_id, "w-1")).word == "run"
        return job_id

    def inputs(self, job_id: str) -> Any:
        data: Any = self.store.client.hget(self.store.names.messages(PREDICT_QUEUE), job_id)
        return JobMessage.decode(data).kwargs["job"].inputs

    def succeed(self, job_id: str, result: Any) -> bool:
        outcome = Outcome(State.SUCCEEDED, codec.encode("result", result))
        return self.run(Finish(job_id, outcome, TTL_S, PREDICT_QUEUE, BROKER))

    def watched_by(self, job_id: str, inboxes: int) -> None:
        """Return when so many clients are waiting for the job."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found: Any = self.store.client.hget(self.store.names.job(job_id), "inboxes")
            if len(found.split()) >= inboxes:
                return
            threading.Event().wait(0.002)  # the script of `watch` tells nobody that it ran
        raise AssertionError("nobody waits")


@contextmanager
def playing_worker(settings: Settings) -> Iterator[Worker]:
    assert settings.redis_url is not None
    with admin(settings.redis_url, retry_s=5) as client:
        yield Worker(RedisStore(client, Keys(settings.namespace), settings.redis_url))


@contextmanager
def elsewhere(call: Callable[[], Any]) -> Iterator[Any]:
    """Run a call in another thread; yields its future."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


# -- one job ---------------------------------------------------------------------------------------------------------


def test_a_job_is_seen_by_every_client(client: Client, worker: Worker, settings: Settings) -> None:
    """What one client enqueued, another sees by its id: queued, running on a worker, done, with the same result."""
    job = client.predict("m", ["a"])
    with Client(settings=settings) as other:
        seen = other.job(job.id)
        status = seen.status()
        assert (status.state, status.kind, status.model) == (State.QUEUED, "predict", "m")
        assert (status.worker, status.started, status.progress) == (None, None, Progress(0.0, "queued"))

        assert worker.take() == job.id
        worker.run(ReportProgress(job.id, State.LOADING, Progress(0.25, "loading")))
        status = seen.status()
        assert (status.state, status.worker, status.progress) == (State.LOADING, "w-1", Progress(0.25, "loading"))
        assert not status.cancel_requested

        assert worker.succeed(job.id, ["POSITIVE"])
        assert seen.result(timeout=WAIT_S) == job.result(timeout=WAIT_S) == ["POSITIVE"]
        status = job.status()
        assert (status.state, status.progress) == (State.SUCCEEDED, Progress(1.0, "done"))
        assert status.started is not None
        assert status.finished is not None
        assert time.time() - 60 < status.queued <= status.started <= status.finished <= time.time() + 60


def test_a_waiting_caller_is_woken_by_the_event(client: Client, worker: Worker, settings: Settings) -> None:
    """From the worker's commit to the result in another client's hands it takes under 50 ms, as the median of nine."""

    def timed(job: Job) -> float:
        job.result(timeout=WAIT_S)
        return time.perf_counter()

    times = []
    with Client(settings=settings) as other:
        for _ in range(9):
            job = client.predict("m", ["a"])
            worker.take()
            with elsewhere(lambda: timed(other.job(job.id))) as done:  # noqa: B023 - ends before the next round
                worker.watched_by(job.id, 2)
                began = time.perf_counter()
                worker.succeed(job.id, ["POSITIVE"])
            times.append(done.result() - began)
    assert statistics.median(times) < WAKE_S


def test_every_waiting_caller_gets_the_result(client: Client, worker: Worker, settings: Settings) -> None:
    """Two clients and two threads of one of them wait for one job; one commit answers all."""
    job = client.predict("m", ["a"])
    with Client(settings=settings) as other, ThreadPoolExecutor(3) as pool:
        handles = (job, job, other.job(job.id))
        waiting = [pool.submit(handle.result, WAIT_S) for handle in handles]
        worker.take()
        worker.watched_by(job.id, 2)
        worker.succeed(job.id, "yes")
        assert [future.result(WAIT_S) for future in waiting] == ["yes"] * 3


@pytest.mark.parametrize("size", [INLINE_RESULT_BYTES - 100, INLINE_RESULT_BYTES + 1, 3_000_000])
def test_a_result_of_any_size_arrives(client: Client, worker: Worker, size: int) -> None:
    """A result within the event, and one that has to be fetched, arrive whole while the caller waits."""
    job = client.predict("m", ["a"])
    with elsewhere(lambda: job.result(WAIT_S)) as result:
        worker.succeed(worker.take(), b"\x07" * size)
        assert result.result(WAIT_S) == b"\x07" * size


def test_the_record_says_which_rows_were_cut(client: Client, worker: Worker) -> None:
    """Their numbers are in the record of a job that has them, and in its JSON; that of another has none."""
    for truncated in ((0, 2), ()):
        job = client.predict("m", ["a", "b", "c"])
        outcome = Outcome(State.SUCCEEDED, codec.encode("result", "x"), truncated=truncated)
        worker.run(Finish(worker.take(), outcome, TTL_S, PREDICT_QUEUE, BROKER))
        assert job.status().truncated == truncated
        assert job.status().to_dict()["truncated"] == list(truncated)


def test_a_worker_error_reaches_the_caller(client: Client, worker: Worker) -> None:
    """A failed job raises the worker's error, with its details, and its record has it too."""
    error = SourceError("no config.json there; give a checkpoint", field="source")
    job = client.predict("m", ["a"])
    worker.run(Finish(worker.take(), Outcome(State.FAILED, error=error.to_dict()), TTL_S))
    with pytest.raises(SourceError, match=r"no config\.json") as caught:
        job.result(timeout=WAIT_S)
    assert caught.value.details == {"field": "source"}
    assert job.status().error == error.to_dict()


def test_a_job_ends_once(client: Client, worker: Worker) -> None:
    """The first commit stands; a second one, of a worker that was thought dead, changes nothing."""
    job = client.predict("m", ["a"])
    job_id = worker.take()
    assert worker.succeed(job_id, "first")
    assert not worker.succeed(job_id, "second")
    assert worker.run(Start(job_id, "w-2")).word == "final"
    assert job.result(timeout=WAIT_S) == "first"
    assert [attempt.worker for attempt in job.status().attempts] == ["w-1"]


def test_the_same_submission_twice_is_one_job(worker: Worker) -> None:
    """A retry of a call whose reply was lost enqueues nothing more."""
    message = JobMessage.of(LoadJob(model="m"), new_id())
    assert worker.run(Submit(message)).new
    assert not worker.run(Submit(message)).new
    assert worker.store.client.llen(worker.store.names.queue(PREDICT_QUEUE)) == 1


def test_a_timeout_leaves_the_job_alone(client: Client, worker: Worker) -> None:
    """`result(timeout=0)` is a ResultTimeout while the job waits; the same handle has the result later."""
    job = client.predict("m", ["a"])
    with pytest.raises(ResultTimeout):
        job.result(timeout=0)
    worker.succeed(worker.take(), "late")
    assert job.result(timeout=WAIT_S) == "late"


def test_an_unknown_id_is_not_found(client: Client) -> None:
    """Status, result and cancel of an id that was never given out are JobNotFound, at once."""
    job = client.job(new_id())
    for call in (job.status, job.progress, job.cancel, job.result):
        with pytest.raises(JobNotFound):
            call()


# -- cancelling ------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once(client: Client, worker: Worker, settings: Settings) -> None:
    """Cancelled by another client while it is queued, it ends there: the waiting caller hears, no worker starts it."""
    job = client.predict("m", ["a"])
    with Client(settings=settings) as other, elsewhere(lambda: job.result(WAIT_S)) as result:
        assert other.job(job.id).cancel() is State.CANCELLED
        with pytest.raises(JobCancelled) as caught:
            result.result(WAIT_S)
    assert caught.value.details == {"id": job.id}
    assert worker.run(Start(job.id, "w-1")).word == "final"
    assert job.status().cancel_requested
    assert job.cancel() is State.CANCELLED


def test_a_running_job_is_asked_to_end(client: Client, worker: Worker) -> None:
    """Cancelling a running job leaves it running with a flag, which its worker reads with its next progress."""
    job = client.predict("m", ["a"])
    job_id = worker.take()
    assert not worker.run(ReportProgress(job_id, State.RUNNING, Progress(0.5, "batch 1/2")))
    assert job.cancel() is State.RUNNING
    assert job.status().cancel_requested
    assert worker.run(ReportProgress(job_id, State.RUNNING, Progress(0.5, "batch 1/2")))
    assert worker.run(Start(job_id, "w-2")).word == "cancelled"


def test_a_job_that_has_ended_cannot_be_cancelled(client: Client, worker: Worker) -> None:
    """Cancelling after the end returns the final state and takes nothing away."""
    job = client.predict("m", ["a"])
    worker.succeed(worker.take(), "done")
    assert job.cancel() is State.SUCCEEDED
    assert job.result(timeout=WAIT_S) == "done"


# -- lifetimes -------------------------------------------------------------------------------------------------------


def test_results_and_records_have_a_lifetime(client: Client, worker: Worker) -> None:
    """The result lives for its time-to-live after the end, the record for twice that, the message until the end."""
    job = client.predict("m", ["a"])
    redis_client, names = worker.store.client, worker.store.names
    assert redis_client.ttl(names.job(job.id)) > TTL_S
    worker.succeed(worker.take(), "x")
    assert TTL_S - 30 < redis_client.ttl(names.result(job.id)) <= TTL_S
    assert 2 * TTL_S - 30 < redis_client.ttl(names.job(job.id)) <= 2 * TTL_S
    assert not redis_client.exists(names.messages(PREDICT_QUEUE), names.queue(PREDICT_QUEUE))


def test_an_expired_result_says_so(worker: Worker, client: Client, settings: Settings) -> None:
    """After the result's time a caller who had not read it gets ResultExpired, every time; one who had, keeps it."""
    job = client.predict("m", ["a"])
    worker.succeed(worker.take(), "x")
    assert job.result(timeout=WAIT_S) == "x"
    worker.store.client.delete(worker.store.names.result(job.id))  # what its expiry does
    assert job.result(timeout=0) == "x"
    with Client(settings=settings) as other:
        late = other.job(job.id)
        for _ in range(2):
            with pytest.raises(ResultExpired):
                late.result(timeout=WAIT_S)
        assert late.status().state is State.SUCCEEDED


def test_the_server_drops_a_result_by_itself(client: Client, worker: Worker, settings: Settings) -> None:
    """A result with a time-to-live of a second is gone after it, and its record remains to say so."""
    job = client.predict("m", ["a"])
    job_id = worker.take()
    worker.run(Finish(job_id, Outcome(State.SUCCEEDED, codec.encode("result", "x")), 1))
    deadline = time.monotonic() + WAIT_S
    while worker.store.client.exists(worker.store.names.result(job_id)) and time.monotonic() < deadline:
        threading.Event().wait(0.05)  # an expiry tells nobody
    with Client(settings=settings) as other, pytest.raises(ResultExpired):
        other.job(job.id).result(timeout=WAIT_S)


# -- a lost inbox, and a lost server ---------------------------------------------------------------------------------


def test_a_result_arrives_though_the_inbox_was_lost(client: Client, worker: Worker) -> None:
    """With the subscribed connection killed and the job finished in the same moment, the caller still hears soon."""
    job = client.predict("m", ["a"])
    job_id = worker.take()
    with elsewhere(lambda: job.result(WAIT_S)) as result:
        began = time.monotonic()
        assert raw(worker.store.client, "CLIENT", "KILL", "TYPE", "pubsub") >= 1
        worker.succeed(job_id, "heard")
        assert result.result(WAIT_S) == "heard"
    assert time.monotonic() - began < RECHECK_S / 2


def test_bytes_on_the_inbox_that_are_no_event_do_no_harm(client: Client, worker: Worker) -> None:
    """Garbage published to a client's inbox does not end its listening: the next event still wakes the caller."""
    job = client.predict("m", ["a"])
    job_id = worker.take()
    inbox: Any = worker.store.client.hget(worker.store.names.job(job_id), "inboxes")
    for garbage in (b"hello", codec.encode("event", ["no", "event"])):
        assert worker.store.client.publish(worker.store.names.inbox(inbox.decode().strip()), garbage) == 1
    with elsewhere(lambda: job.result(WAIT_S)) as result:
        began = time.monotonic()
        worker.succeed(job_id, "heard")
        assert result.result(WAIT_S) == "heard"
    assert time.monotonic() - began < RECHECK_S / 2


def test_a_caller_waits_through_a_restart_of_the_server(tmp_path: Path) -> None:
    """The server goes away and comes back with what it had accepted; a caller with a time-out gets its result."""
    server = EmbeddedServer(tmp_path / "h")
    server.attach()
    settings = Settings(redis_url=server.url, namespace="n", result_ttl_s=TTL_S)
    with ExitStack() as stack:
        stack.callback(server.detach)
        client = stack.enter_context(Client(settings=settings))
        job = client.predict("m", ["a"])
        result = stack.enter_context(elsewhere(lambda: job.result(WAIT_S)))
        server.detach()  # the last one out: it stops
        server.attach()
        worker = stack.enter_context(playing_worker(settings))
        worker.succeed(worker.take(), "survived")
        assert result.result(WAIT_S) == "survived"


# -- threads and processes -------------------------------------------------------------------------------------------


def test_threads_share_a_client(client: Client, worker: Worker) -> None:
    """Thirty-two threads on one client each get the answer to their own inputs, over one subscription."""
    count = 96

    def serve() -> None:
        for _ in range(count):
            job_id = worker.take()
            worker.succeed(job_id, [f"{text}!" for text in worker.inputs(job_id)])

    def ask(number: int) -> Any:
        return client.predict("m", [str(number)]).result(timeout=WAIT_S)

    with elsewhere(serve) as served, ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(count))) == [[f"{number}!"] for number in range(count)]
        served.result(WAIT_S)
    inboxes: Any = worker.store.client.pubsub_channels(worker.store.names.inbox("*"))
    assert len(inboxes) == 1


FORK = """
import os, sys
from pathlib import Path
from warmlane import Client, Settings
url, namespace = sys.argv[1:]
with Client(settings=Settings(redis_url=url, namespace=namespace)) as client:
    assert client.predict("m", ["before"]).result(timeout=30) == ["before"]
    child = os.fork()
    if not child:
        code = 1
        try:
            assert client.predict("m", ["child"]).result(timeout=30) == ["child"]
            client.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"
    assert client.predict("m", ["parent"]).result(timeout=30) == ["parent"]
print("both")
"""


def test_a_client_works_on_both_sides_of_a_fork(worker: Worker, settings: Settings) -> None:
    """After a fork the child's use of the client works, and so does the parent's, before and after the child's end."""

    def serve() -> None:
        for _ in range(3):
            job_id = worker.take()
            worker.succeed(job_id, worker.inputs(job_id))

    command = [sys.executable, "-W", "ignore", "-c", FORK, str(settings.redis_url), settings.namespace]
    with elsewhere(serve):
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * WAIT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


# -- the event loop --------------------------------------------------------------------------------------------------


def test_the_async_client_does_the_same(worker: Worker, settings: Settings) -> None:
    """In an event loop: many jobs at once, a status, a cancellation, an error and a large result."""

    async def scene() -> None:
        async with AsyncClient(settings=settings) as client:
            jobs = [client.predict("m", [number]) for number in range(20)]
            await asyncio.gather(*jobs)
            taken = await asyncio.to_thread(lambda: [worker.take() for _ in jobs])
            assert sorted(taken) == sorted(job.id for job in jobs)
            assert (await jobs[0].status()).state is State.RUNNING
            waiting = asyncio.gather(*(job.result(timeout=WAIT_S) for job in jobs))
            await asyncio.to_thread(lambda: [worker.succeed(job_id, worker.inputs(job_id)) for job_id in taken])
            assert await waiting == [[number] for number in range(20)]

            job = await client.predict("m", ["large"])
            await asyncio.to_thread(lambda: worker.succeed(worker.take(), b"x" * 100_000))
            async with AsyncClient(settings=settings) as other:
                assert await other.job(job.id).result(timeout=WAIT_S) == b"x" * 100_000

            job = await client.predict("m", ["cancelled"])
            assert await job.cancel() is State.CANCELLED
            with pytest.raises(JobCancelled):
                await job.result(timeout=WAIT_S)
            with pytest.raises(ResultTimeout):
                await client.predict("m", ["waits"]).result(timeout=0)
            with pytest.raises(JobNotFound):
                await client.job(new_id()).result()

    asyncio.run(scene())


def test_the_async_client_survives_the_loss_of_its_inbox(worker: Worker, settings: Settings) -> None:
    """In an event loop too, a killed subscription and garbage on it do not keep a result from its caller."""

    async def scene() -> None:
        async with AsyncClient(settings=settings) as client:
            job = await client.predict("m", ["a"])
            job_id = await asyncio.to_thread(worker.take)
            inbox: Any = worker.store.client.hget(worker.store.names.job(job_id), "inboxes")
            worker.store.client.publish(worker.store.names.inbox(inbox.decode().strip()), b"garbage")
            waiting = asyncio.create_task(job.result(timeout=WAIT_S))
            raw(worker.store.client, "CLIENT", "KILL", "TYPE", "pubsub")
            began = time.monotonic()
            await asyncio.to_thread(worker.succeed, job_id, "heard")
            assert await waiting == "heard"
            assert time.monotonic() - began < RECHECK_S / 2

    asyncio.run(scene())


# -- the fleet -------------------------------------------------------------------------------------------------------


def test_models_and_workers_are_told_by_those_who_have_them(client: Client, worker: Worker) -> None:
    """A published model and a live worker are listed, the one warm on the other, until the worker leaves."""
    assert (client.models(), client.workers()) == ([], [])
    info = ModelInfo("m", (1, 2, 10), "fill-mask", "float32", 5, None)
    for version in (1, 10, 2):
        worker.run(PublishModel(info, version))
    warm = WarmModel("m/2", "fill-mask", "float32", "cpu", 5, False, 0.5)
    adapter = WarmModel("tuned/1", "fill-mask", "float32", "cpu", 1, False, 0.5, base="m/2", base_bytes=5)
    worker_info = WorkerInfo("w-1", "node", 1, "cpu", "ready", 8, 0, 100, ("predict",), (warm, adapter))
    worker.run(Beat(worker_info))
    assert client.workers() == [worker_info]
    (model,) = client.models()
    assert (model.name, model.versions, model.warm_on) == ("m", (1, 2, 10), ("w-1",))

    with pytest.raises(ModelNotFound):
        client.predict("unheard-of", ["a"])
    worker.run(Leave("w-1"))
    assert client.workers() == []
    assert client.predict("unheard-of", ["a"]).status().state is State.QUEUED


def test_namespaces_do_not_see_each_other(client: Client, url: str) -> None:
    """A job of one namespace does not exist in another one of the same server."""
    job = client.predict("m", ["a"])
    with Client(settings=Settings(redis_url=url, namespace=new_id())) as other, pytest.raises(JobNotFound):
        other.job(job.id).status()


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["http://localhost", "localhost:6379", "mysql://u:s3cret@h/1", "redis://h:x/0"])
def test_a_url_that_is_none_is_a_configuration_error(bad: str) -> None:
    """A scheme or port that Redis has not is refused when the client is made, without quoting a password."""
    for kind in (Client, AsyncClient):
        with pytest.raises(ConfigurationError) as caught:
            kind(settings=Settings(redis_url=bad))
        assert "s3cret" not in str(caught.value)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_server_that_is_not_there_is_told_within_the_timeout(tmp_path: Path) -> None:
    """Every call ends with ServerUnreachable in about `connect_timeout_s`, naming the place and no password."""
    for place in (f"redis://app:s3cret@127.0.0.1:{free_port()}/0", f"unix://app:s3cret@{tmp_path}/nobody"):
        settings = Settings(redis_url=place, connect_timeout_s=0.3)

        async def ask(settings: Settings = settings) -> None:
            async with AsyncClient(settings=settings) as client:
                await client.predict("m", ["a"])

        with Client(settings=settings) as client:
            calls: list[Callable[[], Any]] = [
                lambda: client.predict("m", ["a"]),
                lambda: client.load("m"),
                lambda: client.job(new_id()).result(),
                lambda: client.job(new_id()).result(timeout=1),
                lambda: client.job(new_id()).status(),
                lambda: asyncio.run(ask()),
            ]
            for call in calls:
                began = time.monotonic()
                with pytest.raises(ServerUnreachable) as caught:
                    call()
                assert time.monotonic() - began < 2
                assert "s3cret" not in str(caught.value)
                assert "WARMLANE_REDIS_URL" in str(caught.value)


def with_user(url: str, user: str) -> str:
    return url.replace("unix://", f"unix://{user}@")


@contextmanager
def guarded(url: str, password: str) -> Iterator[None]:
    with admin(url) as server:
        server.config_set("requirepass", password)
        try:
            yield
        finally:
            server.config_set("requirepass", "")  # this connection is still let in; those who stop the server are not


def refused_at_once(url: str) -> None:
    """Each call of both clients says what is wrong, soon, and without the password."""

    async def ask() -> None:
        async with AsyncClient(url) as client:
            await client.load("m")

    began = time.monotonic()
    with Client(url) as client:
        calls: list[Callable[[], Any]] = [
            client.workers,
            lambda: client.load("m"),
            lambda: client.job(new_id()).result(timeout=1),
            lambda: asyncio.run(ask()),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError, match="refuses the user or password") as caught:
                call()
            assert not re.search("s3cret|wr0ng", str(caught.value))
    assert time.monotonic() - began < 3


def test_a_password_is_needed_where_the_server_wants_one(own_url: str) -> None:
    """With none or a wrong one, a call is a ConfigurationError that shows no password; with it, it works."""
    with guarded(own_url, "s3cret"):
        for wrong in (own_url, with_user(own_url, ":wr0ng"), with_user(own_url, "nobody:s3cret")):
            refused_at_once(wrong)
        with Client(with_user(own_url, ":s3cret")) as client:
            assert client.load("m").status().state is State.QUEUED


def test_a_user_of_the_access_list_is_named_in_the_url(own_url: str) -> None:
    """User and password work in a `unix://` and in a `redis://` URL; a user without rights is a ConfigurationError."""
    port = free_port()
    with admin(own_url) as server:
        server.config_set("bind", "127.0.0.1")
        server.config_set("port", port)
        raw(server, "ACL", "SETUSER", "app", "on", ">s3cret", "~warmlane:*", "&warmlane:*", "+@all")
        raw(server, "ACL", "SETUSER", "guest", "on", ">s3cret", "~*", "&*", "+ping", "+client", "+subscribe")
        places = (with_user(own_url, "{}:s3cret"), f"redis://{{}}:s3cret@127.0.0.1:{port}/0")
        for place in places:
            settings = Settings(redis_url=place.format("app"), result_ttl_s=TTL_S)
            with Client(settings=settings) as client, playing_worker(settings) as worker:
                job = client.predict("m", ["a"])
                worker.succeed(worker.take(), "yes")
                assert job.result(timeout=WAIT_S) == "yes"
            with Client(place.format("guest")) as client, pytest.raises(ConfigurationError, match="may not do this"):
                client.load("m")


def test_a_server_that_refuses_a_command_is_a_named_error(own_url: str) -> None:
    """Any other refusal, such as that of a full server or of keys of a wrong type, is an error of ours."""
    with admin(own_url) as server, Client(own_url) as client:
        server.set("warmlane:mq:predict", "not a list")
        with pytest.raises(InternalError, match="refused a command"):
            client.load("m")
        server.config_set("maxmemory", 1)
        with pytest.raises(ServerUnreachable, match="out of memory"):
            client.load("m")


def test_a_silent_server_is_told_within_the_timeout_each_time(tmp_path: Path) -> None:
    """One that takes calls and answers none: also to the calls that need a connection of their own, after the first."""
    server = Server(tmp_path / "h")
    server.attach()
    settings = Settings(redis_url=server.url, connect_timeout_s=0.5)

    async def ask(client: AsyncClient) -> float:
        began = time.monotonic()
        with pytest.raises(ServerUnreachable):
            await client.workers()
        return time.monotonic() - began

    async def ask_twice() -> list[float]:
        async with AsyncClient(settings=settings) as client:
            await client.workers()
            server.freeze()
            return [await ask(client) for _ in range(2)]

    try:
        assert max(asyncio.run(ask_twice())) < 3 * settings.connect_timeout_s
    finally:
        server.thaw()
        server.detach()


# -- TLS -------------------------------------------------------------------------------------------------------------


def make_certificates(home: Path) -> None:
    """An authority, and a certificate for this host."""
    assert OPENSSL is not None

    def run(*arguments: str) -> None:
        subprocess.run([OPENSSL or "", *arguments], cwd=home, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "1", "-subj", "/CN=test authority")
    run("req", *key, "-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=localhost")
    (home / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    run("x509", "-req", "-in", "own.csr", *signing, "-out", "own.crt", "-days", "1")


@pytest.fixture(params=["redis-server"] if REDIS and OPENSSL else [])
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server that speaks TLS only, and the authority that signed it."""
    home = tmp_path / "h"
    home.mkdir()
    make_certificates(home)
    files = ("--tls-cert-file", "own.crt", "--tls-key-file", "own.key", "--tls-ca-cert-file", "ca.crt")
    port = free_port()
    options = ("--bind", "127.0.0.1", "--tls-port", str(port), "--tls-auth-clients", "no")
    with debian(home, *options, *(str(home / text) if text.startswith(("own", "ca")) else text for text in files)):
        yield f"rediss://127.0.0.1:{port}/0", home / "ca.crt"


if REDIS and OPENSSL:

    def test_a_rediss_url_speaks_tls(tls: tuple[str, Path]) -> None:
        """With the authority named in the URL, jobs and events go over TLS."""
        place, authority = tls
        settings = Settings(redis_url=f"{place}?ssl_ca_certs={authority}", result_ttl_s=TTL_S)
        with Client(settings=settings) as client, playing_worker(settings) as worker:
            job = client.predict("m", ["a"])
            with elsewhere(lambda: job.result(WAIT_S)) as result:
                worker.succeed(worker.take(), "private")
                assert result.result(WAIT_S) == "private"

    def test_a_certificate_of_an_unknown_authority_is_not_trusted(tls: tuple[str, Path]) -> None:
        """Without the authority, and in plain text, the server counts as unreachable."""
        place, _ = tls
        for other in (place, place.replace("rediss://", "redis://")):
            with (
                Client(settings=Settings(redis_url=other, connect_timeout_s=0.2)) as client,
                pytest.raises(ServerUnreachable),
            ):
                client.workers()


# -- the embedded server's life --------------------------------------------------------------------------------------

USER = """
import sys
from pathlib import Path
from warmlane.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.attach()
print("attached", flush=True)
sys.stdin.readline()
server.detach()
print("detached", flush=True)
"""


@contextmanager
def user_of(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the embedded server until it reads a line."""
    with subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "attached\n"
            yield process
        finally:
            process.kill()


def leave(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate("\n", timeout=WAIT_S)
    assert output == "detached\n"


def server_pid(home: Path) -> int | None:
    """The process that answers at the home's socket, if one does."""
    with admin(EmbeddedServer(home).url) as client:
        try:
            info: Any = client.info("server")
        except redis.ConnectionError:
            return None
    pid: int = info["process_id"]
    return pid


def test_two_processes_share_the_embedded_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    """The second process joins the first one's server; it outlives the first, and ends with the last."""
    home = tmp_path / "h"
    with user_of(home) as first, user_of(home) as second:
        pid = server_pid(home)
        assert pid is not None
        leave(first)
        assert server_pid(home) == pid
        leave(second)
        assert server_pid(home) is None
    assert not EmbeddedServer(home).socket.exists()


def test_processes_that_start_together_start_one_server(tmp_path: Path) -> None:
    """Four processes that attach in the same moment find themselves on the same server."""
    home = tmp_path / "h"
    home.mkdir()
    code = USER.replace('print("attached", flush=True)', "import redis; print(redis.Redis.from_url(server.url)"
                        ".info('server')['process_id'], flush=True)")  # fmt: skip
    with ExitStack() as stack:
        users = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-c", code, str(home)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        pids = {process.stdout.readline() for process in users if process.stdout}
        for process in users:
            process.communicate("\n", timeout=WAIT_S)
    assert len(pids) == 1
    assert server_pid(home) is None


def test_the_server_of_a_killed_process_is_adopted(tmp_path: Path) -> None:
    """A server whose only user was killed goes on; the next process uses it, with its jobs, and stops it at its end."""
    home = tmp_path / "h"
    with user_of(home) as victim:
        pid = server_pid(home)
        with Client(EmbeddedServer(home).url) as client:
            job_id = client.load("m").id
        victim.send_signal(signal.SIGKILL)
        victim.wait(WAIT_S)
    assert server_pid(home) == pid
    with user_of(home) as heir:
        assert server_pid(home) == pid
        with Client(EmbeddedServer(home).url) as client:
            assert client.job(job_id).status().state is State.QUEUED
        leave(heir)
    assert server_pid(home) is None


def test_jobs_survive_the_embedded_server(tmp_path: Path) -> None:
    """What was accepted before the last process left is in its queue when the next one comes."""
    home = tmp_path / "h"
    with embedded(home) as url, Client(url) as client:
        job_id = client.predict("m", ["kept"]).id
    assert server_pid(home) is None
    with embedded(home) as url:
        settings = Settings(redis_url=url, result_ttl_s=TTL_S)
        with Client(settings=settings) as client, playing_worker(settings) as worker:
            assert worker.take() == job_id
            assert worker.inputs(job_id) == ["kept"]
            worker.succeed(job_id, "done")
            assert client.job(job_id).result(timeout=WAIT_S) == "done"


def test_a_server_that_was_killed_is_started_again(tmp_path: Path) -> None:
    """After the server itself was killed, the next process that attaches starts one on what it had written."""
    home = tmp_path / "h"
    with embedded(home) as url:
        with Client(url) as client:
            job_id = client.load("m").id
        with admin(url) as server:
            raw(server, "WAITAOF", "1", "0", str(WAIT_S * 1000))  # synced to the disk, not only written
        pid = server_pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with embedded(home):
            assert server_pid(home) not in (None, pid)
            with Client(url) as client:
                assert client.job(job_id).status().state is State.QUEUED


def test_a_server_that_is_too_busy_to_answer_gets_no_rival(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would write the same file. Whoever comes hears that it runs, and uses it when it answers again."""
    home = tmp_path / "h"
    monkeypatch.setattr("warmlane.embedded._PATIENCE_S", 0.1)
    with embedded(home) as url, Client(url) as client:
        job_id = client.load("m").id
        pid = server_pid(home)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ServerUnreachable, match="runs and does not answer"), embedded(home):
                pass
        finally:
            os.kill(pid, signal.SIGCONT)
        with embedded(home):
            assert server_pid(home) == pid
            assert client.job(job_id).status().state is State.QUEUED


def test_the_embedded_server_is_private(tmp_path: Path) -> None:
    """Its directory is open to its user only, and it listens on no port."""
    home = tmp_path / "h"
    with embedded(home) as url, admin(url) as client:
        assert stat.S_IMODE((home / "embedded").stat().st_mode) == 0o700
        ports: Any = client.config_get("port")
        assert list(ports.values()) in (["0"], [b"0"])


def test_a_client_without_a_url_brings_its_own_server(tmp_path: Path) -> None:
    """With no URL set, making a client is enough; the server is gone when the process has ended."""
    code = (
        "import json\nfrom warmlane import Client\n"
        "with Client() as client:\n"
        "    job = client.load('m')\n"
        "    print(json.dumps([job.id, job.status().state]))\n"
    )
    env = {**os.environ, "WARMLANE_HOME": str(tmp_path / "h"), "WARMLANE_REDIS_URL": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=2 * WAIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[1] == "QUEUED"
    assert server_pid(tmp_path / "h") is None


def test_a_client_starts_its_own_server_again(tmp_path: Path) -> None:
    """A process whose embedded server was killed has another one with its next client; the first goes on with it."""
    code = (
        "import os, signal, redis\nfrom warmlane import Client\nfrom warmlane.embedded import server_url\n"
        "with Client() as client:\n"
        "    with redis.Redis.from_url(server_url(client.settings)) as server:\n"
        "        killed = server.info('server')['process_id']\n"
        "    os.kill(killed, signal.SIGKILL)\n"
        "    with Client():\n"
        "        print(client.load('m').status().state)\n"
    )
    env = {**os.environ, "WARMLANE_HOME": str(tmp_path / "h"), "WARMLANE_REDIS_URL": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=2 * WAIT_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "QUEUED\n", "")
    assert server_pid(tmp_path / "h") is None


def test_a_home_too_deep_for_a_socket_is_told(tmp_path: Path) -> None:
    """A home whose socket path no system could open is a ConfigurationError that names the variable."""
    with pytest.raises(ConfigurationError, match="WARMLANE_HOME is too long"):
        EmbeddedServer(tmp_path / ("x" * 100))
