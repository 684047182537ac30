"""Text to text: summarization, translation, and whatever else an encoder and a decoder make of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from warmlane_workers.pipelines.classic import TranslationPipeline
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import check_answer, check_values
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.writing import WritingTask


class Text2Text(WritingTask):
    """Result: a list of str, one a text. Parameters: those of a `GenerationConfig`, and of a translation
    `src_lang`, `tgt_lang`."""

    #: A step costs one token a row, whatever the text's length, so far more rows pay.
    budget_factor = 16
    allowed = GENERATION | {"truncation", "clean_up_tokenization_spaces", "src_lang", "tgt_lang", "stop_sequence"}

    def parameters(self) -> frozenset[str]:
        names = super().parameters()
        return names if isinstance(self.pipeline, TranslationPipeline) else names - {"src_lang", "tgt_lang"}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        check_values(params, self.allowed - GENERATION)
        plan = super().plan(params)
        check_answer(plan.forward, limits.answer_positions(self.model))
        words = {"tokenizer": self.tokenizer} if params.get("stop_strings") else {}
        return replace(plan, forward={**plan.forward, **words})

    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        return {"output_ids": torch.tensor([[tokens]])}
