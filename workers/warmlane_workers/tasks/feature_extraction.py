"""Feature extraction: a text to one vector a token, or one for the whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.text import SPECIMEN, TextTask


class FeatureExtraction(TextTask):
    """Result: for one text a float32 array (tokens, hidden); for a list of texts a list of such arrays, one each.

    `pooling="mean"` or `"cls"` makes one vector (hidden,) of each text, `normalize=True` of length 1: what sentence
    models are compared by, at a fraction of the bytes.
    """

    specimen = SPECIMEN
    only_tokenizes = True
    allowed = frozenset({"truncation", "max_length", "pooling", "normalize"})

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        return True

    def plan(self, params: Mapping[str, Any]) -> Plan:
        params = dict(params)
        self.check_params(params)
        pooling, normalize = params.pop("pooling", None), params.pop("normalize", False)
        plan = self.truncating(super().plan(params), params)
        return replace(plan, finish={"pooling": pooling, "normalize": normalize})

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        return [states for group in self.groups(batch) for states in self._states(group, plan)]

    def _states(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        inputs = self.collate(batch) if len(batch) > 1 else dict(batch[0].inputs)
        mask = inputs.get("attention_mask")
        hidden = self.pipeline.forward(inputs, **plan.forward)[0]  # (batch, longest, hidden)
        if mask is None:
            return [states[: row.length] for states, row in zip(hidden, batch, strict=True)]
        return [states[keep.bool()] for states, keep in zip(hidden, mask, strict=True)]  # each (tokens, hidden)

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        features = outputs[0].float().numpy()  # (tokens, hidden)
        if plan.finish["pooling"] == "mean":
            features = features.mean(axis=0)
        elif plan.finish["pooling"] == "cls":
            features = features[0]
        if plan.finish["normalize"]:
            features = features / numpy.maximum(numpy.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
        return features

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        if output == "native":  # the pipeline answers a text as a batch of one
            answers = [answer[None] for answer in answers]
        return answers[0] if single else answers
