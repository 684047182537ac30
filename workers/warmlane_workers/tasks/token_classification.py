"""Token classification: a text to the tags of its tokens, or of its entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.text import SPECIMEN, TextTask


class TokenClassification(TextTask):
    """Result: a list of str, the tags of each text between commas; "" of a text without entities.

    `output="native"` gives each entity with its score, its word and where it stands. What is too long is cut, or
    read in pieces that overlap by `stride` tokens.
    """

    specimen = SPECIMEN
    allowed = frozenset({"aggregation_strategy", "ignore_labels", "stride", "is_split_into_words", "delimiter"})

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        tokenizing = plan.prepare.get("tokenizer_params") or {}
        if self.cut_at is None or "stride" in tokenizing or self.length(items[0]) < self.cut_at:
            return False
        split = bool(plan.prepare.get("is_split_into_words"))
        return len(self.tokenizer(row, is_split_into_words=split)["input_ids"]) > self.cut_at
