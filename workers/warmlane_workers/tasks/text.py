"""Tasks whose rows are texts: padded to share batches, cut or refused where they are too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers.pipelines.base import pad_collate_fn

from warmlane.errors import InputTooLong, InvalidParams, SchemaError
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.pipeline import PipelineTask

#: What `truncation` may be.
TRUNCATIONS = (None, True, False, "longest_first", "only_first", "only_second", "do_not_truncate")
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


class TextTask(PipelineTask):
    """Result: what the guide's table says of the task. A row is a str."""

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        if self.tokenizer.pad_token_id is None and self.tokenizer.eos_token_id is not None:
            self.tokenizer.pad_token = self.tokenizer.eos_token  # only to fill; the attention mask hides it
        can_pad = self.tokenizer.pad_token_id is not None
        self._pad = pad_collate_fn(self.tokenizer, None) if can_pad else None  # type: ignore[no-untyped-call]

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, str):
            raise SchemaError("a row is a str", field="inputs")
        return row

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        parts = super().prepare(row, plan)
        if any(part.length == 0 for part in parts):
            raise SchemaError("a row of no tokens; this tokenizer adds none to an empty text", field="inputs")
        return parts

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        if self._pad is None:
            yield from super().groups(batch)
        else:
            yield batch

    def collate(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        assert self._pad is not None
        padded: dict[str, Any] = self._pad([part.inputs for part in batch])
        return padded

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
        if self.max_length is not None and length > self.max_length:
            raise InputTooLong(
                f"a row has {length} tokens, the model reads {self.max_length}; shorten it, or cut it off with "
                "params={'truncation': True}",
                tokens=length,
                limit=self.max_length,
            )
