"""A job's news and a fleet's state, on a real server and over HTTP. The test plays the worker, one step at a time."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from queue import SimpleQueue
from typing import Any

import httpx
import pytest

from warmlane import AsyncClient, Client, Settings, State, codec
from warmlane._slots import Slot
from warmlane._wire import RECHECK_S
from warmlane.dead import Bury
from warmlane.errors import JobExpired, JobNotFound
from warmlane.gateway.app import create_app
from warmlane.jobs import new_id
from warmlane.keys import Keys
from warmlane.lanes import Take
from warmlane.ops import Finish, ReportProgress, Start
from warmlane.records import Outcome
from warmlane.registry import Beat, Leave, PublishModel
from warmlane.rescue import Rehome
from warmlane.results import JobEvent, ModelInfo, Progress, WarmModel, WorkerInfo
from warmlane.store import RedisStore, connect
from warmlane.stream import AppendText, Piece

#: Sooner than the next look at a record without news: what is told by then was told, and not found out.
LIMIT_S = RECHECK_S / 2
WARM = WarmModel("chat/1", "text-generation", "float32", "cpu", 700, True, 0.0)


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(redis_url=url, namespace=new_id())


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings=settings) as client:
        yield client


class Worker:
    """What a worker does to the store."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store

    def beat(self, name: str = "w1", state: str = "ready", pool: str = "default") -> None:
        queue = "predict" if pool == "default" else f"predict.{pool}"
        self.store.run(Beat(WorkerInfo(name, "node", 1, "cpu", state, 64, 0, 100, (queue, "manage"), (WARM,), pool)))

    def start(self, job_id: str) -> None:
        assert self.store.run(Start(job_id, "w1", "life")).word == "run"

    def report(self, job_id: str, fraction: float, phase: str) -> None:
        self.store.run(ReportProgress(job_id, State.RUNNING, Progress(fraction, phase)))

    def tell(self, job_id: str, at: int, text: str, attempt: int = 1) -> None:
        self.store.run(AppendText(job_id, attempt, Piece(at, text)))

    def succeed(self, job_id: str, result: Any) -> None:
        self.store.run(Finish(job_id, Outcome(State.SUCCEEDED, codec.encode("result", result)), 600))

    def answer(self, job_id: str, *pieces: str) -> None:
        """A whole life of a job that tells its text."""
        self.start(job_id)
        for at, piece in zip(itertools.accumulate(map(len, pieces), initial=0), pieces, strict=False):
            self.tell(job_id, at, piece)
        self.succeed(job_id, ["".join(pieces)])


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    assert settings.redis_url
    redis = connect(settings.redis_url, retry_s=1)
    yield Worker(RedisStore(redis, Keys(settings.namespace), settings.redis_url))
    redis.close()
    redis.connection_pool.disconnect()


def told(event: JobEvent) -> tuple[str, str, str]:
    return event.kind, event.status.state.value, event.text or event.status.progress.phase


# -- a job's news ----------------------------------------------------------------------------------------------------


def test_each_change_of_a_job_wakes_who_watches_it(
    client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up, phases, pieces of text, the end: each is told when it happens, in order, and nothing behind the end."""
    job = client.predict("chat", "hello", stream=True)
    waits, heard = threading.Semaphore(0), SimpleQueue[tuple[str, str, str]]()
    pause = client._transport.pause

    def wait(slot: Slot, seconds: float) -> None:
        waits.release()
        pause(slot, seconds)

    monkeypatch.setattr(client._transport, "pause", wait)
    reader = threading.Thread(target=lambda: [heard.put(told(event)) for event in job.events()])
    reader.start()
    steps: list[tuple[Callable[[], Any], tuple[str, str, str]]] = [
        (lambda: worker.start(job.id), ("status", "RUNNING", "running")),
        (lambda: worker.report(job.id, 0.5, "rows 1/2"), ("status", "RUNNING", "rows 1/2")),
        (lambda: worker.tell(job.id, 0, "Good day"), ("text", "RUNNING", "Good day")),
        (lambda: worker.succeed(job.id, ["Good day"]), ("end", "SUCCEEDED", "done")),
    ]
    assert heard.get(timeout=LIMIT_S) == ("status", "QUEUED", "queued")
    for step, expected in steps:
        assert waits.acquire(timeout=LIMIT_S)  # nothing but news wakes it now
        step()
        assert heard.get(timeout=LIMIT_S) == expected
    reader.join(LIMIT_S)
    assert not reader.is_alive()


def test_what_is_known_of_a_text_is_not_told_again(client: Client, worker: Worker) -> None:
    """Whoever has some characters of a text is told the rest, from the middle of a piece as well."""
    job = client.predict("chat", "hello", stream=True)
    worker.answer(job.id, "Good ", "day", "!")
    text = [(event.at, event.text) for event in job.events(after=6) if event.kind == "text"]
    assert text == [(6, "ay!")]


def test_a_text_that_goes_on_otherwise_is_told_no_further(client: Client, worker: Worker) -> None:
    """A second attempt that says something else is told as an interruption; the end comes all the same."""
    job = client.predict("chat", "hello", stream=True)
    news = job.events()
    worker.start(job.id)
    worker.tell(job.id, 0, "Good day")
    assert [next(news).kind, next(news).kind] == ["status", "text"]
    worker.start(job.id)  # after the first one's death
    worker.tell(job.id, 0, "Bad luck", attempt=2)
    worker.succeed(job.id, ["Bad luck"])
    kinds = [event.kind for event in news]
    assert kinds == ["interrupted", "end"]


def test_news_of_a_job_that_nobody_takes_up_end_with_its_deadline(client: Client) -> None:
    """Soon after it, though there is no worker that could say so."""
    began = time.monotonic()
    *_, last = client.predict("chat", "hello", deadline=0.05).events()
    assert (last.kind, last.status.state) == ("end", State.EXPIRED)
    assert time.monotonic() - began < LIMIT_S


def test_a_text_that_nobody_begins_ends_with_its_deadline(client: Client) -> None:
    """Whoever waits for the first piece hears that it comes too late."""
    with pytest.raises(JobExpired):
        next(client.predict("chat", "hello", stream=True, deadline=0.05).stream(timeout=LIMIT_S))


def test_a_job_that_nobody_knows_has_no_news(client: Client) -> None:
    """An id without a record is `JobNotFound`."""
    with pytest.raises(JobNotFound):
        next(client.job(new_id()).events())


# -- a fleet ---------------------------------------------------------------------------------------------------------


def test_a_fleet_tells_what_waits_and_how_long(client: Client, worker: Worker) -> None:
    """Jobs in lanes and lists of any priority count as waiting, those that workers took as taken."""
    worker.beat()
    began = time.time()
    for priority in ("normal", "high", "low"):  # into the lane of the worker that holds the model
        client.load("chat", priority=priority)
    client.load("chat")
    client.save("other", "org/repo")  # into the list that all share
    assert worker.store.run(Take("predict", "w1", 1))
    fleet = client.fleet()
    queue = fleet.queues[1]
    assert queue.bytes > 0
    assert 0 <= queue.oldest_s <= time.time() - began + 1
    assert [(queue.name, queue.waiting, queue.taken) for queue in fleet.queues] == [("manage", 1, 0), ("predict", 3, 1)]
    assert [info.id for info in fleet.workers] == ["w1"]


def test_a_fleet_knows_the_queues_of_its_pools_and_its_dead(client: Client, worker: Worker) -> None:
    """A pool's queue is listed where one of its workers lives; dead letters are counted."""
    worker.beat("w2", pool="a100")
    job = client.load("chat", pool="a100")
    assert worker.store.run(Bury(job.id, "predict.a100", "poison_job"))
    fleet = client.fleet()
    assert [(queue.name, queue.waiting) for queue in fleet.queues] == [
        ("manage", 0),
        ("predict", 0),
        ("predict.a100", 1),
    ]
    assert fleet.dead == 1


def test_a_queue_is_told_of_while_jobs_are_in_it(client: Client, worker: Worker) -> None:
    """Also when the last worker of its pool is gone, until the last job has ended, whoever took it."""
    worker.beat("w2", pool="a100")
    job = client.load("chat", pool="a100")
    worker.store.run(Rehome("predict.a100", "w2"))
    worker.store.run(Leave("w2"))
    assert [(queue.name, queue.waiting) for queue in client.fleet().queues][2:] == [("predict.a100", 1)]
    worker.store.run(Take("predict.a100", "w2", 1))
    assert [(queue.name, queue.taken) for queue in client.fleet().queues][2:] == [("predict.a100", 1)]
    worker.start(job.id)
    worker.store.run(Finish(job.id, Outcome(State.SUCCEEDED, b""), 600, "predict.a100", "w2"))
    assert [queue.name for queue in client.fleet().queues] == ["manage", "predict"]


# -- over HTTP -------------------------------------------------------------------------------------------------------


def over_http(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop, with a gateway to talk to."""

    @functools.wraps(test)
    def run(settings: Settings, worker: Worker, client: Client) -> None:
        async def in_loop() -> None:
            async with AsyncClient(settings=settings) as asynchronous:
                app = create_app(asynchronous)
                async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
                    http.app = app  # type: ignore[attr-defined]
                    await test(http, worker, client)

        asyncio.run(in_loop())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would take its arguments for fixtures
    return run


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream, as a browser reads them."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        for block in text.split("\n\n")
        if block.strip(":\n")
    ]
    return [block | {"data": json.loads(block["data"])} for block in blocks if "event" in block]


@over_http
async def test_events_are_a_stream_that_ends_with_the_result(http: Any, worker: Worker, client: Client) -> None:
    """Server-sent events: pieces of text under the number of characters so far, at last the record with the result."""
    job = client.predict("chat", "hello", stream=True)
    worker.answer(job.id, "Good\n", "day")
    answer = await http.get(f"/v1/jobs/{job.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    text, end = events(answer.text)
    assert (text["event"], text["id"], text["data"]) == ("text", "8", {"at": 0, "text": "Good\nday"})
    assert (end["event"], end["id"], end["data"]["state"]) == ("end", "end", "SUCCEEDED")
    assert end["data"]["result"] == ["Good\nday"]


@over_http
async def test_a_caller_who_comes_back_is_told_the_rest(http: Any, worker: Worker, client: Client) -> None:
    """`Last-Event-ID` resumes the text; behind the end there is a 204, which keeps a browser away."""
    job = client.predict("chat", "hello", stream=True)
    worker.answer(job.id, "Good ", "day")
    place = f"/v1/jobs/{job.id}/events"
    text, _ = events((await http.get(place, headers={"Last-Event-ID": "5"})).text)
    assert text["data"] == {"at": 5, "text": "day"}
    assert (await http.get(place, headers={"Last-Event-ID": "end"})).status_code == 204
    assert (await http.get(place, headers={"Last-Event-ID": "five"})).status_code == 400


@over_http
async def test_a_stream_ends_when_the_server_stops(http: Any, worker: Worker, client: Client) -> None:
    """A job that goes on keeps no gateway from stopping: its stream ends without an end."""
    job = client.predict("chat", "hello")
    http.app.state.stopping.set()
    async with asyncio.timeout(LIMIT_S):
        answer = await http.get(f"/v1/jobs/{job.id}/events")
    assert "end" not in {event["event"] for event in events(answer.text)}


@over_http
async def test_events_of_no_job_are_a_404(http: Any, worker: Worker, client: Client) -> None:
    """What does not exist is a problem document, and no stream."""
    answer = await http.get(f"/v1/jobs/{new_id()}/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@over_http
async def test_models_and_workers_are_listed(http: Any, worker: Worker, client: Client) -> None:
    """What the clients tell of models and workers, in JSON and in msgpack."""
    worker.beat()
    worker.store.run(PublishModel(ModelInfo("chat", (1,), "text-generation", "float32", 700, None), 1))
    (model,) = (await http.get("/v1/models")).json()["models"]
    assert (model["name"], model["versions"], model["warm_on"]) == ("chat", [1], ["w1"])
    packed = await http.get("/v1/workers", headers={"Accept": "application/msgpack"})
    (info,) = codec.decode("response", packed.content)["workers"]
    assert (info["id"], info["models"][0]["model"], info["models"][0]["bytes"]) == ("w1", "chat/1", 700)


@over_http
async def test_a_scrape_of_the_gateway_has_the_fleet(http: Any, worker: Worker, client: Client) -> None:
    """`/metrics` has depth, bytes and age by queue, workers by pool and state, and the dead letters."""
    worker.beat()
    worker.beat("w2", "draining")
    worker.beat("w3", pool="a100")
    await asyncio.to_thread(client.load, "chat")
    await asyncio.to_thread(client.load, "chat", pool="a100")
    worker.store.run(Leave("w3"))
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for expected in (
        'warmlane_queue_waiting_jobs{queue="predict"} 1.0',
        'warmlane_queue_taken_jobs{queue="predict"} 0.0',
        'warmlane_workers{pool="default",state="ready"} 1.0',
        'warmlane_workers{pool="default",state="draining"} 1.0',
        'warmlane_workers{pool="default",state="starting"} 0.0',
        'warmlane_queue_waiting_jobs{queue="predict.a100"} 1.0',
        'warmlane_workers{pool="a100",state="ready"} 0.0',
        "warmlane_dead_letters 0.0",
    ):
        assert expected in lines
    assert any(line.startswith('warmlane_queue_oldest_job_seconds{queue="predict"} ') for line in lines)
