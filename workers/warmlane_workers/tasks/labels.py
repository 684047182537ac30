"""Labels that a row or a job brings itself, as the zero-shot tasks take them; and how many of them are wanted."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from typing import Any

from warmlane.errors import InvalidParams, SchemaError


def candidate_labels(value: Any) -> list[str]:
    """Labels: a list of str, such a list as JSON, or labels between commas.

    Raises:
        SchemaError: it is none of them, or empty.
    """
    if isinstance(value, str):
        value = _json_list(value) or [label.strip() for label in value.split(",") if label.strip()]
    if not isinstance(value, list) or not value or not all(isinstance(label, str) and label for label in value):
        raise SchemaError(
            "candidate_labels: a list of str, such a list as JSON, or labels between commas",
            field="inputs.candidate_labels",
        )
    return value


def check_template(value: Any) -> str:
    """The sentence that a label is put into, at its one `{}`.

    Raises:
        SchemaError: it has none, or other fields.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(value) if field is not None]
    except (TypeError, ValueError):  # no str, or a brace without its other
        fields = []
    if fields != [""]:
        raise SchemaError("hypothesis_template: a str with one {}", field="inputs.hypothesis_template")
    return str(value)


def check_top_k(params: Mapping[str, Any]) -> None:
    """Refuse a number of labels that is none.

    Raises:
        InvalidParams: names the parameter.
    """
    value = params.get("top_k")
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidParams("params.top_k: a whole number from 1", field="params.top_k")


def _json_list(text: str) -> list[Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else None
