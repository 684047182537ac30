"""Token classification: a text to the tags of its tokens, or of its entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.params import Kind, whole
from warmlane_workers.tasks.text import SPECIMEN, TextTask


class TokenClassification(TextTask):
    """Result: a list of str, the tags of each text between commas; "" of a text without entities.

    `output="native"` gives each entity with its score, its word and where it stands. What is too long is cut, or
    read in pieces that overlap by `stride` tokens.
    """

    specimen = SPECIMEN
    allowed = frozenset({"aggregation_strategy", "ignore_labels", "stride"})

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        return "stride" not in params  # which makes many pieces

    def kind_of(self, name: str) -> Kind | None:
        if name != "stride" or self.cut_at is None:
            return super().kind_of(name)
        return whole(0, self.cut_at - self.tokenizer.num_special_tokens_to_add() - 1)

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        tokenizing = plan.prepare.get("tokenizer_params") or {}
        if self.cut_at is None or "stride" in tokenizing or self.length(items[0]) < self.cut_at:
            return False
        return len(self.tokenizer(row)["input_ids"]) > self.cut_at
