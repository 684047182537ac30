"""Table question answering: a table and a question of it, or several, to cells of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from warmlane.errors import InputTooLong, MissingExtra, SchemaError
from warmlane.results import Table
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.params import Kind, one_of
from warmlane_workers.tasks.pipeline import PipelineTask

#: Where TAPAS' token types number the lines of a table, from 1.
_LINES = 2
#: What `truncation` is to read a table whole.
_WHOLE = "do_not_truncate"


class TableQuestionAnswering(PipelineTask):
    """Result: a list of str, one a question; `output="native"` gives cells, their places and the aggregation too.

    A row is a dict of `query` (a str, or a list of them) and `table`: columns by name, as a dict of lists, as its JSON,
    or as a list of dicts; or a `Table`. Each row has its own, and every question is answered by itself, unless
    `sequential` says that each builds on those before. None share a batch: there TAPAS lets questions change each
    other's answers, even where nothing is padded.
    """

    allowed = frozenset({"sequential", "padding", "truncation"})

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        #: Whether a table is made to fit: TAPAS drops its last lines, and shortens cells.
        self._drops = self.pipeline.type == "tapas"
        self.max_length = limits.positions(self.model)
        limits.align(self.tokenizer, self.max_length)

    def kind_of(self, name: str) -> Kind | None:
        if name == "truncation" and self._drops:
            return one_of(True, False, "drop_rows_to_fit", _WHOLE)
        return super().kind_of(name)

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, dict) or set(row) != {"query", "table"}:
            raise SchemaError("a row is a dict with the keys 'query' and 'table'", field="inputs")
        queries = row["query"] if isinstance(row["query"], list) else [row["query"]]
        if not queries or not all(isinstance(query, str) and query for query in queries):
            raise SchemaError("query: a str that is not empty, or a list of such", field="inputs.query")
        return {"query": queries, "table": _frame(_columns(row["table"]))}

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        sequential = plan.forward.get("sequential")
        asked = [row["query"]] if sequential else row["query"]
        try:
            return [self.pipeline.preprocess({**row, "query": query}, **plan.prepare) for query in asked]
        except ValueError as exc:  # of what `read` lets pass, the tokenizer of TAPAS refuses sizes only
            if not self._drops:
                raise
            raise InputTooLong(
                "the table has more columns or lines than the model can number; send fewer", field="inputs.table"
            ) from exc

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        if self._drops and any(_last_line(item) < len(row["table"]) for item in items):
            return True
        if not self._drops and plan.prepare.get("truncation") in (None, False, _WHOLE):
            return False
        # Cells that are shortened to fit still fill more than half of the room.
        limit = limits.known_length(self.tokenizer)
        if limit is None or all(2 * self.length(item) <= limit for item in items):
            return False
        whole = self.items(row, replace(plan, prepare={**plan.prepare, "truncation": _WHOLE}))
        return sum(map(_tokens, whole)) > sum(map(_tokens, items))

    def check_length(self, length: int, plan: Plan) -> None:
        limits.check(length, self.max_length, "shorten the question, or send fewer lines of the table")

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        answers = [self.pipeline.postprocess(output, **plan.finish) for output in outputs]
        return answers[0] if len(answers) == 1 else answers


def _last_line(item: Mapping[str, Any]) -> int:
    """The last line of a table that TAPAS has read."""
    return int(item["token_type_ids"][..., _LINES].max())


def _tokens(item: Mapping[str, Any]) -> int:
    return int(item["attention_mask"].sum())


def _columns(table: Any) -> dict[str, list[str]]:
    """A table's columns, each cell as text; an absent one as none."""
    if isinstance(table, str):
        try:
            table = json.loads(table)
        except ValueError as exc:
            raise SchemaError("table: a str is a table as JSON", field="inputs.table") from exc
    if isinstance(table, Table):
        table = {name: list(column) for name, column in table.columns.items()}
    if isinstance(table, list) and table and all(isinstance(line, dict) for line in table):
        table = {name: [line.get(name) for line in table] for name in table[0]}
    if not isinstance(table, dict) or not table or not all(isinstance(column, list) for column in table.values()):
        raise SchemaError("table: a dict of columns, each a list of cells", field="inputs.table")
    lengths = {len(column) for column in table.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise SchemaError("table: columns of one length, and not empty", field="inputs.table")
    return {str(name): ["" if cell is None else str(cell) for cell in column] for name, column in table.items()}


def _frame(columns: Mapping[str, list[str]]) -> Any:
    try:
        import pandas
    except ImportError as exc:
        raise MissingExtra("tables are read by pandas, which the worker lacks: pip install pandas") from exc
    return pandas.DataFrame(dict(columns))
