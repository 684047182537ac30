"""Fill mask: a text with masks to the token that fits each best."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transformers.pipelines.base import PipelineException

from warmlane.errors import InputTooLong, SchemaError
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.params import Kind, whole
from warmlane_workers.tasks.text import TextTask

# It quotes the targets that a model does not know.
logging.getLogger("transformers.pipelines.fill_mask").setLevel(logging.ERROR)


class FillMask(TextTask):
    """Result: a list of str, the best token of each text; of a text with several masks a list of the best of each."""

    allowed = frozenset({"top_k", "targets", "truncation", "max_length"})

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        return "targets" not in params  # each is read

    def kind_of(self, name: str) -> Kind | None:
        return whole(1, self._vocabulary) if name == "top_k" else super().kind_of(name)

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        own = {name: value for name, value in params.items() if name not in ("truncation", "max_length")}
        plan = super().plan(own)
        how = self.truncating(replace(plan, prepare={}), params).prepare
        options = {**(plan.prepare.get("tokenizer_kwargs") or {}), **how}
        prepare = {**plan.prepare, "tokenizer_kwargs": options}
        return replace(plan, prepare=prepare, cut_at=self.cutting(options))

    def whole(self, plan: Plan) -> Plan:
        options = {**plan.prepare["tokenizer_kwargs"], "truncation": False}
        return replace(plan, prepare={**plan.prepare, "tokenizer_kwargs": options})

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        try:
            return super().items(row, plan)
        except PipelineException as exc:  # `read` saw a mask
            raise InputTooLong(
                "the mask lies behind the tokens that are read; shorten the text before it, or raise max_length",
                field="inputs",
                limit=plan.cut_at,
            ) from exc

    def read(self, row: Any, plan: Plan) -> Any:
        text = super().read(row, plan)
        if self.tokenizer.mask_token not in text:
            raise SchemaError(f"a row has no {self.tokenizer.mask_token}, the mask of this model", field="inputs")
        return text
