"""Jobs outlive kills of their workers and of the server: `benchmarks.faults`, small and, in `make test-slow`, whole."""

from __future__ import annotations

import pytest

from benchmarks.faults import Plan, run


def outlives(plan: Plan) -> None:
    found = run(plan)
    assert found.faults == {"kill": plan.kills, "restart": plan.restarts}
    assert (found.lost, found.wrong, found.doubled, found.saved_twice) == ({}, 0, 0, 0)
    assert found.attempts.total() == plan.jobs
    assert max(found.attempts) > 1, "no kill met a job under way"


@pytest.mark.timeout(300)  # each kill costs an import of torch, on a machine that others use too
def test_jobs_outlive_three_kills_and_a_restart() -> None:
    """300 jobs over two workers: each has its own answer, once, and each save has published one version."""
    outlives(Plan(jobs=300, kills=3, restarts=1, saves=5))


@pytest.mark.slow
def test_2000_jobs_outlive_20_kills_and_5_restarts() -> None:
    """The same at length. Kills in the first second of a life make the supervisor wait longer and longer."""
    outlives(Plan())
