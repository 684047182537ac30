"""A pipeline's own answers in the shapes of the guide's table, one output a row, in order. Knows no model and no queue.

An answer is what the bare pipeline gives to its row alone: `[{"generated_text": …}]`, `{"sequence", "labels", …}`.
Nothing of a row reaches another's output, whatever the rows have in common. Source: the guide's table of input and
output types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from warmlane.errors import UnsupportedTask
from warmlane.results import Table

#: (answers of the rows, whether the input was one row and no list) -> the result.
Shape = Callable[[Sequence[Any], bool], Any]


def guide_output(task: str, answers: Sequence[Any], *, single: bool = False) -> Any:
    """The answers of all rows as the guide's result.

    Args:
        task: the pipeline's task, e.g. `translation_en_to_fr`.
        answers: what the bare pipeline answers to each row alone.
        single: the input was one row, and no list.

    Returns:
        A list of str with one item a row (an item is a list where a row has several texts: several samples, several
        masks, `top_k`); a `Table`; for features an array (tokens, hidden) of a single row, a list of them of a list.

    Raises:
        UnsupportedTask: the guide has no shape for it.
    """
    return _shape(task)(answers, single)


def has_shape(task: str) -> bool:
    """Whether the guide's table has the task."""
    return _family(task) in _SHAPES


def _family(task: str) -> str:
    return "translation" if task.startswith("translation_") else task


def _shape(task: str) -> Shape:
    if not has_shape(task):
        raise UnsupportedTask(f"the guide has no output for the task {task!r}; it has {', '.join(_SHAPES)}", task=task)
    return _SHAPES[_family(task)]


def _each(read: Callable[[Any], Any]) -> Shape:
    """One item a row."""
    return lambda answers, single: [read(answer) for answer in answers]


def _text(key: str) -> Callable[[Any], Any]:
    """The text under a key; of several records a list of their texts."""

    def read(answer: Any) -> Any:
        if isinstance(answer, Mapping):
            return _last_message(answer[key]).strip()
        texts = [read(record) for record in answer]
        return texts[0] if len(texts) == 1 else texts

    return read


def _last_message(text: str | Sequence[Mapping[str, str]]) -> str:
    """A chat's answer is its last message."""
    return text if isinstance(text, str) else text[-1]["content"]


def _reply(answer: Any) -> str:
    return _last_message(answer).strip()


def _tags(answer: Sequence[Mapping[str, Any]]) -> str:
    """`"I-PER,I-LOC"`; "" of a text without entities."""
    return ",".join(record.get("entity_group") or record["entity"] for record in answer)


def _tokens(answer: Sequence[Any]) -> Any:
    """The best token of a mask; of several masks a list of the best of each."""
    if isinstance(answer[0], Mapping):
        return str(answer[0]["token_str"]).strip()
    return [_tokens(mask) for mask in answer]


def _speech(answer: Mapping[str, Any]) -> str:
    """The text; with time stamps the whole answer as JSON."""
    return json.dumps(dict(answer)) if "chunks" in answer else str(answer["text"]).strip()


def _queries(answers: Sequence[Any], single: bool) -> list[str]:
    """One text a query: a row that asks a list of queries of its table stands for as many rows."""
    records = [record for answer in answers for record in ([answer] if isinstance(answer, Mapping) else answer)]
    return [str(record["answer"]).strip() for record in records]


def _labels(*names: str, long: bool = False) -> Shape:
    """A table of labels and scores, one row a row; where a row has several labels, cells are lists, best first.

    Args:
        long: a single input with several labels has one row a label.
    """

    def shape(answers: Sequence[Any], single: bool) -> Table:
        records = [_flat(answer) for answer in answers]
        if single and long:
            return Table.from_rows(records[0], names)
        return Table({name: [_cell([label[name] for label in labels]) for labels in records] for name in names})

    return shape


def _flat(answer: Any) -> list[Any]:
    """A row's labels; a pipeline that was constructed with `top_k` nests those of a lone text once more."""
    if isinstance(answer, Mapping):
        return [answer]
    return list(answer[0]) if answer and isinstance(answer[0], list) else list(answer)


def _cell(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _sorted_into(answers: Sequence[Any], single: bool) -> Table:
    """One row a sequence and label: each row's own labels, best first, however many rows say the same."""
    found = [record for answer in answers for record in ([answer] if isinstance(answer, Mapping) else answer)]
    return Table(
        {
            "sequence": [record["sequence"] for record in found for _ in record["labels"]],
            "labels": [label for record in found for label in record["labels"]],
            "scores": [score for record in found for score in record["scores"]],
        }
    )


def _features(answers: Sequence[Any], single: bool) -> Any:
    arrays = [numpy.asarray(answer) for answer in answers]  # (1, tokens, hidden), or (tokens, hidden)
    arrays = [array[0] if array.ndim == 3 else array for array in arrays]
    return arrays[0] if single else arrays


_SHAPES: Mapping[str, Shape] = {
    "conversational": _each(_reply),
    "summarization": _each(_text("summary_text")),
    "text-generation": _each(_text("generated_text")),
    "text2text-generation": _each(_text("generated_text")),
    "translation": _each(_text("translation_text")),
    "token-classification": _each(_tags),
    "fill-mask": _each(_tokens),
    "question-answering": _each(_text("answer")),
    "table-question-answering": _queries,
    "automatic-speech-recognition": _each(_speech),
    "text-classification": _labels("label", "score"),
    "image-classification": _labels("label", "score", long=True),
    "audio-classification": _labels("score", "label", long=True),
    "zero-shot-classification": _sorted_into,
    "feature-extraction": _features,
}
