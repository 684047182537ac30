"""Embeddings: one vector a text, in the shape of OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.feature_extraction import FeatureExtraction
from warmlane_workers.tasks.openai import requests


class Embeddings(FeatureExtraction):
    """A row is `{"input": text, or a list of texts}`. Result: a dict of one row; of a list of rows a list of dicts.

    A text's vector is that of its first token, as MLflow has it; models whose sentences are compared by the mean of
    their tokens want `params={"pooling": "mean", "normalize": True}`.
    """

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None, model: str) -> None:
        super().__init__(components, record)  # MLflow's answers name no model

    def plan(self, params: Mapping[str, Any]) -> Plan:
        given = {name: value for name, value in params.items() if value is not None}
        return super().plan({"pooling": "cls", **given})

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        given = row if isinstance(row, dict) else {}
        if set(requests.asked(given)) != {"input"}:
            keys = "'input', and perhaps 'model' and 'user', which change nothing"
            raise SchemaError(f"a row is a dict with the key {keys}", field="inputs.input")
        texts = [row["input"]] if isinstance(row["input"], str) else row["input"]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise SchemaError("inputs.input: a str, or a list of str that is not empty", field="inputs.input")
        return [part for text in texts for part in super(Embeddings, self).prepare(text, plan)]

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        return answers[0] if single else answers  # of this shape in whatever mode

    def cut(self, answer: Any) -> Any:
        return {**answer, "truncated": True}

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        vectors = [super(Embeddings, self).finish([states], plan) for states in outputs]  # each (hidden,)
        tokens = sum(len(states) for states in outputs)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
