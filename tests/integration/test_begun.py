"""Predict jobs that keep no thread: which can be begun, and that their answers are those of `predict`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from tests import tiny_text
from tests.inprocess import Records, Served, seeded
from warmlane.errors import SchemaError
from warmlane.jobs import LoadJob, PredictJob
from warmlane.results import Table
from warmlane_workers.context import JobContext
from warmlane_workers.engine.begun import LONGEST, MOST_ROWS, BegunPredict, are_few
from warmlane_workers.modelstore import ModelStore

LIMIT_S = 20
TASKS = {
    "text-classification": tiny_text.text_classification,
    "token-classification": tiny_text.token_classification,
    "feature-extraction": tiny_text.feature_extraction,
    "fill-mask": tiny_text.fill_mask,
    "text-generation": tiny_text.text_generation,
    "zero-shot-classification": tiny_text.zero_shot_classification,
}
ROWS: dict[str, Any] = {"fill-mask": "the [MASK] sat"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("begun")) as served:
        for task, make in TASKS.items():
            served.add(task, task, seeded(make))
            served.engine.load(LoadJob(model=task), context())
        yield served


def context() -> JobContext:
    return JobContext(Records(), "a", 1)  # type: ignore[arg-type]


def begun(served: Served, *jobs: PredictJob) -> list[BegunPredict | None]:
    """The jobs that have begun, in their places."""
    beginner = served.engine.beginner
    planned = beginner.plan(jobs)
    made = iter(beginner.begin([(one, context()) for one in planned if one is not None]))
    return [None if one is None else next(made) for one in planned]


def answered(one: BegunPredict | None) -> Any:
    """The answer of a job that has begun."""
    assert one is not None
    ready = threading.Event()
    one.when_ready(ready.set)
    assert ready.wait(LIMIT_S)
    try:
        return one.answer()
    finally:
        one.close()


def row(task: str) -> Any:
    return ROWS.get(task, "the cat sat on the mat")


def same(answer: Any, expected: Any) -> bool:
    """Whether two answers say the same; their numbers may come from batches of different shapes."""
    if isinstance(expected, Table):
        return same(answer.columns, expected.columns)
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(same(answer[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(same, answer, expected))
    if isinstance(expected, numpy.ndarray | float):
        return numpy.allclose(answer, expected, atol=1e-5)
    return bool(answer == expected)


SMALL = sorted(TASKS.keys() - {"text-generation", "zero-shot-classification"})


@pytest.mark.parametrize("task", SMALL)
def test_a_begun_answer_is_that_of_predict(served: Served, task: str) -> None:
    """One row, a list, and an output mode: what `predict` gives."""
    jobs = [
        PredictJob(model=task, inputs=row(task)),
        PredictJob(model=task, inputs=[row(task), row(task).replace("sat", "sat and sat")]),
        PredictJob(model=task, inputs=[row(task)], output="native"),
    ]
    found = [answered(one) for one in begun(served, *jobs)]
    assert same(found, [served.engine.predict(job, context()) for job in jobs])


def test_jobs_of_several_models_begin_together(served: Served) -> None:
    """Jobs that came in one call may be of any models, with any parameters: each has its own answer."""
    jobs = [PredictJob(model=task, inputs=row(task)) for task in SMALL for _ in range(2)]
    jobs += [PredictJob(model="text-classification", inputs="the cat", params={"top_k": 2})]
    found = [answered(one) for one in begun(served, *jobs)]
    assert same(found, [served.engine.predict(job, context()) for job in jobs])


NOT_BEGUN = {
    "a stream": PredictJob(model="text-generation", inputs="the cat", stream=True),
    "a task that writes": PredictJob(model="text-generation", inputs="the cat"),
    "raw": PredictJob(model="text-classification", inputs={"input_ids": [[1, 2]]}, output="raw"),
    "many rows": PredictJob(model="text-classification", inputs=["the cat"] * (MOST_ROWS + 1)),
    "a long text": PredictJob(model="text-classification", inputs="cat " * LONGEST, params={"truncation": True}),
    "an unknown model": PredictJob(model="nobody", inputs="the cat"),
    "a cold type": PredictJob(model="text-classification", inputs="the cat", dtype="bfloat16"),
    "many words to look up": PredictJob(model="fill-mask", inputs=ROWS["fill-mask"], params={"targets": ["cat"]}),
    "many pieces": PredictJob(model="token-classification", inputs="the cat", params={"stride": 1}),
    "labels of its own": PredictJob(
        model="zero-shot-classification", inputs={"sequences": "the cat", "candidate_labels": "cat,dog"}
    ),
    "wrong params": PredictJob(model="text-classification", inputs="the cat", params={"top_k": "many"}),
    "a wrong row": PredictJob(model="text-classification", inputs=["the cat", 7]),
}


@pytest.mark.parametrize("why", sorted(NOT_BEGUN))
def test_what_has_to_wait_or_fails_is_not_begun(served: Served, why: str) -> None:
    """It is left to `predict`, holds no model, and those that came with it begin."""
    good = PredictJob(model="text-classification", inputs="the cat")
    first, second = begun(served, NOT_BEGUN[why], good)
    assert first is None
    assert same(answered(second), served.engine.predict(good, context()))
    assert [entry.leases for entry in served.engine.cache.entries()] == [0] * len(TASKS)


def test_a_row_that_fails_on_the_device_raises(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer raises, so that the job is run by itself; nothing stays leased."""
    key, _ = served.engine.find("fill-mask", None, prefer_warm=True)
    (entry,) = [entry for entry in served.engine.cache.entries() if entry.key == key]

    def fail(batch: Any, plan: Any) -> Any:
        raise SchemaError("no")

    monkeypatch.setattr(served.engine.task(entry.value), "forward", fail)
    with pytest.raises(SchemaError):
        answered(begun(served, PredictJob(model="fill-mask", inputs=ROWS["fill-mask"]))[0])
    assert not entry.leases


def test_what_is_read_otherwise_is_read_apart(served: Served) -> None:
    """Jobs of one model whose rows are cut differently begin together, and each is cut as it says."""
    jobs = [
        PredictJob(model="feature-extraction", inputs="the cat sat on the mat", params=params)
        for params in ({}, {"truncation": True, "max_length": 5}, {"pooling": "mean"})
    ]
    whole, cut, pooled = [answered(one) for one in begun(served, *jobs)]
    assert (len(whole) > len(cut) == 5, pooled.ndim) == (True, 1)


@pytest.mark.parametrize(
    ("rows", "few"),
    [
        (["the cat"], True),
        ([{"text": "a", "text_pair": "b"}, ["a", "b"]], True),
        (["x" * (LONGEST + 1)], False),
        (["x" * LONGEST, "x"], False),
        (["x"] * (MOST_ROWS + 1), False),
        (["the cat", 7], False),
        ([b"x"], False),
    ],
)
def test_few_rows_are_texts_of_few_characters(rows: list[Any], few: bool) -> None:
    """Numbers, bytes and long texts are not, nor are texts that are long together."""
    assert are_few(rows) is few


def test_nobody_far_away_is_asked_what_a_job_means(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model store would have to be asked a thread does it: whoever begins jobs cannot wait."""
    monkeypatch.setattr(ModelStore, "at_hand", lambda store, ref: None)
    monkeypatch.setattr(ModelStore, "resolve", lambda store, ref: pytest.fail("it was asked"))
    assert begun(served, PredictJob(model="fill-mask", inputs=ROWS["fill-mask"])) == [None]


def test_a_bug_in_beginning_strands_nobody(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queueing of rows raises, the jobs have not begun and hold no model."""

    def fail(*args: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(served.engine, "queue", fail)
    assert begun(served, PredictJob(model="fill-mask", inputs=ROWS["fill-mask"])) == [None]
    assert [entry.leases for entry in served.engine.cache.entries()] == [0] * len(TASKS)
