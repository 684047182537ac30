"""Conversations that go on from job to job: what was said lies in Redis, so that any worker takes the next turn.

A row names its conversation by an id that the caller chose. Knows messages and the store, no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from warmlane import codec
from warmlane.conversation import ReadConversation, WriteConversation
from warmlane.errors import ConversationMoved, InvalidParams, SchemaError
from warmlane.results import Table
from warmlane.store import RedisStore
from warmlane_workers.tasks.conversational import Continued, shortened

#: The name of a row's key, and of a job's parameter for its only row.
ID = "conversation_id"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
#: What is kept of a conversation; the oldest turns go first.
MAX_MESSAGES = 200
MAX_BYTES = 256 * 1024


def read_job(inputs: Any, params: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A job's inputs with its conversation's id in its row, and the other parameters.

    A flat list of messages is one conversation and not one for each message.

    Raises:
        InvalidParams: an id for more than one row.
    """
    rest = dict(params)
    row = {"messages": inputs} if _is_chat(inputs) else inputs
    if ID not in rest:
        return row, rest
    if isinstance(row, Table) or (isinstance(row, list) and len(row) != 1):
        raise InvalidParams(
            f"params.{ID}: names one conversation; give each row its own, as a dict of 'text' and '{ID}'",
            field=f"params.{ID}",
        )
    given = rest.pop(ID)
    only = row[0] if isinstance(row, list) else row
    named = {**(only if isinstance(only, dict) else {_key(only): only}), ID: given}
    return [named] if isinstance(row, list) else named, rest


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

    def __init__(self, store: RedisStore, ttl_s: int, model: str, job_id: str) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._model = model
        self._job_id = job_id
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
        turns, job, body = self._store.run(ReadConversation(self._model, name, self._ttl_s))
        kept = codec.decode("conversation", body) if body else {"messages": [], "before": 0}
        said = kept["messages"]
        if job == self._job_id:  # an attempt before this one came so far and no farther
            turns, said = turns - 1, said[: kept["before"]]
        self._turns[name] = turns + 1, len(new)
        return Continued(said, new)

    def keep(self, row: Any, answer: Sequence[Mapping[str, str]]) -> None:
        """Keep what was said, if the row names a conversation.

        Args:
            answer: all messages, the assistant's last.

        Raises:
            ConversationMoved: another job took this turn meanwhile.
        """
        name = row.get(ID) if isinstance(row, dict) else None
        if name is None:
            return
        turn, new = self._turns[name]
        messages = list(answer)
        while len(messages) > MAX_MESSAGES or _bytes(messages) > MAX_BYTES:
            fewer = shortened(messages, len(messages) - new - 1)
            if len(fewer) == len(messages):
                break
            messages = fewer
        body = codec.encode("conversation", {"messages": messages, "before": max(0, len(messages) - new - 1)})
        if not self._store.run(WriteConversation(self._model, name, turn, self._job_id, body, self._ttl_s)):
            raise ConversationMoved(
                "another job answered this conversation meanwhile; wait for each answer before you say more"
            )


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
