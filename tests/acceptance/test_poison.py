"""A model that ends its worker's process, in a real worker: its job fails, the others in its batch do not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_code
from tests.fleet import START_S, Fleet
from warmlane.errors import PoisonJob
from warmlane.results import State


@pytest.fixture
def trusting_fleet() -> Iterator[Fleet]:
    """A server, and workers that run the code of models."""
    # Not tmp_path: a unix socket's path may have 103 characters only.
    with tempfile.TemporaryDirectory(prefix="wl-") as home:
        env = {"WARMLANE_TRUST_REMOTE_CODE": "1", "HF_HOME": str(Path(home) / "hf")}
        with Fleet(Path(home), env=env) as fleet:
            yield fleet


def test_a_model_that_ends_the_process_fails_its_own_job_and_no_other(trusting_fleet: Fleet) -> None:
    """25 jobs wait for one model, and one of them makes its code exit: that one is poison after two attempts, with its
    history; the others succeed, those that were in its batch at their second."""
    source = tiny_code.save(trusting_fleet.home / "checkpoint", fatal="stone")
    trusting_fleet.start_worker()
    with trusting_fleet.client() as client:
        client.save("custom", source, trust_remote_code=True).result(timeout=START_S)
        texts = ["a big dog"] * 12 + ["a stone"] + ["a small cat"] * 12
        # The model is cold: all wait for it, and go in together.
        jobs = [client.predict("custom", text, trust_remote_code=True) for text in texts]
        guilty = jobs.pop(12)
        with pytest.raises(PoisonJob, match="lost its worker 2 times") as caught:
            guilty.result(timeout=START_S)
        assert caught.value.details == {"id": guilty.id, "attempts": 2, "crashes": 2}
        assert len(guilty.status().attempts) == 2
        for job in jobs:
            job.result(timeout=START_S)
        statuses = [job.status() for job in jobs]
    assert {status.state for status in statuses} == {State.SUCCEEDED}
    assert max(len(status.attempts) for status in statuses) == 2
