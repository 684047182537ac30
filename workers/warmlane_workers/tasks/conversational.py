"""Conversations: what was said so far to what is said next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.pipelines.classic import Conversation
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import check_values
from warmlane_workers.tasks.pipeline import GENERATION
from warmlane_workers.tasks.text import TextTask


class Conversational(TextTask):
    """Result: the answer to one conversation as a str; to a list of them a list of str.

    A row is a str, which opens a conversation, or all its messages so far: dicts of `role` and `content`. In a list,
    each item is a conversation of its own.
    """

    budget_factor = 16
    allowed = GENERATION | {"clean_up_tokenization_spaces"}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        check_values(params, self.allowed - GENERATION)
        return super().plan(params)

    def read(self, row: Any, plan: Plan) -> Any:
        messages = [{"role": "user", "content": row}] if isinstance(row, str) else row
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise SchemaError("a row is a str, or a list of messages, dicts of 'role' and 'content'", field="inputs")
        return Conversation(messages)

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        return ([part] for part in batch) if self._pad is None else super().groups(batch)

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        return list(super().finish(outputs, plan).messages)

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        found = super().assemble(answers, single, output)
        return found[0] if single and output != "native" else found


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"role", "content"} and all(map(_is_text, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
