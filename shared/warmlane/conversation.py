"""What workers ask of the store about a conversation: operations as in `warmlane.ops`, which no client runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane.keys import Keys
from warmlane.ops import Op


@dataclass(frozen=True, slots=True)
class ReadConversation(Op[tuple[int, str, bytes]]):
    """What was said so far: the number of turns, the job that took the last one, and the encoded messages."""

    script = "recall"
    model: str
    conversation_id: str
    ttl_s: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        return [names.conversation(self.model, self.conversation_id)], [self.ttl_s]

    def read(self, reply: Any) -> tuple[int, str, bytes]:
        return int(reply[0]), reply[1].decode(), reply[2]


@dataclass(frozen=True, slots=True)
class WriteConversation(Op[bool]):
    """Keep a conversation after its next turn. The reply is False when another job took that turn.

    Attributes:
        turn: the number of this turn, from 1.
    """

    script = "remember"
    model: str
    conversation_id: str
    turn: int
    job_id: str
    messages: bytes
    ttl_s: int

    def arguments(self, names: Keys) -> tuple[list[str], list[Any]]:
        key = names.conversation(self.model, self.conversation_id)
        return [key], [self.turn, self.job_id, self.messages, self.ttl_s]

    def read(self, reply: Any) -> bool:
        return bool(reply)
