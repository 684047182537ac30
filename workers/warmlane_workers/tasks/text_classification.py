"""Text classification: a text, or a text and its pair, to labels with scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.text import SPECIMEN, TextTask


class TextClassification(TextTask):
    """Result: a `Table` with the columns label and score, one row a text.

    With `top_k` other than 1, a text has several labels: then the columns hold lists, best label first.
    """

    specimen = SPECIMEN
    only_tokenizes = True
    allowed = frozenset({"top_k", "function_to_apply", "truncation", "max_length"})

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        return True

    def plan(self, params: Mapping[str, Any]) -> Plan:
        return self.truncating(super().plan(params), params)

    def read(self, row: Any, plan: Plan) -> Any:
        if not is_text_or_pair(row):
            raise SchemaError("a row is a str, or a dict of str with 'text' and 'text_pair'", field="inputs")
        return row

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        answer = super().finish(outputs, plan)
        return answer[0] if isinstance(answer, list) and plan.finish.get("top_k") == 1 else answer


def is_text_or_pair(row: Any) -> bool:
    """Whether a row is a str, or a dict of str with `text` and perhaps `text_pair`."""
    if isinstance(row, dict):
        return (
            "text" in row and set(row) <= {"text", "text_pair"} and all(isinstance(part, str) for part in row.values())
        )
    return isinstance(row, str)
