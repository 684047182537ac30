"""A model's signature and its checks, so that bad inputs are refused before anything is enqueued. Needs no torch.

A signature is plain data, as MLflow writes it: `{"inputs": [...], "outputs": [...], "params": [...] | None}`, where a
column is `{"type": "string", "required": True}` (with a `name`, or without: then it is the only one), a tensor is
`{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}` and a parameter
`{"name": "top_k", "default": 1, "shape": None, "type": "long"}` (`[-1]` as the shape of a list).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmlane.errors import InvalidParams, SchemaError
from warmlane.results import Table, is_dataframe
from warmlane.signature._defaults import DEFAULTS, default_signature
from warmlane.signature._given import check_parameter, check_signature
from warmlane.signature._values import SCALARS, check_field, check_value, is_array
from warmlane.signature.columns import Signature
from warmlane.signature.rows import is_one_row, rows_of

__all__ = [
    "DEFAULTS",
    "Signature",
    "check_inputs",
    "check_params",
    "check_row",
    "check_signature",
    "default_signature",
    "is_one_row",
    "rows_of",
]

#: Tasks whose single text may also be given as a dict of these keys.
_TEXT_AS_DICT = {"text-classification": frozenset({"text", "text_pair"})}
#: Keys that the guide's signature of a task names, and the task can do without.
_MAY_BE_MISSING = {("zero-shot-classification", "hypothesis_template")}


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _is_sound(value: Any) -> bool:
    """A file, or where it is to be read from; or samples, perhaps with their rate; or one of them as a table's row."""
    if isinstance(value, dict) and "sampling_rate" in value:
        samples = value.get("raw", value.get("array"))
        return is_array(samples) or isinstance(samples, list)
    return _is_file(value) or is_array(value) or _is_cell(value, _is_sound)


def _is_picture(value: Any) -> bool:
    """A file, or where it is to be read from; or pixels; or one of them as a table's row."""
    return _is_file(value) or is_array(value) or _is_cell(value, _is_picture)


def _is_file(value: Any) -> bool:
    return isinstance(value, str | bytes)


def _is_cell(value: Any, check: Callable[[Any], bool]) -> bool:
    """The row of a table with one column."""
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(not isinstance(cell, dict) and check(cell) for cell in value.values())
    )


def _is_talk(value: Any) -> bool:
    """The messages of a conversation, one of them, or what goes on with one: a dict of text or messages and its id."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(message, dict) and "role" in message for message in value)
    return isinstance(value, dict) and not {"role", "text", "messages"}.isdisjoint(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict | Table) or is_dataframe(value)


_SOUND = "a sound (bytes, a str, an array, or a dict of samples with their 'sampling_rate')"
_PICTURE = "a picture (bytes, a str or an array)"
_TEXTS = "a str, or a list of str"
#: (task, key or None) -> the type of the guide's signature, what its table lets stand for it, and both in words.
_ALSO: Mapping[tuple[str, str | None], tuple[str, Callable[[Any], bool], str]] = {
    ("conversational", None): (
        "string",
        _is_talk,
        "a str, messages (dicts of 'role' and 'content'), or a dict of 'text' or 'messages' with a 'conversation_id'",
    ),
    ("audio-classification", None): ("binary", _is_sound, _SOUND),
    ("automatic-speech-recognition", None): ("binary", _is_sound, _SOUND),
    ("image-classification", None): ("string", _is_picture, _PICTURE),
    ("feature-extraction", "input"): ("string", _is_texts, _TEXTS),
    ("table-question-answering", "query"): ("string", _is_texts, _TEXTS),
    ("table-question-answering", "table"): ("string", _is_table, "a dict of columns, its JSON, or a table"),
    ("text-generation", "stop"): ("array", lambda value: isinstance(value, str), _TEXTS),
    ("zero-shot-classification", "candidate_labels"): ("string", _is_texts, _TEXTS),
    ("zero-shot-classification", "sequences"): ("string", _is_texts, _TEXTS),
}


def check_inputs(signature: Signature | None, task: str, inputs: Any) -> None:
    """Refuse inputs that cannot be rows of the model's signature; a model without one takes anything.

    Raises:
        SchemaError: names the row and the column, never the value.
    """
    columns = signature.get("inputs") if signature else None
    if not columns:
        return
    alone = is_one_row(inputs)
    for index, row in enumerate(rows_of(signature, task, inputs)):
        place = "inputs" if alone else f"inputs[{index}]"
        _check_row(columns, task, row, place)


def check_row(signature: Signature | None, task: str, row: Any, place: str = "inputs") -> None:
    """Refuse one row that is none of the model's signature, as `check_inputs` does.

    Raises:
        SchemaError: names the place and the column, never the value.
    """
    columns = signature.get("inputs") if signature else None
    if columns:
        _check_row(columns, task, row, place)


def check_params(signature: Signature | None, params: Mapping[str, Any]) -> None:
    """Refuse parameters that the model's signature does not name; without a list of them, the task decides.

    Raises:
        InvalidParams: names the parameter, and those that there are.
    """
    schema = {spec["name"]: spec for spec in (signature.get("params") if signature else None) or ()}
    for name, value in params.items() if schema else ():
        if name not in schema:
            raise InvalidParams(
                f"params: the model's signature has no parameter {name[:40]!r}; it has {', '.join(schema)}",
                field=f"params.{name[:40]}",
                allowed=list(schema),
            )
        if value is None and schema[name].get("default") is None:
            continue
        try:
            check_parameter(schema[name], value, f"params.{name}")
        except SchemaError as exc:
            raise InvalidParams(exc.message, **exc.details) from None


def _check_row(columns: Sequence[Mapping[str, Any]], task: str, row: Any, place: str) -> None:
    if len(columns) == 1 and columns[0].get("name") is None:
        _check_single(columns[0], task, row, place)
        return
    if not isinstance(row, dict):
        names = ", ".join(repr(column.get("name")) for column in columns)
        raise SchemaError(f"{place}: expected a dict with the keys {names}, got {type(row).__name__}", field=place)
    for column in columns:
        name = str(column.get("name"))
        absent = name not in row and (task, name) in _MAY_BE_MISSING
        if not absent and not _also(column, (task, name), row.get(name), f"{place}.{name}"):
            check_field(column, name, row, place)


def _check_single(column: Mapping[str, Any], task: str, row: Any, place: str) -> None:
    keys = _TEXT_AS_DICT.get(task)
    if keys and isinstance(row, dict):
        if "text" in row and set(row) <= keys and all(isinstance(value, str) for value in row.values()):
            return
        raise SchemaError(f"{place}: a dict needs the key 'text', may have 'text_pair', both str", field=place)
    optional = row is None and not column.get("required", True)
    if not optional and not _also(column, (task, None), row, place):
        check_value(column, row, place)


def _also(column: Mapping[str, Any], key: tuple[str, str | None], value: Any, place: str) -> bool:
    """Whether the guide lets a value stand for its column's type.

    Raises:
        SchemaError: it is neither that nor of the type; says all that it may be.
    """
    if key not in _ALSO or column.get("type") != _ALSO[key][0] or (value is None and key[1] is not None):
        return False
    kind, check, words = _ALSO[key]
    stands = check(value)
    if not stands and kind in SCALARS and not SCALARS[kind](value):
        raise SchemaError(f"{place}: expected {words}, got {type(value).__name__}", field=place, expected=kind)
    return stands
