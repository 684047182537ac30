"""What a pipeline's own call makes of its arguments, told without running a model.

A pipeline reads its arguments in `__call__`, each class in its own way, and hands what it found to `run_single` or to
`get_iterator`. A copy whose two ends are tied off tells it for every class, those of other releases included.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warmlane.errors import SchemaError

#: Names that pipelines give to their first argument, the picture. A row may use any of them.
_FIRST = ("inputs", "image", "images")


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a pipeline's three steps for one row.

    Attributes:
        inputs: what the first step takes.
    """

    inputs: Any
    prepare: Mapping[str, Any]
    forward: Mapping[str, Any]
    finish: Mapping[str, Any]


def told(pipeline: Any, row: Any, params: Mapping[str, Any]) -> Call:
    """The steps' arguments for a row that is called with parameters.

    Args:
        row: the first argument; or a dict of arguments, told by their names.

    Raises:
        SchemaError: a row that is several inputs.
        Exception: whatever the pipeline raises at arguments that it cannot read.
    """
    found: list[Call] = []

    def run_single(inputs: Any, *steps: Mapping[str, Any]) -> None:
        found.append(Call(inputs, *steps))

    def get_iterator(inputs: Any, num_workers: int, batch_size: int, *steps: Mapping[str, Any]) -> list[None]:
        several = inputs if isinstance(inputs, Sequence) else ()
        found.extend(Call(each, *steps) for each in several)
        return [None]

    reader = copy.copy(pipeline)  # of a few names; the model is the same
    reader.run_single, reader.get_iterator = run_single, get_iterator
    names = first_names(pipeline)
    if isinstance(row, dict) and not names.isdisjoint(row):
        reader(**{**params, **_renamed(row, pipeline)})
    else:
        reader(row, **params)
    if len(found) != 1:
        raise SchemaError("a row is one input; send several as a list of rows", field="inputs")
    return found[0]


def first_names(pipeline: Any) -> frozenset[str]:
    """The names of which one makes a dict the arguments of a call; without any it is the first argument itself."""
    return frozenset({*_positional(pipeline), *_FIRST})


def _positional(pipeline: Any) -> list[str]:
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    known = inspect.signature(pipeline.__call__).parameters.values()
    return [spec.name for spec in known if spec.kind in kinds]


def _renamed(row: Mapping[str, Any], pipeline: Any) -> dict[str, Any]:
    """The picture under the name that this pipeline has for it."""
    own = next((name for name in _positional(pipeline) if name in _FIRST), "inputs")
    given = next((name for name in _FIRST if name in row), own)
    return {own if name == given else name: value for name, value in row.items()}
