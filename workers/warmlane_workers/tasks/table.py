"""Table question answering: a table and a question of it, or several, to cells of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from warmlane.errors import MissingExtra, SchemaError
from warmlane.results import Table
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.pipeline import PipelineTask

#: Where TAPAS' token types number the lines of a table, from 1.
_LINES = 2


class TableQuestionAnswering(PipelineTask):
    """Result: a list of str, one a question; `output="native"` gives cells, their places and the aggregation too.

    A row is a dict of `query` (a str, or a list of them) and `table`: columns by name, as a dict of lists, as its JSON,
    or as a list of dicts; or a `Table`. Each row has its own, and every question is answered by itself, unless
    `sequential` says that each builds on those before.
    """

    allowed = frozenset({"sequential", "padding", "truncation"})

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        super().__init__(components, record)
        self.max_length = limits.positions(self.model)
        limits.align(self.tokenizer, self.max_length)

    def read(self, row: Any, plan: Plan) -> Any:
        if not isinstance(row, dict) or set(row) != {"query", "table"}:
            raise SchemaError("a row is a dict with the keys 'query' and 'table'", field="inputs")
        queries = row["query"] if isinstance(row["query"], list) else [row["query"]]
        if not queries or not all(isinstance(query, str) and query for query in queries):
            raise SchemaError("query: a str that is not empty, or a list of such", field="inputs.query")
        return {"query": queries, "table": _frame(_columns(row["table"]))}

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        if plan.forward.get("sequential"):
            return [self.pipeline.preprocess(row, **plan.prepare)]
        return [
            self.pipeline.preprocess({"query": query, "table": row["table"]}, **plan.prepare) for query in row["query"]
        ]

    def was_cut(self, row: Any, items: Sequence[Mapping[str, Any]], plan: Plan) -> bool:
        if self.pipeline.type == "tapas":  # it drops the last lines until the rest fits
            return any(int(item["token_type_ids"][..., _LINES].max()) < len(row["table"]) for item in items)
        if plan.prepare.get("truncation") in (None, False, "do_not_truncate"):
            return False
        whole = self.items(row, replace(plan, prepare={**plan.prepare, "truncation": "do_not_truncate"}))
        return sum(map(self.length, whole)) > sum(map(self.length, items))

    def check_length(self, length: int, plan: Plan) -> None:
        remedy = "send fewer lines of the table, or cut it with params={'truncation': True}"
        limits.check(length, self.max_length, remedy)

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        answers = [self.pipeline.postprocess(output, **plan.finish) for output in outputs]
        return answers[0] if len(answers) == 1 else answers


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
