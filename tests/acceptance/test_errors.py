"""What goes wrong says so: one clear error with its own code, on the client, within the time-out."""

from __future__ import annotations

import time

import pytest

from tests.fleet import Fleet
from warmlane import Client, Settings
from warmlane.errors import (
    InvalidParams,
    JobCancelled,
    JobNotFound,
    ModelNotFound,
    ResultExpired,
    ResultTimeout,
    SchemaError,
    ServerUnreachable,
    SourceError,
)
from warmlane.keys import Keys


def test_an_unknown_model_is_refused_before_anything_is_enqueued(client: Client) -> None:
    """The fleet has told which models there are, so the client knows."""
    with pytest.raises(ModelNotFound, match="no model 'nobody'") as caught:
        client.predict("nobody", "text")
    assert caught.value.code == "model_not_found"


def test_an_unknown_version_is_refused_by_load_too(client: Client) -> None:
    """The worker looks into the store and says the same."""
    with pytest.raises(ModelNotFound):
        client.load("minilm/99").result(timeout=30)


def test_a_wrong_type_of_input_is_refused_by_the_signature(client: Client) -> None:
    """The error names the row and not its value."""
    with pytest.raises(SchemaError) as caught:
        client.predict("minilm", ["fine", 31337])
    assert caught.value.details["field"] == "inputs[1]"
    assert "31337" not in str(caught.value)


def test_an_unknown_parameter_is_refused_with_the_allowed_ones(client: Client) -> None:
    """The job fails with the list to choose from."""
    with pytest.raises(InvalidParams, match="pooling") as caught:
        client.predict("minilm", "text", params={"poolling": "mean"}).result(timeout=30)
    assert caught.value.details["field"] == "params.poolling"


def test_an_expired_result_differs_from_a_job_that_never_was(warm_fleet: Fleet, client: Client) -> None:
    """The record outlives the result, so a late caller hears that it is gone and not that it never was."""
    job = client.predict("echo", "text")
    job.result(timeout=30)
    client._transport._store.client.delete(Keys().result(job.id))  # type: ignore[attr-defined]
    with warm_fleet.client() as late, pytest.raises(ResultExpired):
        late.job(job.id).result(timeout=5)
    with pytest.raises(JobNotFound):
        client.job("0" * 32).result(timeout=5)


def test_a_result_expires_by_itself(warm_fleet: Fleet, client: Client) -> None:
    """A result has a time to live on the server, and its record twice that."""
    job = client.predict("echo", "text")
    job.result(timeout=30)
    server = client._transport._store.client  # type: ignore[attr-defined]
    ttl = warm_fleet.settings.result_ttl_s
    assert ttl - 60 < server.ttl(Keys().result(job.id)) <= ttl
    assert 2 * ttl - 60 < server.ttl(Keys().job(job.id)) <= 2 * ttl


def test_no_server_at_the_url_is_said_within_the_time_out() -> None:
    """A client of a URL where nobody listens gives up after about its connect time-out."""
    with Client(settings=Settings(redis_url="redis://127.0.0.1:1/0", connect_timeout_s=1)) as lost:
        began = time.monotonic()
        with pytest.raises(ServerUnreachable, match=r"no Redis answers at redis://127\.0\.0\.1:1"):
            lost.predict("minilm", "text")
    assert time.monotonic() - began < 5


def test_a_job_that_takes_longer_than_its_caller_waits_goes_on(fleet: Fleet) -> None:
    """A time-out is the caller's; the job stays, and can be cancelled while it waits."""
    with fleet.client() as client:
        job = client.predict("anything", "text")  # no worker has ever told which models there are
        with pytest.raises(ResultTimeout):
            job.result(timeout=0.2)
        assert job.cancel() == "CANCELLED"
        with pytest.raises(JobCancelled):
            job.result(timeout=5)


def test_a_source_outside_the_allowed_roots_is_not_read(client: Client) -> None:
    """A save may read what the operator allowed, and nothing else."""
    with pytest.raises(SourceError, match="WARMLANE_SOURCE_ROOTS"):
        client.save("stolen", "/etc").result(timeout=30)
