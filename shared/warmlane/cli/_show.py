"""How values look: as JSON for scripts, as tables for people. Knows the types that results are made of, and no job.

In JSON a table is a list of row objects, an array nested lists, bytes are {"base64": ...}, a time is ISO 8601, and a
number that JSON does not have (NaN, infinity) is null.
"""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from warmlane.results import NDArray, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

#: Width of tables that do not go to a terminal, in characters: nothing useful is cut.
_PIPE_WIDTH = 240
#: So many numbers of an array are shown to people.
_SHOWN_NUMBERS = 6


def plain(value: Any) -> Any:
    """A result as JSON knows it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Table):
        return [plain(row) for row in value.rows()]
    if _is_array(value):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def to_json(value: Any) -> str:
    """One line of valid JSON."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def console(file: TextIO | None = None) -> Console:
    """Where tables are drawn. Nothing in a value is taken for markup."""
    from rich.console import Console

    file = file or sys.stdout
    width = None if file.isatty() else _PIPE_WIDTH
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


def grid(names: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> RichTable:
    """A table for people; long cells wrap, none is cut."""
    from rich import box
    from rich.table import Table as RichTable

    table = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(cell(item) for item in row))
    return table


def facts(rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values, one a line."""
    table = grid(("name", "value"), rows)
    table.show_header = False
    console().print(table)


def cell(value: Any) -> str:
    """A value in a few characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value
    if _is_array(value):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "-"
    return to_json(value)


def size(count: int) -> str:
    """A number of bytes for people."""
    amount, unit = float(count), "B"
    for bigger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, bigger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def value(result: Any) -> None:
    """Print a result for people: a table as a table, an array in a line, a dict as names and values."""
    if isinstance(result, Table):
        rows = [list(row.values()) for row in result.rows()]
        console().print(grid(list(result.columns), rows))
    elif isinstance(result, Mapping):
        facts(list(result.items()))
    elif _is_array(result):
        print(_summary(result))
    elif isinstance(result, list | tuple):
        for item in result:
            value(item)
    else:
        print(result if isinstance(result, str) else to_json(result))


def _is_array(value: Any) -> bool:
    """An ndarray, with numpy or without; asks for the name so that numpy is not imported."""
    return isinstance(value, NDArray) or (type(value).__module__ == "numpy" and type(value).__name__ == "ndarray")


def _summary(array: Any) -> str:
    flat = [number for number in _flat(array.tolist()) if isinstance(number, int | float)]
    text = f"{array.dtype} {tuple(array.shape)}"
    if not flat:
        return text
    shown = " ".join(f"{number:.4g}" for number in flat[:_SHOWN_NUMBERS])
    more = " …" if len(flat) > _SHOWN_NUMBERS else ""
    return f"{text}  from {min(flat):.4g} to {max(flat):.4g}, mean {sum(flat) / len(flat):.4g}: {shown}{more}"


def _flat(value: Any) -> list[Any]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [value]
