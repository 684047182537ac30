"""Text classification: a text, or a text and its pair, to labels with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import InvalidParams, SchemaError
from warmlane.results import Table
from warmlane_workers.tasks.base import PipelineTask, Plan, Prepared, is_text_or_pair, label_table


class TextClassification(PipelineTask):
    """Result: a `Table` with the columns label and score, one row a text.

    With `top_k` other than 1, a text has several labels: then the columns hold lists, best label first.
    """

    allowed = frozenset({"top_k", "function_to_apply", "truncation", "max_length"})

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        top_k = params.get("top_k", 1)
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise InvalidParams("params.top_k: a whole number from 1, or null for all labels", field="params.top_k")
        if not isinstance(params.get("function_to_apply", ""), str):
            raise InvalidParams("params.function_to_apply: sigmoid, softmax or none", field="params.function_to_apply")
        return self.truncating(super().plan(params), params)

    def prepare(self, row: Any, plan: Plan) -> Prepared:
        if not is_text_or_pair(row):
            raise SchemaError("a row is a str, or a dict of str with 'text' and 'text_pair'", field="inputs")
        return super().prepare(row, plan)

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        output = self.pipeline.forward(self.collate(batch), **plan.forward)
        return [{"logits": logits[None]} for logits in output["logits"]]  # each (1, labels)

    def finish(self, output: Any, plan: Plan) -> Any:
        answer = self.pipeline.postprocess(output, **plan.finish)
        if isinstance(answer, list) and plan.finish["top_k"] == 1:
            return answer[0]
        if isinstance(answer, list):
            return {key: [item[key] for item in answer] for key in ("label", "score")}
        return answer

    def assemble(self, answers: list[Any], single: bool) -> Table:
        return label_table(answers)
