"""Input examples as files, in the formats of MLflow: `input_example.json`, and the same as a request of its server.

Bytes are base64 with a line break every 76 characters, arrays are nested lists with null for a value that is no number,
tables have their columns and rows apart. Source: the files that MLflow 3.17 writes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy

from warmlane.errors import ArtifactDamaged, ArtifactIncomplete, InvalidInput
from warmlane.results import NDArray, Table, is_dataframe

FILE = "input_example.json"
SERVING_FILE = "serving_input_example.json"
#: A dict with one of these keys is a request of OpenAI's API, which MLflow's server takes as it is.
_OPENAI_KEYS = frozenset({"messages", "prompt", "input"})


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example as the text of its files, and what the `MLmodel` file says of them."""

    info: Mapping[str, Any]
    example: str
    request: str

    def write(self, directory: Path) -> dict[str, Any]:
        """Write both files; returns `saved_input_example_info`."""
        (directory / FILE).write_text(self.example, encoding="utf-8")
        (directory / SERVING_FILE).write_text(self.request, encoding="utf-8")
        return dict(self.info)


def render(example: Any, params: Mapping[str, Any] | None = None) -> Rendered:
    """An example as it will be written, so that a bad one is refused before anything is.

    Raises:
        InvalidInput: a value that JSON has no form for; the message names the place and the type.
    """
    kind, stored, key = _stored(with_json(example))
    info = {"artifact_path": FILE, "serving_input_path": SERVING_FILE, "type": kind}
    if kind == "dataframe":
        info["pandas_orient"] = "split" if "columns" in stored else "values"
    request = stored if key is None else {key: stored}
    if params:
        given = _plain(dict(params), "input_example[1]")
        info["params"] = "true"
        request = {**request, **given} if key is None else {**request, "params": given}
        stored = {"inputs": stored, "params": given}
    return Rendered(info, json.dumps(stored), json.dumps(request, indent=2))


def read_example(directory: Path, info: Mapping[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """An artifact's example and its params. A table comes as a `Table`, an array as numpy's; bytes stay base64.

    Args:
        info: what the `MLmodel` file says of the example.

    Raises:
        ArtifactIncomplete: its file is missing.
        ArtifactDamaged: its file holds something else.
    """
    name = Path(str(info.get("artifact_path", FILE))).name  # a name only: it is somebody else's text
    try:
        stored = json.loads((directory / name).read_text(encoding="utf-8"))
        params = stored["params"] if info.get("params") else None
        stored = stored["inputs"] if info.get("params") else stored
        return _restored(str(info.get("type")), stored), params
    except FileNotFoundError:
        raise ArtifactIncomplete(f"{name}: missing, though MLmodel names it; was it deleted?") from None
    except (ValueError, KeyError, IndexError, TypeError, RecursionError, OSError) as exc:
        raise ArtifactDamaged(f"{name}: not the example that MLmodel describes ({type(exc).__name__})") from exc


def with_json(example: Any) -> Any:
    """A copy in which lists of labels and tables are JSON, as the signatures of their tasks have them.

    What is no dict, and no list of dicts, is the example itself.
    """
    if isinstance(example, list):
        return [with_json(row) if isinstance(row, dict) else row for row in example]
    if not isinstance(example, dict):
        return example
    return {key: _JSON[key](value) if key in _JSON else value for key, value in example.items()}


def _labels(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _table(value: Any) -> Any:
    if is_dataframe(value):
        value = Table.from_pandas(value)
    if isinstance(value, Table):
        value = {name: list(column) for name, column in value.columns.items()}
    return json.dumps(_plain(value, "input_example.table")) if isinstance(value, dict) else value


#: Keys of zero-shot classification and of table question answering whose values are JSON in the tasks' signatures.
_JSON = {"candidate_labels": _labels, "table": _table}


def _stored(example: Any) -> tuple[str, Any, str | None]:
    """MLflow's name of the kind, the value as JSON has it, and the key of a request that it goes under."""
    if isinstance(example, Table) or is_dataframe(example):
        return "dataframe", _split(example), "dataframe_split"
    if _is_array(example):
        return "ndarray", _numbers(example), "inputs"
    if isinstance(example, dict) and example and all(_is_array(value) for value in example.values()):
        return "ndarray", {str(key): _numbers(value) for key, value in example.items()}, "inputs"
    is_openai = isinstance(example, dict) and not _OPENAI_KEYS.isdisjoint(example)
    return "json_object", _plain(example, "input_example"), None if is_openai else "inputs"


def _split(example: Any) -> dict[str, Any]:
    """Columns and rows apart; a DataFrame without names has rows only."""
    table = example if isinstance(example, Table) else Table.from_pandas(example)
    rows = _plain([list(row.values()) for row in table], "input_example")
    if example is not table and list(example.columns) == list(range(len(table.columns))):
        return {"data": rows}
    return {"columns": list(table.columns), "data": rows}


def _restored(kind: str, stored: Any) -> Any:
    if kind == "dataframe":
        rows = stored["data"]
        names = stored.get("columns") or range(len(rows[0]))
        if any(len(row) != len(names) for row in rows):
            raise ValueError("a row with more or fewer values than there are columns")
        return Table({str(name): [row[at] for row in rows] for at, name in enumerate(names)})
    if kind != "ndarray":
        return stored
    if isinstance(stored, dict):
        return {name: _array(value) for name, value in stored.items()}
    return _array(stored)


def _array(value: Any) -> numpy.ndarray[Any, Any]:
    """Numbers again, nan for null."""
    array = numpy.array(value)
    return array.astype(numpy.float64) if array.dtype == object else array


def _is_array(value: Any) -> bool:
    return isinstance(value, NDArray | numpy.ndarray)


def _numbers(array: NDArray | numpy.ndarray[Any, Any]) -> Any:
    return _null_for_nan(array.tolist())


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain(value: Any, place: str) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{place}.{str(key)[:40]}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{place}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, bytes):
        return base64.encodebytes(value).decode("ascii")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, numpy.generic):
        return _plain(value.item(), place)
    if value is None or isinstance(value, str | int | float):
        return value
    raise InvalidInput(
        f"{place}: a value of type {type(value).__name__} cannot be kept as an example; "
        "give str, bytes, numbers, lists, dicts, an array, or a table",
        field="input_example",
    )
