"""The fake that ships: what an application's own tests may rely on."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from warmlane import Client, JobStatus, State, Table
from warmlane.errors import (
    CacheFull,
    CodecError,
    DeviceError,
    InternalError,
    InvalidInput,
    JobCancelled,
    JobExpired,
    JobNotFound,
    ModelInUse,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    SchemaError,
    ServerUnreachable,
    SourceError,
)
from warmlane.jobs import LoadJob, PredictJob, SaveJob
from warmlane.testing import FakeLane


@pytest.fixture
def lane() -> FakeLane:
    return FakeLane()


@pytest.fixture
def client(lane: FakeLane) -> Client:
    return lane.client()


def shout(inputs: Any, params: dict[str, Any]) -> list[str]:
    return [text.upper() for text in inputs]


# -- answers ---------------------------------------------------------------------------------------------------------


def test_a_callable_answers_with_inputs_and_params(lane: FakeLane, client: Client) -> None:
    """A callable reply sees inputs and params, and its value is the job's result."""
    lane.answer("echo", lambda inputs, params: {"inputs": inputs, "params": params})
    assert client.predict("echo", ["a"], params={"top_k": 2}).result(timeout=1) == {
        "inputs": ["a"],
        "params": {"top_k": 2},
    }


def test_a_value_answers_as_it_is(lane: FakeLane, client: Client) -> None:
    """A reply that is neither callable nor an exception is the result."""
    lane.answer("sentiment", Table({"label": ["POSITIVE"], "score": [0.99]}), task="text-classification")
    assert client.predict("sentiment", "great").result(timeout=1).rows() == [{"label": "POSITIVE", "score": 0.99}]


def test_an_exception_fails_the_job(lane: FakeLane, client: Client) -> None:
    """An exception given as the reply is what the job fails with; its record says so too."""
    lane.answer("broken", DeviceError("no memory", needed=5))
    job = client.predict("broken", "x")
    with pytest.raises(DeviceError):
        job.result(timeout=1)
    status = job.status()
    assert status.state is State.FAILED
    assert status.error is not None
    assert status.error["code"] == "device_error"


def test_an_error_travels_as_code_message_and_details(lane: FakeLane, client: Client) -> None:
    """The caller gets a rebuilt error, not the object that the test has raised."""
    raised = DeviceError("no memory", needed=5)
    lane.answer("broken", raised)
    with pytest.raises(DeviceError) as caught:
        client.predict("broken", "x").result(timeout=1)
    assert caught.value is not raised
    assert caught.value.to_dict() == raised.to_dict()


def test_a_foreign_exception_becomes_an_internal_error(lane: FakeLane, client: Client) -> None:
    """What is no WarmlaneError arrives as InternalError, as from a real worker, and names its class."""

    def fail(inputs: Any, params: dict[str, Any]) -> None:
        raise ZeroDivisionError("by nothing")

    lane.answer("broken", fail)
    with pytest.raises(InternalError, match=r"ZeroDivisionError.*by nothing"):
        client.predict("broken", "x").result(timeout=1)


@pytest.mark.parametrize(
    ("error", "state"), [(JobExpired("too late"), State.EXPIRED), (JobCancelled("stopped"), State.CANCELLED)]
)
def test_errors_about_the_job_set_its_state(lane: FakeLane, client: Client, error: Any, state: State) -> None:
    """JobExpired and JobCancelled end a job in their own states."""
    lane.answer("late", error)
    job = client.predict("late", "x")
    assert job.status().state is state
    with pytest.raises(type(error)):
        job.result(timeout=1)


def test_a_second_answer_replaces_the_first(lane: FakeLane, client: Client) -> None:
    """Answering for a model again changes its reply and publishes no new version."""
    lane.answer("echo", 1)
    lane.answer("echo", 2)
    assert client.predict("echo", "x").result(timeout=1) == 2
    assert client.models()[0].versions == (1,)


def test_versions_and_aliases_answer_for_themselves(lane: FakeLane, client: Client) -> None:
    """`name/2` and `name@alias` may have replies of their own; others fall back to the name's."""
    lane.answer("m", "newest")
    lane.answer("m/2", "second")
    lane.answer("m@prod", "production")
    replies = [client.predict(ref, "x").result(timeout=1) for ref in ("m/1", "m/2", "m@prod")]
    assert replies == ["newest", "second", "production"]
    with pytest.raises(ModelNotFound):
        client.predict("m@nobody", "x").result(timeout=1)


# -- the wire --------------------------------------------------------------------------------------------------------


def test_inputs_that_cannot_travel_are_refused(lane: FakeLane, client: Client) -> None:
    """Inputs pass the real codec, so an object fails here as it would in production, and nothing is enqueued."""
    lane.answer("any", 1)
    with pytest.raises(CodecError):
        client.predict("any", object())
    assert lane.jobs == []


def test_a_result_that_cannot_travel_fails_the_job(lane: FakeLane, client: Client) -> None:
    """A reply's value passes the real codec too."""
    lane.answer("any", lambda inputs, params: object())
    with pytest.raises(CodecError):
        client.predict("any", "x").result(timeout=1)


def test_error_details_that_cannot_travel_fail_as_such(lane: FakeLane, client: Client) -> None:
    """An error with details of a foreign type arrives as the codec's complaint."""
    lane.answer("any", DeviceError("broken", culprit=object()))
    with pytest.raises(CodecError):
        client.predict("any", "x").result(timeout=1)


def test_values_come_back_as_the_wire_makes_them(lane: FakeLane, client: Client) -> None:
    """A tuple arrives as a list, a time with its zone, on the way in as on the way out."""
    now = datetime(2025, 5, 4, 3, 2, 1, tzinfo=UTC)
    lane.answer("echo", lambda inputs, params: (inputs, type(inputs).__name__))
    assert client.predict("echo", ("a", now)).result(timeout=1) == [["a", now], "list"]


def test_a_large_result_is_fetched(lane: FakeLane, client: Client) -> None:
    """A result too large for the event that announces it comes by a second read."""
    text = "x" * 100_000
    lane.answer("long", text)
    assert client.predict("long", "x").result(timeout=1) == text


# -- refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_before_it_is_enqueued(lane: FakeLane, client: Client) -> None:
    """There is a live worker, so a model that nobody has answered for is not found at once."""
    with pytest.raises(ModelNotFound):
        client.predict("nobody", "x")
    assert lane.jobs == []


def test_an_unknown_version_is_refused(lane: FakeLane, client: Client) -> None:
    """Versions that were not published are not found."""
    lane.answer("m", 1)
    with pytest.raises(ModelNotFound):
        client.predict("m/7", "x")


def test_wrong_inputs_are_refused_by_the_tasks_signature(lane: FakeLane, client: Client) -> None:
    """A model with a task has the task's default signature."""
    lane.answer("sentiment", 1, task="text-classification")
    with pytest.raises(SchemaError):
        client.predict("sentiment", [3])


def test_rows_that_may_fail_alone_are_not_checked_by_the_client(lane: FakeLane, client: Client) -> None:
    """With `on_error="row"` a row that does not fit the signature is the worker's to answer, not a refusal of all."""
    lane.answer("sentiment", 1, task="text-classification")
    assert client.predict("sentiment", ["a", 3], on_error="row").result(timeout=1) == 1


def test_inputs_of_the_model_itself_are_not_checked_by_the_client(lane: FakeLane, client: Client) -> None:
    """With `output="raw"` rows are the model's arrays, of which the signature of its pipeline says nothing."""
    lane.answer("sentiment", 1, task="text-classification")
    assert client.predict("sentiment", {"input_ids": [[1]]}, output="raw").result(timeout=1) == 1


def test_an_own_signature_is_checked(lane: FakeLane, client: Client) -> None:
    """A signature given with the answer is the one that counts."""
    lane.answer("sums", 1, signature={"inputs": [{"type": "long", "name": "n", "required": True}]})
    assert client.predict("sums", {"n": 3}).result(timeout=1) == 1
    with pytest.raises(SchemaError):
        client.predict("sums", {"n": "three"})


# -- other kinds of jobs ---------------------------------------------------------------------------------------------


def test_a_saved_name_is_a_known_model(lane: FakeLane, client: Client) -> None:
    """Each save publishes the next version; until somebody answers for it, predicting says what to do."""
    first = client.save("m", "org/repo", task="text-generation", dtype="bfloat16").result(timeout=1)
    second = client.save("m", "org/repo", task="text-generation").result(timeout=1)
    assert (first["model"], first["dtype"], second["model"]) == ("m/1", "bfloat16", "m/2")
    assert client.models()[0].versions == (1, 2)
    with pytest.raises(InternalError, match=r"lane\.answer"):
        client.predict("m", "x").result(timeout=1)


def test_load_warms_with_the_override_and_unload_frees(lane: FakeLane, client: Client) -> None:
    """Load reports both element types, workers() shows the model, unload takes it away."""
    lane.answer("m", 1, dtype="bfloat16")
    report = client.load("m", dtype="float32", pin=True).result(timeout=1)
    assert (report["recorded_dtype"], report["dtype"]) == ("bfloat16", "float32")
    (worker,) = client.workers()
    assert [(warm.model, warm.dtype, warm.pinned) for warm in worker.models] == [("m/1", "float32", True)]
    assert client.models()[0].warm_on == (worker.id,)
    client.unload("m").result(timeout=1)
    assert client.workers()[0].models == ()


def test_an_override_serves_until_it_is_unloaded(lane: FakeLane, client: Client) -> None:
    """Each element type is held beside the others; a predict without one takes the type that was loaded last."""
    lane.answer("m", 1, dtype="bfloat16")
    client.load("m", pin=True).result(timeout=1)
    client.load("m", dtype="float32").result(timeout=1)
    client.predict("m", "x").result(timeout=1)
    assert [(warm.dtype, warm.pinned) for warm in client.workers()[0].models] == [
        ("bfloat16", True),
        ("float32", False),
    ]
    client.unload("m/1").result(timeout=1)
    client.predict("m", "x").result(timeout=1)
    assert [warm.dtype for warm in client.workers()[0].models] == ["bfloat16"]


def test_persist_answers_for_known_models_only(lane: FakeLane, client: Client) -> None:
    """Persist names the version; an unknown model fails the job."""
    lane.answer("m", 1)
    assert client.persist("m").result(timeout=1)["model"] == "m/1"
    with pytest.raises(ModelNotFound):
        client.persist("nobody").result(timeout=1)


def test_aliases_follow_the_rules_of_the_store(lane: FakeLane, client: Client) -> None:
    """An alias is set, is listed, resolves, moves, and protects its version."""
    lane.answer("m/1", "one")
    lane.answer("m/2", "two")
    assert client.alias("m/1", "prod").result(timeout=1) == {"model": "m/1", "alias": "prod", "before": None}
    assert client.predict("m@prod", "x").result(timeout=1) == "one"
    with pytest.raises(ModelInUse):
        client.delete("m/1").result(timeout=1)
    assert client.alias("m", "prod").result(timeout=1)["before"] == 1
    assert client.predict("m@prod", "x").result(timeout=1) == "two"
    assert client.models()[0].aliases == {"prod": 2}


def test_what_is_deleted_is_not_found(lane: FakeLane, client: Client) -> None:
    """A deleted version is neither listed nor warm, and its number is not given out again."""
    lane.answer("m/1", "one")
    lane.answer("m/2", "two")
    client.load("m/2").result(timeout=1)
    report = client.delete("m/2").result(timeout=1)
    assert (report["model"], report["versions"], report["aliases"]) == ("m/2", [2], [])
    assert client.workers()[0].models == ()
    assert client.models()[0].versions == (1,)
    with pytest.raises(ModelNotFound):
        client.load("m/2").result(timeout=1)
    assert client.save("m", "org/repo").result(timeout=1)["model"] == "m/3"
    client.delete("m").result(timeout=1)
    assert client.models() == []


def test_a_kinds_reply_replaces_the_result(lane: FakeLane, client: Client) -> None:
    """`on` sets what all jobs of a kind return, and what they do still happens."""
    lane.on("save", lambda job: {"saved": job.name})
    assert client.save("m", "org/repo").result(timeout=1) == {"saved": "m"}
    assert [model.name for model in client.models()] == ["m"]


def test_a_kinds_exception_prevents_the_effect(lane: FakeLane, client: Client) -> None:
    """A save that fails publishes nothing, a load that fails warms nothing."""
    lane.answer("m", 1)
    lane.on("save", SourceError("not there"))
    lane.on("load", CacheFull("no room"))
    with pytest.raises(SourceError):
        client.save("other", "org/repo").result(timeout=1)
    with pytest.raises(CacheFull):
        client.load("m").result(timeout=1)
    assert [model.name for model in client.models()] == ["m"]
    assert client.workers()[0].models == ()


def test_a_kind_that_does_not_exist_is_refused(lane: FakeLane) -> None:
    """`on` takes the four kinds that are no predictions."""
    with pytest.raises(InvalidInput):
        lane.on("predict", 1)


def test_jobs_are_listed_in_order_as_a_worker_reads_them(lane: FakeLane, client: Client) -> None:
    """`lane.jobs` are the dataclasses, decoded from the wire."""
    lane.answer("m", 1)
    client.predict("m", ("a", "b"), dtype="float16")
    client.load("m")
    client.save("n", "org/repo")
    assert lane.jobs == [
        PredictJob(model="m", inputs=["a", "b"], dtype="float16"),
        LoadJob(model="m"),
        SaveJob(name="n", source="org/repo"),
    ]


# -- time ------------------------------------------------------------------------------------------------------------


def test_a_held_job_stays_queued_until_released(lane: FakeLane, client: Client) -> None:
    """hold() keeps jobs QUEUED, release() works them off and ends the holding."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()
    job = client.predict("echo", "x")
    assert job.status().state is State.QUEUED
    with pytest.raises(ResultTimeout):
        job.result(timeout=0.01)
    lane.release()
    assert job.result(timeout=1) == "x"
    assert client.predict("echo", "y").result(timeout=1) == "y"


def test_release_with_a_count_lets_the_oldest_through(lane: FakeLane, client: Client) -> None:
    """release(1) works off one job and goes on holding."""
    lane.answer("m", 1)
    lane.hold()
    held = [client.predict("m", "x") for _ in range(3)]
    lane.release(1)
    assert [job.status().state for job in held] == [State.SUCCEEDED, State.QUEUED, State.QUEUED]


def test_a_waiting_thread_is_woken_by_the_release(lane: FakeLane, client: Client) -> None:
    """result() waits on the event, so a release in another thread ends it."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()
    job = client.predict("echo", "x")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 30)
        lane.release()
        assert waiting.result(timeout=5) == "x"


def test_a_queued_job_is_cancelled_at_once(lane: FakeLane, client: Client) -> None:
    """Cancelling a held job ends it; a release later changes nothing."""
    called = []
    lane.answer("m", lambda inputs, params: called.append(inputs))
    lane.hold()
    job = client.predict("m", "x")
    assert job.cancel() is State.CANCELLED
    lane.release()
    with pytest.raises(JobCancelled):
        job.result(timeout=1)
    assert called == []


def test_a_running_job_is_cancelled_at_the_next_safe_point(lane: FakeLane, client: Client) -> None:
    """report() makes a held job look running; cancelling it sets the flag, and the release ends it as cancelled."""
    lane.answer("m", 1)
    lane.hold()
    job = client.predict("m", "x")
    lane.report(job.id, 0.5, "batch 4/8")
    status = job.status()
    assert (status.state, status.progress.fraction, status.progress.phase) == (State.RUNNING, 0.5, "batch 4/8")
    assert job.cancel() is State.RUNNING
    assert job.status().cancel_requested
    lane.release()
    with pytest.raises(JobCancelled):
        job.result(timeout=1)


def test_cancelling_a_finished_job_changes_nothing(lane: FakeLane, client: Client) -> None:
    """cancel() after the end tells the state that the job has."""
    lane.answer("m", 1)
    job = client.predict("m", "x")
    assert job.cancel() is State.SUCCEEDED
    assert job.result(timeout=1) == 1


def test_an_expired_result_is_gone_for_every_handle(lane: FakeLane, client: Client) -> None:
    """expire() ends in ResultExpired, for the handle that enqueued and for any other client; the record is left."""
    lane.answer("m", 1)
    job = client.predict("m", "x")
    lane.expire(job.id)
    for handle in (job, lane.client().job(job.id)):
        with pytest.raises(ResultExpired):
            handle.result(timeout=1)
    assert job.status().state is State.SUCCEEDED


def test_an_expired_record_is_not_found(lane: FakeLane, client: Client) -> None:
    """expire(record=True) makes the id unknown, as is an id that never was."""
    lane.answer("m", 1)
    job = client.predict("m", "x")
    lane.expire(job.id, record=True)
    for handle in (job, client.job("0" * 32)):
        with pytest.raises(JobNotFound):
            handle.status()
        with pytest.raises(JobNotFound):
            handle.result(timeout=1)
        with pytest.raises(JobNotFound):
            handle.cancel()
    with pytest.raises(JobNotFound):
        lane.expire(job.id)


def test_a_record_has_times_attempts_and_progress(lane: FakeLane, client: Client) -> None:
    """A finished job's record reads like a real one's."""
    lane.answer("m", 1)
    status: JobStatus = client.predict("m", "x").status()
    assert status.started is not None
    assert status.finished is not None
    assert status.queued <= status.started <= status.finished
    assert (status.kind, status.model, status.worker) == ("predict", "m", client.workers()[0].id)
    assert (status.progress.fraction, status.progress.phase, status.error) == (1.0, "done", None)


def test_a_lost_server_is_unreachable_until_it_is_back(lane: FakeLane, client: Client) -> None:
    """disconnect() fails every call, reconnect() wakes those who wait, and nothing is lost in between."""
    lane.answer("m", 1)
    lane.hold()
    job = client.predict("m", "x")
    lane.disconnect()
    for call in (client.models, client.workers, job.status):
        with pytest.raises(ServerUnreachable):
            call()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.result, 30)
        lane.release()
        lane.reconnect()
        assert waiting.result(timeout=5) == 1


# -- threads, clients, loops -----------------------------------------------------------------------------------------


def test_another_client_finds_the_job_by_id(lane: FakeLane, client: Client) -> None:
    """A job enqueued by one client is awaited by another, before and after its end."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()
    other = lane.client().job(client.predict("echo", "x").id)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.result, 30)
        lane.release()
        assert waiting.result(timeout=5) == "x"
    assert lane.client().job(other.id).result(timeout=1) == "x"


def test_threads_share_a_lane(lane: FakeLane, client: Client) -> None:
    """Many threads enqueue and wait at once; each gets its own answer and every job is listed."""
    lane.answer("echo", shout)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.predict("echo", [f"t{n}"]).result(timeout=5), range(200)))
    assert answers == [[f"T{n}"] for n in range(200)]
    assert len(lane.jobs) == 200


def test_a_reply_may_use_the_lane(lane: FakeLane, client: Client) -> None:
    """A reply that itself enqueues a job does not block."""
    lane.answer("inner", "inside")
    lane.answer("outer", lambda inputs, params: client.predict("inner", inputs).result(timeout=1))
    assert client.predict("outer", "x").result(timeout=1) == "inside"


def test_the_same_lane_serves_an_event_loop(lane: FakeLane) -> None:
    """An AsyncClient of a lane predicts, reads the record and lists models and workers."""
    lane.answer("sentiment", shout, task="text-classification")

    async def main() -> None:
        async with lane.async_client() as client:
            job = await client.predict("sentiment", ["great"])
            assert await job.result(timeout=1) == ["GREAT"]
            assert (await job.status()).state is State.SUCCEEDED
            assert [model.name for model in await client.models()] == ["sentiment"]
            assert [warm.model for warm in (await client.workers())[0].models] == ["sentiment/1"]
            with pytest.raises(SchemaError):
                await client.predict("sentiment", [3])
            with pytest.raises(ModelNotFound):
                await client.predict("nobody", "x")

    asyncio.run(main())


def test_a_loop_runs_many_jobs_at_once(lane: FakeLane) -> None:
    """Concurrent jobs of one loop each get their own answer."""
    lane.answer("echo", lambda inputs, params: inputs)

    async def main() -> list[Any]:
        async with lane.async_client() as client:
            return await asyncio.gather(*(client.predict("echo", n).result(timeout=5) for n in range(50)))

    assert asyncio.run(main()) == list(range(50))


def test_a_held_job_tells_its_news(lane: FakeLane, client: Client) -> None:
    """Whoever watches a job is told of its queueing, of what `report` says, of its text and of its end."""
    lane.answer("chat", lambda inputs, params: iter(["Good ", "day"]))
    lane.hold()
    job = client.predict("chat", "hello", stream=True)
    news = job.events()
    assert next(news).status.state is State.QUEUED
    lane.report(job.id, 0.5, "tokens")
    assert next(news).status.progress.phase == "tokens"
    lane.release()
    assert [(event.kind, event.text) for event in news] == [("text", "Good day"), ("end", "")]


def test_the_lane_is_a_fleet(lane: FakeLane, client: Client) -> None:
    """What is held waits in its queue; the one worker is there."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()
    client.predict("echo", "x")
    fleet = client.fleet()
    assert [(queue.name, queue.waiting, queue.taken) for queue in fleet.queues] == [("manage", 0, 0), ("predict", 1, 0)]
    assert (len(fleet.workers), fleet.dead) == (1, 0)


def test_a_loop_is_woken_from_another_thread(lane: FakeLane) -> None:
    """A release in a thread ends the wait in the loop; before it, a time-out is one."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()

    async def main() -> Any:
        async with lane.async_client() as client:
            job = await client.predict("echo", "x")
            with pytest.raises(ResultTimeout):
                await job.result(timeout=0.01)
            waiting = asyncio.create_task(job.result(timeout=30))
            thread = threading.Thread(target=lane.release)
            thread.start()
            value = await waiting
            thread.join()
            return value

    assert asyncio.run(main()) == "x"


def test_a_loop_that_has_ended_is_no_hindrance(lane: FakeLane) -> None:
    """Releasing jobs whose loop is closed neither raises nor loses them."""
    lane.answer("echo", lambda inputs, params: inputs)
    lane.hold()
    client = lane.async_client()

    async def main() -> str:
        return (await client.predict("echo", "x")).id

    job_id = asyncio.run(main())
    lane.release()
    assert lane.client().job(job_id).result(timeout=1) == "x"


def test_cancel_and_expire_in_a_loop(lane: FakeLane) -> None:
    """The event-loop client meets the same ends as the blocking one."""
    lane.answer("m", 1)

    async def main() -> None:
        async with lane.async_client() as client:
            done = await client.predict("m", "x")
            await done.result(timeout=1)
            lane.expire(done.id)
            with pytest.raises(ResultExpired):
                await done.result(timeout=1)
            lane.hold()
            held = await client.predict("m", "x")
            assert await held.cancel() is State.CANCELLED
            with pytest.raises(JobCancelled):
                await held.result(timeout=1)

    asyncio.run(main())
