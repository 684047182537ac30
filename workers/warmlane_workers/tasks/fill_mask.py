"""Fill mask: a text with masks to the token that fits each best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.text import TRUNCATIONS, TextTask


class FillMask(TextTask):
    """Result: a list of str, the best token of each text; of a text with several masks a list of the best of each."""

    allowed = frozenset({"top_k", "targets", "truncation", "max_length"})

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in params.items() if name not in ("truncation", "max_length")}
        limit = params.get("max_length", self.max_length)
        if params.get("truncation") in TRUNCATIONS[1:] and params["truncation"] and limit is not None:
            own["tokenizer_kwargs"] = {"truncation": True, "max_length": limit}
        return own

    def read(self, row: Any, plan: Plan) -> Any:
        text = super().read(row, plan)
        if self.tokenizer.mask_token not in text:
            raise SchemaError(f"a row has no {self.tokenizer.mask_token}, the mask of this model", field="inputs")
        return text
