"""Reads texts by few calls of their tokenizer: a call costs more in Python than in `tokenizers` itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any

import torch

from warmlane.combining import Combiner

#: Options of a tokenizer by which it makes of each text what it would make of it alone.
_OPTIONS = frozenset({"truncation", "max_length"})
#: A longer text is read by itself: it may be refused at its beginning, and it holds up the others.
_LONGEST = 10_000

_Asked = tuple[Sequence[str], Mapping[str, Any]]


class TextReader:
    """A fast tokenizer, for many threads: those that meet share a call.

    Args:
        lock: is held by whoever uses the tokenizer.
    """

    def __init__(self, tokenizer: Any, lock: AbstractContextManager[Any]) -> None:
        self._tokenizer = tokenizer
        self._lock = lock
        self._combiner: Combiner[_Asked, list[dict[str, Any]]] = Combiner(self._read_all)

    def reads(self, rows: Sequence[Any], options: Mapping[str, Any]) -> bool:
        """Whether rows are texts that can be read together with others."""
        texts = all(isinstance(row, str) and len(row) <= _LONGEST for row in rows)
        return bool(rows) and texts and self._tokenizer.is_fast and options.keys() <= _OPTIONS

    def read(self, texts: Sequence[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the tokenizer makes of each text alone: tensors (1, tokens) by their names.

        Raises:
            Exception: what the tokenizer raises of these texts, or of one that is read with them.
        """
        return self._combiner.run((texts, options))

    def _read_all(self, asked: Sequence[_Asked]) -> list[list[dict[str, Any]]]:
        read: list[list[dict[str, Any]]] = []
        for options, alike in groupby(asked, key=lambda one: one[1]):
            jobs = [texts for texts, _ in alike]
            with self._lock:
                found = self._tokenizer([text for texts in jobs for text in texts], **options)
            rows = iter(_rows(found))
            read += [[next(rows) for _ in texts] for texts in jobs]
        return read


def _rows(found: Mapping[str, Sequence[Sequence[int]]]) -> list[dict[str, Any]]:
    """Lists of numbers (texts, tokens) -> one dict of tensors a text."""
    names = list(found)
    return [
        {name: torch.tensor([numbers]) for name, numbers in zip(names, row, strict=True)}
        for row in zip(*(found[name] for name in names), strict=True)
    ]
