"""What a task is: prepare (CPU, any thread) · forward (device thread, a batch) · finish (CPU, any thread), row by row.

One row in, one output out, in order. A task knows its pipeline; it knows neither queues nor other jobs. Rows of several
jobs meet in `forward` when their plans share a group.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers.pipelines.base import pad_collate_fn

from warmlane import codec
from warmlane.errors import InputTooLong, InvalidParams, SchemaError
from warmlane.results import Table
from warmlane_workers.pipelines.build import build_pipeline

#: What `truncation` may be.
TRUNCATIONS = (None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate")


@dataclass(frozen=True, slots=True)
class Plan:
    """A job's parameters, checked and sorted by the step that takes them. Rows of equal `group` may share a batch."""

    prepare: Mapping[str, Any] = field(default_factory=dict)
    forward: Mapping[str, Any] = field(default_factory=dict)
    finish: Mapping[str, Any] = field(default_factory=dict)
    group: bytes = b""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row that is ready for the device.

    Attributes:
        inputs: what the model takes: tensors with a batch dimension of 1, and what `finish` wants back.
        length: tokens; what a batch is cut by.
    """

    inputs: dict[str, Any]
    length: int


class Task(ABC):
    """A family of pipelines. Subclasses are made with `{"task", "model", …}` and keep no state of a job."""

    #: Padded tokens that fit in a batch, relative to the device's budget.
    budget_factor: int = 1

    @abstractmethod
    def plan(self, params: Mapping[str, Any]) -> Plan:
        """Check a job's parameters.

        Raises:
            InvalidParams: an unknown or ill-typed one; the message lists the allowed.
        """

    @abstractmethod
    def prepare(self, row: Any, plan: Plan) -> Prepared:
        """One row as tensors. Thread-safe.

        Raises:
            SchemaError, InputTooLong: this row cannot be answered.
        """

    @abstractmethod
    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        """One output a row, on the CPU. Called in the device thread only."""

    @abstractmethod
    def finish(self, output: Any, plan: Plan) -> Any:
        """An output as the row's answer."""

    @abstractmethod
    def assemble(self, answers: list[Any], single: bool) -> Any:
        """The answers of all rows as the job's result; `single` when the input was one row and no list."""


class PipelineTask(Task):
    """A task answered by a transformers pipeline with a tokenizer, one row a forward item.

    The pipeline's own `preprocess`, `forward` and `postprocess` are used, so that an answer is what the bare pipeline
    gives.
    """

    #: Parameters that may be passed, beside those of a subclass.
    allowed: frozenset[str] = frozenset()

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        self.pipeline = build_pipeline(components, record)
        self.model = self.pipeline.model
        self.tokenizer = self.pipeline.tokenizer
        # A fast tokenizer keeps its truncation and padding in itself and refuses to change them while it is in use.
        self._tokenizer_lock = threading.Lock()
        if self.tokenizer.pad_token_id is None and self.tokenizer.eos_token_id is not None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # only to fill; the attention mask hides it
        can_pad = self.tokenizer.pad_token_id is not None
        self._collate = pad_collate_fn(self.tokenizer, None) if can_pad else None  # type: ignore[no-untyped-call]

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        try:
            prepare, forward, finish = self.pipeline._sanitize_parameters(**params)
        except (TypeError, ValueError, KeyError) as exc:
            raise InvalidParams(f"params: {type(exc).__name__}; {self._allowed_text()}", field="params") from exc
        pipeline = self.pipeline  # what the saved pipeline was constructed with, under what the job says
        group = codec.encode("group", dict(sorted(params.items())))
        return Plan(
            {**pipeline._preprocess_params, **prepare},
            {**pipeline._forward_params, **forward},
            {**pipeline._postprocess_params, **finish},
            group,
        )

    def check_params(self, params: Mapping[str, Any]) -> None:
        unknown = sorted(set(params) - self.allowed)
        if unknown:
            raise InvalidParams(
                f"params: no parameter is called {unknown[0]!r}; {self._allowed_text()}",
                field=f"params.{unknown[0]}",
                allowed=sorted(self.allowed),
            )

    def _allowed_text(self) -> str:
        return f"allowed are {', '.join(sorted(self.allowed))}"

    def prepare(self, row: Any, plan: Plan) -> Prepared:
        with self._tokenizer_lock:
            inputs = dict(self.pipeline.preprocess(row, **plan.prepare))
        length = int(inputs["input_ids"].shape[-1])
        if length == 0:
            raise SchemaError("a row of no tokens; this tokenizer adds none to an empty text", field="inputs")
        self.check_length(length, plan)
        return Prepared(inputs, length)

    def truncating(self, plan: Plan, params: Mapping[str, Any]) -> Plan:
        """A plan whose truncation knows the model's limit, and whose `max_length` reaches the tokenizer."""
        truncation, limit = params.get("truncation"), params.get("max_length", self.max_length)
        if truncation not in TRUNCATIONS:
            raise InvalidParams(
                "params.truncation: true or false, or a tokenizer's strategy", field="params.truncation"
            )
        least = self.tokenizer.num_special_tokens_to_add(pair=True) + 2
        if limit is not None and (type(limit) is not int or limit < least):
            raise InvalidParams(f"params.max_length: a whole number from {least}", field="params.max_length")
        if not truncation or limit is None:
            return plan
        return replace(plan, prepare={**plan.prepare, "truncation": truncation, "max_length": limit})

    @property
    def max_length(self) -> int | None:
        """Most tokens that the model reads; None where it does not say."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        # Models of the RoBERTa family spend the first positions on padding.
        offset = self.model.config.pad_token_id + 1 if self.model.config.model_type in _POSITIONS_AFTER_PADDING else 0
        return limit - offset if isinstance(limit, int) and limit > 0 else None

    def check_length(self, length: int, plan: Plan) -> None:
        """Refuse a row that the model would end in an index error."""
        if self.max_length is not None and length > self.max_length:
            raise InputTooLong(
                f"a row has {length} tokens, the model reads {self.max_length}; shorten it, or cut it off with "
                "params={'truncation': True}",
                tokens=length,
                limit=self.max_length,
            )

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        """Rows as one dict of padded tensors (batch, longest)."""
        if len(batch) == 1:
            single = batch[0].inputs
            return {key: value if isinstance(value, torch.Tensor) else [value] for key, value in single.items()}
        if self._collate is None:
            raise SchemaError("this tokenizer has no padding token, so its rows run one by one")
        padded: dict[str, Any] = self._collate([row.inputs for row in batch])
        return padded


_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


def is_text_or_pair(row: Any) -> bool:
    """Whether a row is a str, or a dict of str with `text` and perhaps `text_pair`."""
    if isinstance(row, dict):
        return (
            "text" in row and set(row) <= {"text", "text_pair"} and all(isinstance(part, str) for part in row.values())
        )
    return isinstance(row, str)


def label_table(answers: list[Any]) -> Table:
    """`[{"label", "score"}, …]` as the guide's table."""
    return Table.from_rows(answers, ("label", "score"))
