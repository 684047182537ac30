"""Labels that a row or a job brings itself, as the zero-shot tasks take them."""

from __future__ import annotations

import json
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks import params


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
    if not params.TEMPLATE.fits(value):
        raise SchemaError(f"hypothesis_template: {params.TEMPLATE.text}", field="inputs.hypothesis_template")
    return str(value)


def _json_list(text: str) -> list[Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else None
