"""Rows of several adapters in one batch: each is answered as by its adapter alone.

Each answer is compared with that of the pipeline that the adapter was saved from, which shares nothing with the others.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.bert.modeling_bert import BertIntermediate

from tests import tiny, tiny_seq2seq
from tests.adapters import (
    CLASSIFIER,
    FEATURES,
    KINDS,
    PROMPTS,
    TEXTS,
    WRITER,
    add,
    add_all,
    alone,
    ask_together,
    at_once,
    close,
    load,
    lora,
    moved,
)
from tests.inprocess import Served
from tests.tiny_peft import METHODS
from warmlane_workers.engine import mixing
from warmlane_workers.pipelines.build import build_pipeline


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {task: tiny.save(task, tmp_path_factory.mktemp(task)) for task in tiny.TASKS}


@pytest.fixture
def served(tmp_path: Path, checkpoints: dict[str, Path]) -> Iterator[Served]:
    with Served(tmp_path, roots=tuple(checkpoints.values())) as made:
        yield made


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models the rows of each batch were of, where they were of several."""
    counts: list[int] = []
    together = mixing._together

    def counted(batch: Any, task: Any) -> Any:
        found = together(batch, task)
        counts.append(len({part.owner for part in batch}))
        return found

    monkeypatch.setattr(mixing, "_together", counted)
    return counts


@pytest.mark.parametrize("task", tiny.TASKS)
def test_adapters_answer_in_any_mix_as_alone(
    served: Served, checkpoints: dict[str, Path], task: str, mixed: list[int]
) -> None:
    """Of different ranks, different layers, with heads and without, beside their bare base."""
    names = add_all(served, task, checkpoints[task])
    served.add_directory("bare", checkpoints[task], task)
    served.bare["bare"] = transformers.pipeline(task, model=str(checkpoints[task]), device="cpu")  # type: ignore[call-overload]
    names.append("bare")
    texts = PROMPTS if task == WRITER else TEXTS
    for name in names:
        load(served, name)
    found = ask_together(served, task, names, texts)
    wrong = [key for key, got in found.items() if not close(got, alone(served, task, *key))]
    assert not wrong
    assert max(mixed) > 1


def test_beams_are_mixed_too(served: Served, checkpoints: dict[str, Path], mixed: list[int]) -> None:
    """Where each row stands for several inside the model."""
    names = add_all(served, WRITER, checkpoints[WRITER])
    options: Any = {"num_beams": 3, "do_sample": False, "max_new_tokens": 6}
    keys = [(name, text) for text in PROMPTS[:3] for name in names]
    found = at_once(served, [functools.partial(served.predict, *key, **options) for key in keys])
    assert [texts[0] for texts in found] == [
        served.bare[name](text, **options)[0]["generated_text"].strip() for name, text in keys
    ]
    assert max(mixed) > 1


def test_an_encoder_decoder_mixes(served: Served, tmp_path: Path, mixed: list[int]) -> None:
    """Its encoder sees each row once, its decoder once a beam."""
    model, tokenizer = tiny_seq2seq.t5()
    checkpoint = tmp_path / "t5"
    model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    served.engine._loader._source_roots += (tmp_path,)
    names = ["one", "two"]
    for seed, name in enumerate(names):
        base = transformers.T5ForConditionalGeneration.from_pretrained(checkpoint)
        adapted = moved(base, lora(4, ("q", "v", "wo"), task_type="SEQ_2_SEQ_LM"), seed)
        components = {"model": adapted, "tokenizer": tokenizer}
        served.add_pipeline(name, build_pipeline({"task": "text2text-generation", **components}, None))
    keys = [(name, text) for text in TEXTS[:4] for name in names]
    options: Any = {"num_beams": 2, "max_new_tokens": 6}
    found = at_once(served, [functools.partial(served.predict, *key, **options) for key in keys])
    assert [texts[0] for texts in found] == [
        served.bare[name](text, **options)[0]["generated_text"].strip() for name, text in keys
    ]
    assert max(mixed) > 1


# -- methods that share less ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dora", "ia3", "prompt tuning", "prefix tuning"])
def test_other_methods_share_their_base_and_no_batches(
    served: Served, checkpoints: dict[str, Path], method: str, mixed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, and they answer as alone beside others."""
    add(served, "lora", CLASSIFIER, checkpoints[CLASSIFIER], lora(task_type="SEQ_CLS"))
    add(served, "other", CLASSIFIER, checkpoints[CLASSIFIER], METHODS[method](), seed=1)
    with caplog.at_level(logging.INFO):
        assert load(served, "lora")["base"] == load(served, "other")["base"]
    assert [record.action for record in caplog.records if hasattr(record, "action")].count("unmixed") == 1
    found = ask_together(served, CLASSIFIER, ["lora", "other"], TEXTS[:6])
    assert all(close(got, alone(served, CLASSIFIER, *key)) for key, got in found.items())
    assert mixed == []


def test_rows_that_a_model_lays_out_otherwise_are_run_by_adapter(
    served: Served, checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a layer sees tokens before rows nobody can tell whose they are; the answers are right all the same."""

    def sideways(self: Any, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.intermediate_act_fn(self.dense(states.transpose(0, 1)))  # (tokens, rows, hidden)
        return found.transpose(0, 1)

    monkeypatch.setattr(BertIntermediate, "forward", sideways)
    names = ["narrow", "elsewhere"]
    for seed, name in enumerate(names):
        add(served, name, FEATURES, checkpoints[FEATURES], KINDS[FEATURES][name](), seed)
        load(served, name)
    found = ask_together(served, FEATURES, names, TEXTS)
    assert all(close(got, alone(served, FEATURES, *key)) for key, got in found.items())
    assert "no longer mixed" in caplog.text
