"""Checks of generation settings, shared by the tasks that generate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from warmlane.errors import InvalidParams
from warmlane_workers.tasks.text import TRUNCATIONS

#: Settings that are whole numbers with the least they may be, and those that are numbers above 0.
_WHOLE = {"max_new_tokens": 1, "max_length": 1, "min_new_tokens": 0, "min_length": 0, "num_beams": 1, "top_k": 0}
_POSITIVE = ("temperature", "repetition_penalty", "top_p", "typical_p")


def check_values(params: Mapping[str, Any], own: frozenset[str]) -> None:
    """Refuse here what would else end in an error of the device thread.

    Args:
        own: parameters of the pipeline that no generation configuration has.

    Raises:
        InvalidParams: names the parameter.
    """
    if params.get("num_return_sequences", 1) not in (1, None):
        raise InvalidParams(
            "params.num_return_sequences: a row has one output; send the prompt once for each sample you want",
            field="params.num_return_sequences",
        )
    if params.get("truncation") not in TRUNCATIONS:
        raise InvalidParams("params.truncation: true or false, or a tokenizer's strategy", field="params.truncation")
    for name, least in _WHOLE.items():
        value = params.get(name)
        if value is not None and (type(value) is not int or value < least):
            raise InvalidParams(f"params.{name}: a whole number from {least}", field=f"params.{name}")
    for name in _POSITIVE:
        value = params.get(name)
        if value is not None and (type(value) not in (int, float) or not value > 0):
            raise InvalidParams(f"params.{name}: a number above 0", field=f"params.{name}")
    try:
        GenerationConfig(**{name: value for name, value in params.items() if name not in own})  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as exc:
        raise InvalidParams(f"params: transformers refuses these settings ({str(exc)[:200]})", field="params") from exc
