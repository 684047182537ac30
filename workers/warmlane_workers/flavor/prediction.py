"""A prediction on a pipeline in memory, row by row, for the sake of its signature. Bounded in time; it leaves no trace.

The pipeline is a copy that shares model and tokenizer, the rows are copies, and a prediction that is late ends at the
next layer of its model.
"""

from __future__ import annotations

import concurrent.futures
import copy
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import Pipeline

from warmlane.errors import InvalidInput, SchemaError
from warmlane.results import NDArray, Table, is_dataframe
from warmlane.signature import is_one_row
from warmlane_workers.tasks.outputs import guide_output
from warmlane_workers.tasks.trimming import split

T = TypeVar("T")


class Late(Exception):
    """A prediction was not done in time."""


class _Stop(BaseException):
    """Ends a late prediction; no `except Exception` of a pipeline stops it."""


def generate_signature_output(
    pipeline: Any, data: Any, model_config: Mapping[str, Any] | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """What a model of this pipeline answers to data, in the guide's shape: the second argument of `infer_signature`.

    Args:
        pipeline: a `transformers.Pipeline`.
        data: a row, a list of rows, or a table.
        model_config, params: parameters of the call; `params` win.

    Raises:
        InvalidInput: no pipeline, or no rows.
        UnsupportedTask: the guide has no shape for its task.
        Exception: whatever the pipeline raises.
    """
    if not isinstance(pipeline, Pipeline):
        raise InvalidInput(
            f"pipeline: expected a transformers pipeline, got {type(pipeline).__name__}; build one with "
            "transformers.pipeline(task, model=..., tokenizer=...)",
            field="pipeline",
        )
    guide_output(pipeline.task, [])  # refused before it costs anything
    if is_dataframe(data):
        data = Table.from_pandas(data)
    single = is_one_row(data)
    rows = _rows(data) if isinstance(data, Table) else [data] if single else data
    if not rows:
        raise SchemaError("data: an empty list has no rows to predict", field="data")
    options, _ = split({**(model_config or {}), **(params or {})})
    alone = copy.copy(pipeline)  # a pipeline counts its calls
    return guide_output(pipeline.task, [_answer(alone, row, options) for row in rows], single=single)


def _rows(table: Table) -> list[Any]:
    """A table's rows; of one with a single column its values, whatever the column is called."""
    columns = list(table.columns.values())
    return list(columns[0]) if len(columns) == 1 else table.rows()


def _answer(pipeline: Any, row: Any, options: Mapping[str, Any]) -> Any:
    """What the bare pipeline answers to a row alone."""
    row = copy.deepcopy(row)  # pipelines take their dicts apart
    if isinstance(row, NDArray):
        row = row.to_numpy()
    if pipeline.task == "zero-shot-classification" and isinstance(row, dict):
        sequences, labels = row.pop("sequences"), _from_json(row.pop("candidate_labels"))
        return pipeline(sequences, candidate_labels=labels, **{**options, **row})
    if pipeline.task == "table-question-answering" and isinstance(row, dict):
        table = _from_json(row["table"])
        row["table"] = dict(table.columns) if isinstance(table, Table) else table
    return pipeline(row, **options)


def _from_json(value: Any) -> Any:
    """Labels or a table out of their JSON; what is none, e.g. labels between commas, as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def bounded(call: Callable[[], T], timeout_s: float) -> T:
    """Call in a thread of its own, and wait so long for it.

    Raises:
        Late: it was not done; it ends at the next layer of its model.
        Exception: whatever the call raises.
    """
    done: Future[T] = Future()
    late = threading.Event()
    thread = threading.Thread(target=_run, args=(call, done, late), name="warmlane-example", daemon=True)
    thread.start()
    try:
        if done in concurrent.futures.wait([done], timeout_s).done:
            return done.result()
        raise Late
    finally:
        late.set()


def _run(call: Callable[[], T], done: Future[T], late: threading.Event) -> None:
    here = threading.get_ident()

    def stop(module: Any, inputs: Any) -> None:
        if late.is_set() and threading.get_ident() == here:
            raise _Stop

    # Of all modules, so that the model itself is not touched; those that run in other threads pass.
    hook = register_module_forward_pre_hook(stop)
    try:
        done.set_result(call())
    except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised where the call is waited for
        done.set_exception(exc)
    finally:
        hook.remove()
