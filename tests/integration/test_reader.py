"""Texts read together are what each would be alone: tensors, cuts and errors of every row its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import tiny, tiny_text
from tests.inprocess import seeded
from warmlane.errors import InputTooLong, SchemaError
from warmlane_workers import tasks
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.text import TextTask

MADE = {"text-classification": tiny_text.text_classification, "feature-extraction": tiny_text.feature_extraction}


@pytest.fixture(scope="module", params=sorted(MADE))
def task(request: pytest.FixtureRequest) -> TextTask:
    name = request.param
    made = tasks.implementation(name, {"task": name, **seeded(MADE[name])}, None)
    assert isinstance(made, TextTask)
    return made


def alone(task: TextTask, row: Any, plan: Plan) -> list[Prepared]:
    """A row by the pipeline's own first step."""
    return task.prepare(row, plan)


@pytest.mark.parametrize("params", [{}, {"truncation": True, "max_length": 8}], ids=["whole", "cut"])
def test_together_is_as_alone(task: TextTask, params: dict[str, Any]) -> None:
    """Every tensor, length and mark of a cut is the same, whatever is read with it."""
    rows, plan = tiny.texts(40), task.plan(params)
    together = task.prepare_all(rows, plan)
    for row, parts in zip(rows, together, strict=True):
        assert isinstance(parts, list)
        for part, other in zip(parts, alone(task, row, plan), strict=True):
            assert (part.length, part.truncated) == (other.length, other.truncated)
            assert part.inputs.keys() == other.inputs.keys()
            for name, tensor in part.inputs.items():
                assert tensor.dtype == other.inputs[name].dtype
                assert torch.equal(tensor, other.inputs[name])


def test_a_row_that_cannot_be_read_fails_alone(task: TextTask) -> None:
    """An error stands in the place of its row, and the rows around it are read."""
    long = "the " * (4 * (task.max_length or 1))
    found = task.prepare_all(["the cat", 7, "a dog", long], task.plan({}))
    assert [type(one) for one in found] == [list, SchemaError, list, InputTooLong]


def test_a_tokenizer_that_fails_is_asked_row_by_row(task: TextTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a call for several texts fails, each is read by itself."""
    plan = task.plan({})
    whole = [alone(task, row, plan)[0].length for row in ("the cat", "a dog")]

    def refuse(*asked: Any) -> None:
        raise OverflowError

    monkeypatch.setattr(task._reader, "_tokenizer", type("Refusing", (), {"__call__": refuse, "is_fast": True})())
    found = task.prepare_all(["the cat", "a dog"], plan)
    assert [parts[0].length for parts in found if isinstance(parts, list)] == whole
