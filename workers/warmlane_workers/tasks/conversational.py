"""Conversations: what was said so far to the assistant's answer. Knows messages, and not where they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from warmlane.errors import InputTooLong, SchemaError
from warmlane_workers.pipelines.classic import Conversation
from warmlane_workers.tasks import limits
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.generation import GeneratingTask, check_answer, check_values
from warmlane_workers.tasks.pipeline import GENERATION

_ROLES = ("user", "assistant", "system")


@dataclass(frozen=True, slots=True)
class Continued:
    """A row that goes on with a conversation. Of what was `said` the oldest may be left out."""

    said: Sequence[Mapping[str, str]]
    new: Sequence[Mapping[str, str]]


def shortened(messages: Sequence[Mapping[str, str]], most: int) -> list[Mapping[str, str]]:
    """Messages without the oldest turn: from the first that is not the system's up to the user's next.

    Args:
        most: how many of the first may be left out; where no turn is so short, all of them stay.
    """
    start = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    turns = [at for at in range(start + 1, most + 1) if at == most or messages[at]["role"] == "user"]
    return [*messages[:start], *messages[turns[0] :]] if turns else list(messages)


class Conversational(GeneratingTask):
    """Result: the answer to one conversation as a str; to a list of them a list of str.

    A row is a str, which opens a conversation, or all its messages so far: dicts of `role` and `content`. In a list,
    each item is a conversation of its own.
    """

    allowed = GENERATION | {"clean_up_tokenization_spaces"}

    def plan(self, params: Mapping[str, Any]) -> Plan:
        self.check_params(params)
        check_values(params, self.allowed - GENERATION)
        plan = super().plan(params)
        check_answer(plan.forward, limits.answer_positions(self.model))
        return plan

    def read(self, row: Any, plan: Plan) -> Any:
        messages = [{"role": "user", "content": row}] if isinstance(row, str) else row
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise SchemaError(
                f"a row is a str, or a list of messages, dicts of 'role' ({', '.join(_ROLES)}) and 'content'",
                field="inputs",
            )
        return Conversation(messages)

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        if not isinstance(row, Continued):
            return super().prepare(row, plan)
        said = list(row.said)
        while True:
            try:
                parts = super().prepare([*said, *row.new], plan)
                return [replace(part, truncated=len(said) < len(row.said)) for part in parts]
            except InputTooLong:
                fewer = shortened(said, len(said))
                if len(fewer) == len(said):
                    raise
                said = fewer

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        return [output for rows in self.runs(batch, plan) for output in super(Conversational, self).forward(rows, plan)]

    def so_far(self, part: Prepared, tokens: list[int], plan: Plan) -> Any:
        answer = tokens[1:] if self.model.config.is_encoder_decoder else tokens
        said = Conversation(list(part.inputs["conversation"].messages))  # the answer is put to it
        return {"output_ids": torch.tensor([answer]), "conversation": said}

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        return list(super().finish(outputs, plan).messages)

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        found = super().assemble(answers, single, output)
        return found[0] if single and output != "native" else found


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and value["role"] in _ROLES
        and isinstance(value["content"], str)
    )
