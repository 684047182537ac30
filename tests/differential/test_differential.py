"""Through the queue, random rows in batches of any size are answered as each alone by the bare pipeline.

Two tasks are not here: mask generation and any-to-any need torchvision, which no worker of the tests has. Films are in
`tests/integration/test_native.py`; decoding one costs more than all else.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import transformers

from tests import tiny_native
from tests.differential.cases import CASES
from tests.differential.comparing import difference
from tests.differential.rows import Asked, Params
from tests.fleet import Fleet
from warmlane import Client, Job
from warmlane_workers.flavor import save_model

#: Rows of a task: those of every run, and those of `make test-slow`.
ROWS, MANY_ROWS = 200, 2000
#: Other rows with another seed; a failure tells it.
SEED = 20260
#: Most rows of a job.
MOST = 64
RESULT_S = 600


class Compared:
    """A worker that serves the models of all cases, and the bare pipelines of the same in this process."""

    def __init__(self, fleet: Fleet, client: Client) -> None:
        self.client = client
        self.bare: dict[str, Any] = {}
        saved = []
        for name, case in CASES.items():
            self.bare[name] = transformers.pipeline(case.task, device="cpu", **tiny_native.seeded(case.make))  # type: ignore[call-overload]
            save_model(self.bare[name], fleet.home / "made" / name)
            saved.append(client.save(name, fleet.home / "made" / name))
        for job in saved:
            job.result(timeout=RESULT_S)

    def ask(self, name: str, count: int) -> list[tuple[Params, list[Asked], Job]]:
        """Random rows of a case in jobs of 1 to 64, all sent at once."""
        case, pick, sent = CASES[name], Random(f"{SEED} {name} {count}"), []
        left = max(1, round(count * case.share))
        while left:
            size = min(left, round(math.exp(pick.uniform(0, math.log(MOST)))))
            params = pick.choice(case.params)
            asked = [case.draw(pick, self.bare[name], params) for _ in range(size)]
            inputs = asked[0].sent if size == 1 else [row.sent for row in asked]
            sent.append((params, asked, self.client.predict(name, inputs, params=params, output="native")))
            left -= size
        return sent

    def check(self, name: str, sent: list[tuple[Params, list[Asked], Job]]) -> None:
        for number, (params, asked, job) in enumerate(sent):
            result = job.result(timeout=RESULT_S)
            answers = [result] if len(asked) == 1 else result
            assert len(answers) == len(asked)
            for at, (row, answer) in enumerate(zip(asked, answers, strict=True)):
                found = difference(answer, CASES[name].answer(self.bare[name], row, params))
                assert found is None, f"seed {SEED}, {name}, job {number}, row {at}, params {params}: {found}"


@pytest.fixture(scope="module")
def compared() -> Iterator[Compared]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the worker computes at the same time
    with tempfile.TemporaryDirectory(prefix="wl-") as home, Fleet(Path(home), env={"OMP_NUM_THREADS": "1"}) as fleet:
        fleet.start_worker()
        with fleet.client() as client:
            yield Compared(fleet, client)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def asked(compared: Compared) -> dict[str, list[tuple[Params, list[Asked], Job]]]:
    """The rows of all cases, on their way together."""
    return {name: compared.ask(name, ROWS) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_rows_in_batches_are_answered_as_each_alone(compared: Compared, asked: Any, name: str) -> None:
    """200 random rows a task, sent in jobs of 1 to 64 rows with different params, equal the bare pipeline's answers."""
    compared.check(name, asked[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_many_rows_in_batches_are_answered_as_each_alone(compared: Compared, name: str) -> None:
    """The same of 2,000 rows a task."""
    compared.check(name, compared.ask(name, MANY_ROWS))
