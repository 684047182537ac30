"""`warmlane dead`, in process against the fake lane, whose dead letters behave as the real ones."""

from __future__ import annotations

import json

import pytest

from warmlane.cli import main
from warmlane.client import Job
from warmlane.errors import InternalError
from warmlane.results import State
from warmlane.testing import FakeLane


class Faulty:
    """A lane with a job that met a bug.

    Attributes:
        job: the dead one.
        out: what the last command printed.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.lane = FakeLane()
        self.lane.answer("m", InternalError("a bug"))
        self.job: Job = self.lane.client().predict("m", "a secret text")
        self.lane.answer("m", "well")
        self.out = ""

    def run(self, *words: str) -> int:
        return self.command("dead", *words)

    def command(self, *words: str) -> int:
        code = main([*words], client_factory=self.lane.client)
        self.out = self._capsys.readouterr().out.strip()
        return code


@pytest.fixture
def faulty(capsys: pytest.CaptureFixture[str]) -> Faulty:
    return Faulty(capsys)


@pytest.mark.parametrize("words", [(), ("ls",)])
def test_dead_jobs_are_listed_without_their_payload(faulty: Faulty, words: tuple[str, ...]) -> None:
    """For people a table, for programs a list."""
    assert faulty.run(*words) == 0
    assert "internal_error" in faulty.out
    assert "secret" not in faulty.out
    assert faulty.run(*words, "--json") == 0
    (letter,) = json.loads(faulty.out)
    assert (letter["id"], letter["kind"], letter["model"], letter["code"]) == (
        faulty.job.id,
        "predict",
        "m",
        "internal_error",
    )


def test_a_replay_prints_the_new_job(faulty: Faulty) -> None:
    """Which succeeds now; the old one stays what it was, and says where it went."""
    assert faulty.run("replay", faulty.job.id) == 0
    new = faulty.lane.client().job(faulty.out)
    assert new.result(timeout=1) == "well"
    assert new.status().replay_of == faulty.job.id
    assert (faulty.job.status().state, faulty.job.status().replayed_as) == (State.FAILED, new.id)
    assert faulty.run() == 0
    assert faulty.out == "no dead letters"


def test_the_records_of_both_name_the_other(faulty: Faulty) -> None:
    """`warmlane job` tells people what became of a dead job, and where a replay comes from."""
    assert faulty.run("replay", faulty.job.id) == 0
    new = faulty.out
    assert faulty.command("job", faulty.job.id) == 0
    assert ["replayed", "as", new] in [line.split() for line in faulty.out.splitlines()]
    assert faulty.command("job", new) == 0
    assert ["replay", "of", faulty.job.id] in [line.split() for line in faulty.out.splitlines()]


def test_a_dropped_one_is_gone_and_an_unknown_one_exits_3(faulty: Faulty) -> None:
    """As with any id that is not there."""
    assert faulty.run("drop", faulty.job.id) == 0
    assert faulty.run("drop", faulty.job.id) == 3
    assert faulty.run("replay", faulty.job.id) == 3


@pytest.mark.parametrize("words", [("drop",), ("replay",), ("ls", "0" * 32)])
def test_an_id_is_given_to_those_who_take_one(faulty: Faulty, words: tuple[str, ...]) -> None:
    """Anything else is wrong usage."""
    assert faulty.run(*words) == 2
