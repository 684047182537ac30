"""The ways to ask: every input of the classic question-answering pipeline as pairs of a question and a context."""

from __future__ import annotations

from types import GeneratorType
from typing import Any

from torch.utils.data import Dataset

Pair = dict[str, str]


def pairs(inputs: tuple[Any, ...], question: Any = None, context: Any = None) -> Any:
    """The pairs that were asked for: a list, or the generator or data set that yields them.

    Args:
        inputs: a dict of `question` and `context`, dicts, a list of them, or two texts.
        question: one, or a list.
        context: one for all questions, or a list of one for each.

    Raises:
        ValueError: it is none of these.
    """
    if len(inputs) == 2 and all(isinstance(part, str) for part in inputs):
        return [{"question": inputs[0], "context": inputs[1]}]
    if inputs:
        given = inputs[0] if len(inputs) == 1 else list(inputs)
        return given if isinstance(given, list | GeneratorType | Dataset) else [given]
    if isinstance(question, str) and isinstance(context, str):
        return [{"question": question, "context": context}]
    if isinstance(question, list) and isinstance(context, str):
        return [{"question": one, "context": context} for one in question]
    if isinstance(question, list) and isinstance(context, list) and len(question) == len(context):
        return [{"question": one, "context": other} for one, other in zip(question, context, strict=True)]
    raise ValueError(
        "give a question and a context, as texts; several questions with one context, or with one each; "
        "or dicts of 'question' and 'context'"
    )


def checked(pair: Any) -> Pair:
    """A pair as it has to be.

    Raises:
        ValueError: it is not a dict of two texts, or one of them is empty.
    """
    if not isinstance(pair, dict):
        raise ValueError(f"a question comes as a dict of 'question' and 'context', not as a {type(pair).__name__}")
    for name in ("question", "context"):
        if not isinstance(pair.get(name), str):
            raise ValueError(f"{name!r} is missing or is not a text")
        if not pair[name]:
            raise ValueError(f"{name!r} is empty")
    return {"question": pair["question"], "context": pair["context"]}
