"""Jobs: what each kind has, what it refuses, and the message that carries it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dramatiq
import numpy as np
import pytest
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import DecodeError

from warmlane import codec, keys
from warmlane.errors import CodecError, InvalidInput, PayloadTooLarge
from warmlane.jobs import (
    KINDS,
    AliasJob,
    DeleteJob,
    Job,
    LoadJob,
    PersistJob,
    PredictJob,
    SaveJob,
    UnloadJob,
    check_id,
    make,
    new_id,
)
from warmlane.message import JobMessage
from warmlane.results import Table

SECRET = "s3cret"
JOBS: Mapping[str, Job] = {
    "predict": PredictJob(model="m", inputs=["a"], params={"top_k": 1}, dtype="float16"),
    "load": LoadJob(model="m", dtype="torch.bfloat16", return_type="components", pin=True, trust_remote_code=True),
    "unload": UnloadJob(model="m/1"),
    "save": SaveJob(name="m", source={"model": "org/m"}, task="fill-mask", metadata={"a": [1]}),
    "persist": PersistJob(model="m@best"),
    "alias": AliasJob(model="m/3", alias="prod"),
    "delete": DeleteJob(model="m/2"),
}
each = pytest.mark.parametrize("job", [pytest.param(job, id=kind) for kind, job in JOBS.items()])


# -- jobs ------------------------------------------------------------------------------------------------------------


@each
def test_a_job_is_made_again_from_its_fields(job: Job) -> None:
    """`make(kind, fields)` gives an equal job, of its class."""
    assert make(job.kind, job.fields()) == job
    assert KINDS[job.kind] is type(job)


def test_every_kind_has_a_queue_and_a_test() -> None:
    """The kinds, the queues' table and the jobs of this file name the same."""
    assert set(KINDS) == set(keys.QUEUE_OF_KIND) == set(JOBS)
    assert set(keys.QUEUE_OF_KIND.values()) == set(keys.QUEUES)


def test_a_job_is_about_a_model() -> None:
    """The subject of a record is the model that was named; for a save, the name that it will have."""
    assert {kind: job.subject for kind, job in JOBS.items()} == {
        "predict": "m",
        "load": "m",
        "unload": "m/1",
        "save": "m",
        "persist": "m@best",
        "alias": "m/3",
        "delete": "m/2",
    }


def test_an_element_type_is_kept_by_its_short_name() -> None:
    """`torch.bfloat16` becomes `bfloat16` when the job is made."""
    assert PredictJob(model="m", inputs=1, dtype="torch.bfloat16").dtype == "bfloat16"
    assert SaveJob(name="m", source="s", dtype="torch.float64").dtype == "float64"


def test_later_fields_travel_only_where_they_say_something() -> None:
    """A predict with the defaults, however they were given, has the fields that the first release reads."""
    plain = make("predict", {"model": "m", "inputs": 1, "on_error": "".join(["jo", "b"]), "output": None})
    assert set(plain.fields()) == {"model", "inputs", "params", "dtype"}
    assert PredictJob(model="m", inputs=1, on_error="row").fields()["on_error"] == "row"


def test_a_job_does_not_show_its_payload() -> None:
    """The repr of a job, which Dramatiq logs, has neither inputs nor params."""
    job = PredictJob(model="m", inputs=[SECRET], params={"prompt": SECRET})
    assert SECRET not in repr(job)
    assert SECRET not in str(JobMessage.of(job, new_id()))
    assert "model='m'" in repr(job)


def test_a_job_is_frozen() -> None:
    """No field of a job can be set once it is made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        JOBS["persist"].model = "other"  # type: ignore[attr-defined]


AN_ARRAY = np.array(["pipeline", "pipeline"])


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("predict", {"model": "No", "inputs": 1}, "model"),
        ("predict", {"model": None, "inputs": 1}, "model"),
        ("predict", {"model": "m", "inputs": 1, "params": [1]}, "params"),
        ("predict", {"model": "m", "inputs": 1, "params": {1: 2}}, "params"),
        ("predict", {"model": "m", "inputs": 1, "params": Table({})}, "params"),
        ("predict", {"model": "m", "inputs": 1, "dtype": "int8"}, "dtype"),
        ("predict", {"model": "m"}, "inputs"),
        ("predict", {"inputs": 1}, "model"),
        ("predict", {"model": "m", "inputs": 1, "s3cret": 1}, "s3cret"),
        ("predict", {"model": "m", "inputs": 1, "x" * 99: 1}, "x" * 40),
        ("load", {"model": "m", "pin": 1}, "pin"),
        ("load", {"model": "m", "pin": None}, "pin"),
        ("load", {"model": "m", "trust_remote_code": "yes"}, "trust_remote_code"),
        ("load", {"model": "m", "model_config": ["top_k"]}, "model_config"),
        ("load", {"model": "m", "model_config": {"top_k": b"2"}}, "model_config"),
        ("load", {"model": "m", "model_config": {"top_k": 2}, "return_type": "components"}, "model_config"),
        ("predict", {"model": "m", "inputs": "a", "output": "json"}, "output"),
        ("predict", {"model": "m", "inputs": "a", "output": ["raw"]}, "output"),
        ("predict", {"model": "m", "inputs": "a", "on_error": "skip"}, "on_error"),
        ("load", {"model": "m", "return_type": "model"}, "return_type"),
        ("load", {"model": "m", "return_type": None}, "return_type"),
        ("load", {"model": "m", "return_type": ["pipeline"]}, "return_type"),
        ("load", {"model": "m", "return_type": AN_ARRAY}, "return_type"),
        ("load", {"model": AN_ARRAY}, "model"),
        ("load", {"model": "m", "dtype": AN_ARRAY}, "dtype"),
        ("load", {"model": "m", "pin": AN_ARRAY}, "pin"),
        ("unload", {"model": "m/0"}, "model"),
        ("persist", {}, "model"),
        ("alias", {"model": "m@", "alias": "prod"}, "model"),
        ("alias", {"model": "m", "alias": "Prod"}, "alias"),
        ("alias", {"model": "m", "alias": 3}, "alias"),
        ("alias", {"model": "m"}, "alias"),
        ("delete", {"model": "m/*"}, "model"),
        ("delete", {}, "model"),
        ("save", {"name": "a/b", "source": "s"}, "name"),
        ("save", {"name": "m@best", "source": "s"}, "name"),
        ("save", {"name": AN_ARRAY, "source": "s"}, "name"),
        ("save", {"name": "m"}, "source"),
        ("save", {"name": "m", "source": ""}, "source"),
        ("save", {"name": "m", "source": None}, "source"),
        ("save", {"name": "m", "source": AN_ARRAY}, "source"),
        ("save", {"name": "m", "source": ["s"]}, "source"),
        ("save", {"name": "m", "source": {}}, "source"),
        ("save", {"name": "m", "source": {"tokenizer": "t"}}, "source"),
        ("save", {"name": "m", "source": {"model": "s", "s3cret": "t"}}, "source"),
        ("save", {"name": "m", "source": {"model": ""}}, "source.model"),
        ("save", {"name": "m", "source": {"model": "s", "tokenizer": 5}}, "source.tokenizer"),
        ("save", {"name": "m", "source": "s", "task": ""}, "task"),
        ("save", {"name": "m", "source": "s", "revision": 5}, "revision"),
        ("save", {"name": "m", "source": "s", "save_pretrained": None}, "save_pretrained"),
        ("save", {"name": "m", "source": "s", "metadata": None}, "metadata"),
        ("train", {}, "kind"),
        ("", {}, "kind"),
    ],
)
def test_an_ill_formed_job_names_the_field(kind: str, fields: dict[str, Any], field: str) -> None:
    """An unknown, missing or ill-typed field is an InvalidInput with the field in its details."""
    with pytest.raises(InvalidInput) as caught:
        make(kind, fields)
    assert caught.value.details["field"] == field


def test_an_unknown_kind_is_told_the_kinds() -> None:
    """The refusal lists what there is."""
    with pytest.raises(InvalidInput, match="predict, load, unload, save, persist") as caught:
        make("train", {})
    assert caught.value.details["allowed"] == list(KINDS)


def test_an_id_is_32_hexadecimal_digits() -> None:
    """`new_id` gives ids that `check_id` takes; anything else is an InvalidInput that does not quote it."""
    ids = {new_id() for _ in range(100)}
    assert len({check_id(job_id) for job_id in ids}) == 100
    for wrong in (
        "",
        "a" * 31,
        "a" * 33,
        "A" * 32,
        "g" * 32,
        "0" * 32 + "\n",
        f"{SECRET}{'0' * 26}",
        b"0" * 32,
        None,
        7,
    ):
        with pytest.raises(InvalidInput, match="32 hexadecimal digits") as caught:
            check_id(wrong)
        assert SECRET not in str(caught.value)


# -- messages --------------------------------------------------------------------------------------------------------


@each
def test_a_message_carries_the_job_and_nothing_else(job: Job) -> None:
    """A decoded message equals the sent one: its job, its id, the queue and the actor of its kind."""
    job_id = new_id()
    sent = JobMessage.of(job, job_id)
    came = JobMessage.decode(sent.encode())
    assert came == sent
    assert (came.queue_name, came.actor_name, came.args) == (keys.QUEUE_OF_KIND[job.kind], job.kind, ())
    assert came.kwargs == {"job_id": job_id, "job": job}
    assert came.options == {"redis_message_id": job_id}


def test_a_message_that_goes_back_to_the_queue_keeps_its_new_redis_id() -> None:
    """Dramatiq gives a requeued message another Redis id; it survives the next encoding, and the job's id does too."""
    sent = JobMessage.of(JOBS["load"], new_id())
    again = sent.copy(options={"redis_message_id": new_id()})
    came = JobMessage.decode(again.encode())
    assert came.options["redis_message_id"] == again.options["redis_message_id"] != came.message_id
    assert came.kwargs["job_id"] == sent.message_id


def test_an_applications_encoder_is_neither_used_nor_changed() -> None:
    """Messages encode as warmlane frames whatever encoder Dramatiq has, and leave it in place."""
    before = dramatiq.get_encoder()
    message = JobMessage.of(JOBS["predict"], new_id())
    assert codec.decode("job", message.encode())["kind"] == "predict"
    assert dramatiq.get_encoder() is before
    assert isinstance(before, JSONEncoder)


def test_a_payload_of_every_type_arrives() -> None:
    """Inputs and params may have bytes, times, tables and arrays."""
    inputs = [b"\x00", datetime(2024, 1, 1, tzinfo=UTC), Table({"a": [1]})]
    job = PredictJob(model="m", inputs=inputs, params={"bias": np.arange(3)})
    came: PredictJob = JobMessage.decode(JobMessage.of(job, new_id()).encode()).kwargs["job"]
    assert came.inputs == inputs
    assert came.params["bias"].tolist() == [0, 1, 2]


def test_inputs_past_a_limit_are_too_large() -> None:
    """A job over 16 MiB or a million elements is a PayloadTooLarge that says what to do; nothing of it is quoted."""
    for inputs in (SECRET * 2_800_000, [0] * 1_000_001):
        with pytest.raises(PayloadTooLarge, match="send fewer rows") as caught:
            JobMessage.of(PredictJob(model="m", inputs=inputs), new_id()).encode()
        assert SECRET not in str(caught.value)


def test_inputs_that_cannot_travel_are_a_codec_error() -> None:
    """A value of another type, or too deep, is a CodecError and no question of size."""
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    for inputs in ({SECRET}, deep):
        with pytest.raises(CodecError):
            JobMessage.of(PredictJob(model="m", inputs=inputs), new_id()).encode()


ENVELOPE: dict[str, Any] = {
    "id": "0" * 32,
    "time": 1,
    "queue": "predict",
    "kind": "predict",
    "fields": {"model": "m", "inputs": SECRET},
    "redis_id": "r",
}


def test_the_envelope_of_these_tests_is_one() -> None:
    """Undamaged, the envelope below decodes."""
    assert JobMessage.decode(codec.encode("job", ENVELOPE)).message_id == "0" * 32


@pytest.mark.parametrize(
    "body",
    [
        *({name: value for name, value in ENVELOPE.items() if name != lost} for lost in ENVELOPE),
        *({**ENVELOPE, name: None} for name in ENVELOPE),
        {**ENVELOPE, "options": {"pipe_target": {}}},
        {**ENVELOPE, "time": True},
        {**ENVELOPE, "time": 1.5},
        {**ENVELOPE, "id": "short"},
        {**ENVELOPE, "kind": "train"},
        {**ENVELOPE, "fields": {"model": "m", "inputs": 1, "extra": 1}},
        {**ENVELOPE, "kind": "load", "fields": {"model": "m", "return_type": np.arange(2)}},
        *(None, [], "x", 5, {}, Table({"id": ["0" * 32]})),
    ],
)
def test_an_envelope_that_is_not_as_it_should_be_does_not_decode(body: Any) -> None:
    """A missing, unknown or ill-typed field, of the envelope or of the job, is Dramatiq's DecodeError."""
    with pytest.raises(DecodeError) as caught:
        JobMessage.decode(codec.encode("job", body))
    assert SECRET not in str(caught.value.error)


def test_foreign_messages_do_not_decode() -> None:
    """A JSON message of an application's own actor, and a frame of another kind, are a DecodeError caused by ours."""
    foreign = json.dumps({"queue_name": "predict", "actor_name": "a", "args": [], "kwargs": {}, "options": {}}).encode()
    for data in (foreign, codec.encode("result", ENVELOPE), b""):
        with pytest.raises(DecodeError) as caught:
            JobMessage.decode(data)
        assert isinstance(caught.value.error, CodecError)


def test_a_tuple_of_rows_is_a_list_of_rows() -> None:
    """Tuples arrive as lists, so they are checked as lists before they leave."""
    assert PredictJob(model="m", inputs=("a", "b")).inputs == ["a", "b"]
