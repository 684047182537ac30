"""Conversations that go on from job to job: what was said lies in Redis, so that any worker takes the next turn.

A row names its conversation by an id that the caller chose. Knows messages and the store, no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from warmlane import codec
from warmlane.conversation import ReadConversation, WriteConversation
from warmlane.errors import ConversationMoved, InvalidParams, SchemaError
from warmlane.jobs import PredictJob
from warmlane.results import Table
from warmlane_workers.context import JobContext
from warmlane_workers.engine.rows import OnError
from warmlane_workers.tasks.conversational import Continued, shortened
from warmlane_workers.tasks.failures import Failed

#: The name of a row's key, and of a job's parameter for its only row.
ID = "conversation_id"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
#: What is kept of a conversation; the oldest turns go first.
MAX_MESSAGES = 200
MAX_BYTES = 256 * 1024


def read_job(job: PredictJob) -> PredictJob:
    """A job with its conversation's id in its row, where the parameters name one.

    A flat list of messages is one conversation, and not one for each message.

    Raises:
        InvalidParams: an id for more than one row.
    """
    inputs = {"messages": job.inputs} if _is_chat(job.inputs) else job.inputs
    if ID not in job.params:
        return replace(job, inputs=inputs)
    rows = inputs if isinstance(inputs, list) else [inputs]
    if isinstance(inputs, Table) or len(rows) != 1:
        raise InvalidParams(
            f"params.{ID}: names one conversation; give each row its own, as a dict of 'text' and '{ID}'",
            field=f"params.{ID}",
        )
    row = rows[0] if isinstance(rows[0], dict) else {_key(rows[0]): rows[0]}
    row, params = {**row, ID: job.params[ID]}, {name: job.params[name] for name in job.params if name != ID}
    return replace(job, inputs=[row] if isinstance(inputs, list) else row, params=params)


def _is_chat(inputs: Any) -> bool:
    return isinstance(inputs, list) and bool(inputs) and all(isinstance(row, dict) and "role" in row for row in inputs)


def _key(row: Any) -> str:
    return "text" if isinstance(row, str) else "messages"


class Talks:
    """The conversations of one job, each read before its row runs and kept after all have run.

    Args:
        model: name of the model, without its version: a conversation outlives one.
        ttl_s: how long a conversation waits for its next turn.
    """

    def __init__(self, context: JobContext, model: str, ttl_s: int) -> None:
        self._context = context
        self._model = model
        self._ttl_s = ttl_s
        self._turns: dict[str, tuple[int, int]] = {}  # id -> the number of its turn, how many new messages

    def read(self, row: Any) -> Any:
        """A row with what was said before, if it names a conversation.

        Raises:
            SchemaError: no id, or one that another row of the job names.
        """
        if not isinstance(row, dict):
            return row
        new = _new(row)
        if row.get(ID) is None:
            return new
        name = row[ID]
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise SchemaError(f"inputs.{ID}: up to 128 letters, digits and . _ : -", field=f"inputs.{ID}")
        if name in self._turns:
            raise SchemaError(
                f"inputs.{ID}: two rows of a job cannot go on with one conversation; send the second when the first "
                "is answered",
                field=f"inputs.{ID}",
            )
        turns, job, body = self._context.ask(ReadConversation(self._model, name, self._ttl_s))
        kept: dict[str, Any] = codec.decode("conversation", body) if body else {"messages": [], "before": 0}
        said = kept["messages"]
        if job == self._context.job_id:  # an attempt before this one came so far and no farther
            turns, said = turns - 1, said[: kept["before"]]
        self._turns[name] = turns + 1, len(new)
        return Continued(said, new)

    def keep(self, rows: Sequence[Any], answers: list[Any], on_error: OnError) -> None:
        """Keep what was said in the rows that name a conversation and have an answer: all messages, the assistant's
        last. What another job has gone on with meanwhile is kept as that job left it, and the row fails.
        """
        for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            if isinstance(row, dict) and row.get(ID) is not None and not isinstance(answer, Failed):
                try:
                    self._keep(row[ID], answer)
                except ConversationMoved as exc:
                    answers[index] = on_error(index, exc)

    def _keep(self, name: str, answer: Sequence[Mapping[str, str]]) -> None:
        turn, new = self._turns[name]
        messages = _bounded(answer, new + 1)
        body = codec.encode("conversation", {"messages": messages, "before": len(messages) - new - 1})
        if not self._context.ask(WriteConversation(self._model, name, turn, self._context.job_id, body, self._ttl_s)):
            raise ConversationMoved(
                "another job answered this conversation meanwhile; wait for each answer before you say more"
            )


def _bounded(messages: Sequence[Mapping[str, str]], newest: int) -> list[Mapping[str, str]]:
    """Messages without the oldest turns, within the bounds; the newest stay in any case."""
    kept = list(messages)
    while len(kept) > MAX_MESSAGES or _bytes(kept) > MAX_BYTES:
        fewer = shortened(kept, len(kept) - newest)
        if len(fewer) == len(kept):
            break
        kept = fewer
    return kept


def _new(row: Mapping[str, Any]) -> list[Any]:
    """The messages that a row brings."""
    given = {name for name in ("text", "messages") if row.get(name) is not None}
    if len(given) != 1 or not set(row) <= {"text", "messages", ID}:
        raise SchemaError(f"a row is a dict of 'text' or 'messages', and '{ID}'", field="inputs")
    if "text" in given:
        return [{"role": "user", "content": row["text"]}]
    messages = row["messages"]
    if not isinstance(messages, list):
        raise SchemaError("inputs.messages: a list of dicts of 'role' and 'content'", field="inputs.messages")
    return messages


def _bytes(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(len(message["content"].encode()) for message in messages)
