"""Zero-shot classification: a text and labels of its own to how well each label fits."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.labels import candidate_labels, check_template
from warmlane_workers.tasks.text import TextTask

_KEYS = frozenset({"sequences", "candidate_labels", "hypothesis_template"})


class ZeroShotClassification(TextTask):
    """Result: a `Table` with the columns sequence, labels and scores, one row a sequence and label, best first.

    A row is a dict of `sequences` (a str, or a list of them), `candidate_labels` (a list of str, one as JSON, or labels
    between commas) and perhaps `hypothesis_template`: each row has its own labels.
    """

    allowed = frozenset({"candidate_labels", "hypothesis_template", "multi_label"})

    def read(self, row: Any, plan: Plan) -> Any:
        labels = plan.prepare.get("candidate_labels")
        if isinstance(row, str) and labels is not None:
            row = {"sequences": row}
        if not isinstance(row, dict) or "sequences" not in row or not set(row) <= _KEYS:
            raise SchemaError(f"a row is a dict with the keys {', '.join(sorted(_KEYS))}", field="inputs")
        sequences = row["sequences"] if isinstance(row["sequences"], list) else [row["sequences"]]
        if not sequences or not all(isinstance(text, str) and text for text in sequences):
            raise SchemaError("sequences: a str that is not empty, or a list of such", field="inputs.sequences")
        if row.get("hypothesis_template") is not None:
            check_template(row["hypothesis_template"])
        return {
            **row,
            "sequences": sequences,
            "candidate_labels": candidate_labels(row.get("candidate_labels", labels)),
        }

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        options = {**plan.prepare, "candidate_labels": row["candidate_labels"]}
        if row.get("hypothesis_template") is not None:
            options["hypothesis_template"] = row["hypothesis_template"]
        return [item for text in row["sequences"] for item in self.pipeline.preprocess(text, **options)]

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        """The pipeline cuts the sequence, never the label; wherever it is not told not to."""
        default = inspect.signature(self.pipeline.preprocess).parameters["hypothesis_template"].default
        template = row.get("hypothesis_template") or plan.prepare.get("hypothesis_template", default)
        full = [item for item in items if self.cut_at is not None and self.length(item) >= self.cut_at]
        pairs = ((item["sequence"], template.format(item["candidate_label"])) for item in full)
        return any(len(self.tokenizer(*pair)["input_ids"]) > self.length(full[0]) for pair in pairs)

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        answers, parts = [], []
        for output in outputs:
            parts.append(output)
            if output["is_last"]:  # of a sequence
                answers.append(self.pipeline.postprocess(parts, **plan.finish))
                parts = []
        return answers[0] if len(answers) == 1 else answers
