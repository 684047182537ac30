"""How applications use warmlane, for the type checker: each line says what type it has. Never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_type

from warmlane import (
    AsyncClient,
    AsyncJob,
    Client,
    Job,
    JobStatus,
    ModelInfo,
    NDArray,
    Progress,
    Settings,
    State,
    Table,
    WarmlaneError,
    WarmModel,
    WorkerInfo,
)
from warmlane.errors import BY_CODE, ResultTimeout, from_dict
from warmlane.jobs import PredictJob
from warmlane.testing import FakeLane


def blocking() -> None:
    settings = Settings.from_env(result_ttl_s=60)
    assert_type(settings, Settings)
    with Client(settings=settings) as client:
        assert_type(client, Client)
        assert_type(client.save("m", Path("checkpoint"), task="fill-mask", metadata={"by": "me"}), Job)
        assert_type(client.save("m", {"model": "org/model", "tokenizer": "org/tokenizer"}), Job)
        assert_type(client.load("m", dtype="float16", pin=True), Job)
        assert_type(client.persist("m/1"), Job)
        assert_type(client.unload("m"), Job)
        assert_type(client.alias("m/1", "prod"), Job)
        assert_type(client.delete("m/1"), Job)
        assert_type(client.submit(PredictJob(model="m", inputs=["a"])), Job)
        job = client.predict("m", ["a"], params={"top_k": 1}, dtype="bfloat16")
        assert_type(job.id, str)
        assert_type(job.status(), JobStatus)
        assert_type(job.progress(), Progress)
        assert_type(job.progress().fraction, float)
        assert_type(job.result(timeout=1.5), Any)
        assert_type(job.cancel(), State)
        assert_type(list(client.predict("m", "a", stream=True)), list[str])
        assert_type(job.stream(timeout=1.5), Iterator[str])
        assert_type(client.job(job.id), Job)
        assert_type(client.models(), list[ModelInfo])
        assert_type(client.workers(), list[WorkerInfo])
        assert_type(client.workers()[0].models, tuple[WarmModel, ...])
        assert_type(client.models()[0].signature, Mapping[str, Any] | None)
        assert_type(client.models()[0].aliases, Mapping[str, int])


async def in_a_loop() -> None:
    async with AsyncClient("redis://localhost") as client:
        assert_type(client, AsyncClient)
        job = client.predict("m", "a")
        assert_type(job, AsyncJob)
        assert_type(await job, AsyncJob)
        assert_type(await job.status(), JobStatus)
        assert_type(await job.result(), Any)
        assert_type(await job.cancel(), State)
        assert_type([text async for text in client.predict("m", "a", stream=True)], list[str])
        assert_type(job.stream(), AsyncIterator[str])
        assert_type(await client.models(), list[ModelInfo])


def values(table: Table, array: NDArray, status: JobStatus) -> None:
    assert_type(len(table), int)
    assert_type(table["score"], Sequence[Any])
    assert_type(table.rows(), list[dict[str, Any]])
    assert_type([row["label"] for row in table], list[Any])
    assert_type(array.shape, tuple[int, ...])
    assert_type(array.data, bytes)
    assert_type(status.state.final, bool)
    assert_type(status.worker, str | None)
    assert_type(status.started, float | None)
    assert_type(status.to_dict(), dict[str, Any])


def failures(client: Client) -> None:
    try:
        client.job("0" * 32).result(timeout=0)
    except ResultTimeout as late:
        assert_type(late.details, dict[str, Any])
        assert_type(late.to_dict(), dict[str, Any])
    except WarmlaneError as error:
        assert_type(error.code, str)
        assert_type(error.retryable, bool)
        assert_type(error.message, str)
    assert_type(from_dict({"code": "codec"}), WarmlaneError)
    assert_type(BY_CODE["codec"], type[WarmlaneError])


def in_tests(lane: FakeLane) -> None:
    assert_type(lane.client(), Client)


def mistakes(client: Client, job: Job) -> None:
    """Every ignore is needed: without the error it names, the type checker complains of the ignore."""
    client.predict("m")  # type: ignore[call-arg]
    client.predict("m", "a", {"top_k": 1})  # type: ignore[call-arg]
    client.load("m", dtype=16)  # type: ignore[arg-type]
    client.save("m", 5)  # type: ignore[arg-type]
    job.result(timeout="1")  # type: ignore[arg-type]
    job.id.no_such_method()  # type: ignore[attr-defined]
    Settings().namespace = "other"  # type: ignore[misc]
