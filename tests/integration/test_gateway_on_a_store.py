"""The gateway on a real store: the embedded server, with a coroutine that plays the worker."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from warmlane import codec
from warmlane.aio import AsyncClient
from warmlane.errors import SourceError
from warmlane.gateway.app import create_app
from warmlane.keys import Keys
from warmlane.ops import Finish, ReportProgress, Start
from warmlane.records import Outcome
from warmlane.registry import PublishModel
from warmlane.results import ModelInfo, Progress, State, Table
from warmlane.settings import Settings
from warmlane.store import AsyncRedisStore, connect_async

NAMES = Keys()
RESULT_TTL_S = 3600
PREDICT = {"kind": "predict", "model": "sentiment", "inputs": ["great", "awful"]}
TABLE = Table({"label": ["good", "bad"], "score": [0.9, float("nan")]})


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


class Worker:
    """What a worker does to the store, one step a call."""

    def __init__(self, url: str) -> None:
        self.store = AsyncRedisStore(connect_async(url, retry_s=1), NAMES, url)

    async def take(self) -> str:
        """Take up the next job; its id."""
        taken: Any = await self.store.client.blpop([NAMES.queue("predict")], timeout=30)
        assert taken is not None
        job_id = bytes(taken[1]).decode()
        assert (await self.store.run(Start(job_id, "worker-1"))).word == "run"
        return job_id

    async def succeed(self, job_id: str, result: Any) -> None:
        outcome = Outcome(State.SUCCEEDED, codec.encode("result", result))
        assert await self.store.run(Finish(job_id, outcome, RESULT_TTL_S))

    async def close(self) -> None:
        await self.store.client.aclose()
        await self.store.client.connection_pool.disconnect()


@asynccontextmanager
async def fleet(url: str) -> Any:
    """A gateway to talk to, and a worker to drive."""
    async with AsyncClient(url) as client:
        transport = httpx.ASGITransport(create_app(client))
        worker = Worker(url)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            yield http, worker
        await worker.close()


@in_loop
async def test_a_job_goes_from_accepted_to_its_result(url: str) -> None:
    """A submitted job is a 202 with its place; once a worker has finished it, that place has its result."""
    async with fleet(url) as (http, worker):
        accepted = await http.post("/v1/jobs", json=PREDICT)
        assert (accepted.status_code, accepted.json()["state"]) == (202, "QUEUED")
        place = accepted.headers["location"]

        job_id = await worker.take()
        assert place == f"/v1/jobs/{job_id}"
        await worker.store.run(ReportProgress(job_id, State.LOADING, Progress(0.5, "loading")))
        going = await http.get(place)
        assert (going.status_code, going.headers["retry-after"]) == (200, "1")
        assert (going.json()["state"], going.json()["progress"]["fraction"]) == ("LOADING", 0.5)
        assert "result" not in going.json()

        await worker.succeed(job_id, TABLE)
        done = await http.get(place)
        assert (done.json()["state"], done.json()["model"]) == ("SUCCEEDED", "sentiment")
        assert done.json()["result"] == {"columns": ["label", "score"], "rows": [["good", 0.9], ["bad", None]]}
        assert "retry-after" not in done.headers


@in_loop
async def test_a_caller_who_prefers_to_wait_gets_the_finished_job(url: str) -> None:
    """POST with `Prefer: wait=N` answers 200 with the result as soon as the job has ended."""
    async with fleet(url) as (http, worker):
        asked = asyncio.create_task(http.post("/v1/jobs", json=PREDICT, headers={"Prefer": "wait=30"}))
        job_id = await worker.take()
        await worker.succeed(job_id, ["yes"])
        answer = await asked
        assert (answer.status_code, answer.json()["result"]) == (200, ["yes"])
        assert answer.headers["preference-applied"] == "wait=30"
        assert answer.headers["content-location"] == f"/v1/jobs/{job_id}"


@in_loop
async def test_a_long_poll_from_another_gateway_sees_the_end(url: str) -> None:
    """GET with `Prefer: wait=N` waits for a job that another process enqueued."""
    async with fleet(url) as (http, worker), fleet(url) as (other, _):
        accepted = await other.post("/v1/jobs", json=PREDICT)
        job_id = await worker.take()
        asked = asyncio.create_task(http.get(accepted.headers["location"], headers={"Prefer": "wait=30"}))
        await worker.succeed(job_id, "x" * 100_000)  # too large for the event: it has to be fetched
        answer = await asked
        assert (answer.json()["state"], len(answer.json()["result"])) == ("SUCCEEDED", 100_000)


@in_loop
async def test_a_failed_job_is_an_answer_and_not_a_failure(url: str) -> None:
    """A job that failed is a 200 whose record carries the worker's error."""
    async with fleet(url) as (http, worker):
        asked = asyncio.create_task(http.post("/v1/jobs", json=PREDICT, headers={"Prefer": "wait=30"}))
        error = SourceError("no config.json there; give a checkpoint directory", field="source")
        job_id = await worker.take()
        await worker.store.run(Finish(job_id, Outcome(State.FAILED, error=error.to_dict()), RESULT_TTL_S))
        answer = await asked
        assert (answer.status_code, answer.json()["state"]) == (200, "FAILED")
        assert answer.json()["error"] == error.to_dict()
        assert "result" not in answer.json()


@in_loop
async def test_a_result_that_has_expired_is_gone(url: str) -> None:
    """When the result has expired and the record has not, the answer is 410, the record, and what happened."""
    async with fleet(url) as (http, worker):
        accepted = await http.post("/v1/jobs", json=PREDICT)
        job_id = await worker.take()
        await worker.succeed(job_id, ["late"])
        await worker.store.client.delete(NAMES.result(job_id))
        answer = await http.get(accepted.headers["location"])
        assert (answer.status_code, answer.json()["state"]) == (410, "SUCCEEDED")
        assert (answer.json()["result"], answer.json()["error"]["code"]) == (None, "result_expired")


@in_loop
async def test_delete_cancels(url: str) -> None:
    """DELETE cancels a job that waits at once, and answers with its record."""
    async with fleet(url) as (http, worker):
        place = (await http.post("/v1/jobs", json=PREDICT)).headers["location"]
        answer = await http.delete(place)
        assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
        assert answer.json()["error"]["code"] == "job_cancelled"
        await worker.store.client.delete(NAMES.queue("predict"))


@in_loop
async def test_inputs_that_do_not_fit_the_signature_are_refused(url: str) -> None:
    """What the model's published signature rules out is a 422 that names the row, and nothing is enqueued."""
    async with fleet(url) as (http, worker):
        signature = {"inputs": [{"type": "string", "required": True}], "outputs": [], "params": None}
        await worker.store.run(PublishModel(ModelInfo("typed", (1,), "text-generation", None, 1, signature), 1))
        answer = await http.post("/v1/jobs", json={"kind": "predict", "model": "typed", "inputs": ["secret", 7]})
        assert (answer.status_code, answer.json()["code"]) == (422, "schema_mismatch")
        assert answer.json()["details"] == {"field": "inputs[1]", "expected": "string"}
        assert "secret" not in answer.text
        assert await worker.store.client.llen(NAMES.queue("predict")) == 0


@in_loop
async def test_an_unknown_job_is_not_found_and_a_store_that_answers_is_ready(url: str) -> None:
    """An id that was never given out is a 404 problem; `/readyz` is 200 while the store answers."""
    async with fleet(url) as (http, _):
        missing = await http.get(f"/v1/jobs/{'0' * 32}", headers={"Prefer": "wait=30"})
        assert (missing.status_code, missing.json()["code"]) == (404, "job_not_found")
        assert (await http.get("/readyz")).status_code == 200


@in_loop
async def test_without_a_store_the_process_is_healthy_but_not_ready(tmp_path: Path) -> None:
    """With no server at the URL, `/healthz` is 200; `/readyz` and jobs are 503, name no host and say when to retry."""
    settings = Settings(redis_url=f"unix://{tmp_path}/nobody", connect_timeout_s=0.1)
    async with AsyncClient(settings=settings) as client:
        transport = httpx.ASGITransport(create_app(client))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            for answer in (await http.get("/readyz"), await http.post("/v1/jobs", json=PREDICT)):
                assert (answer.status_code, answer.json()["code"]) == (503, "server_unreachable")
                assert answer.headers["retry-after"] == "5"
                assert "nobody" not in answer.text


@in_loop
async def test_an_application_closes_the_client_that_it_made_and_no_other(url: str) -> None:
    """After the lifespan a client of the application's own has no connections; one that was given still works."""
    own = create_app(settings=Settings(redis_url=url))
    async with own.router.lifespan_context(own):
        transport = httpx.ASGITransport(own)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            assert (await http.post("/v1/jobs", json=PREDICT)).status_code == 202
    # What it had left open would be a ResourceWarning, and these are errors.

    async with AsyncClient(url) as client:
        given = create_app(client)
        async with given.router.lifespan_context(given):
            pass
        assert await client.workers() == []
    worker = Worker(url)
    await worker.take()
    await worker.close()


SERVE = """
import sys
from warmlane.gateway import serve
from warmlane.settings import Settings
serve("127.0.0.1", 0, Settings(redis_url=sys.argv[1]))
print("returned")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_and_releases_who_waits(url: str, number: signal.Signals) -> None:
    """On SIGTERM or Ctrl-C a long poll is answered with the job as it stands, and `serve` returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            asyncio.run(_poll_and_signal(url, _base_url(process), process.pid, number))
            output, log = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert output.splitlines()[-1] == "returned"
    assert "Traceback" not in log


def _base_url(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
        if found:
            return found[0]
    raise AssertionError("the server ended before it served")


async def _poll_and_signal(url: str, base_url: str, pid: int, number: signal.Signals) -> None:
    worker = Worker(url)
    async with httpx.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as http:
        asked = asyncio.create_task(http.post("/v1/jobs", json=PREDICT, headers={"Prefer": "wait=60"}))
        await worker.take()  # from here on the request is waiting, or about to
        os.kill(pid, number)
        answer = await asked
    await worker.close()
    assert (answer.status_code, answer.json()["state"]) == (202, "RUNNING")
