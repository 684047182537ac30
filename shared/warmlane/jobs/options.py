"""How a job is to be handled, whatever it asks for: when it counts as too late, before which others it goes, and where.

Options are no part of a job: they do not change its answer, and the worker that runs it reads them from its record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypedDict

from warmlane.errors import InvalidInput
from warmlane.jobs.base import check_choice, check_name
from warmlane.keys import DEFAULT_POOL
from warmlane.settings import LONGEST_S

#: First what is taken first.
PRIORITIES = ("high", "normal", "low")
_MOST_KEY_CHARACTERS = 256


class JobOptions(TypedDict, total=False):
    """The options of a request, as keyword arguments; see `Options`."""

    deadline: float | None
    priority: str
    pool: str
    idempotency_key: str | None
    result_ttl: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is to be handled.

    Attributes:
        deadline: seconds from its acceptance in which it has to be answered. A job that is late does not reach the
            device any more and ends as EXPIRED.
        priority: "high", "normal" or "low". What waits with a higher priority is taken first; now and then the lowest
            is, so that nothing waits for ever.
        pool: the workers that may take it, by the name that they were started with.
        idempotency_key: requests with one key are one job, for as long as its record lives: the second gets the handle
            of the first.
        result_ttl: seconds that the result can be fetched; default: as the worker is set.

    Raises:
        InvalidInput: names the option.
    """

    deadline: float | None = None
    priority: str = "normal"
    pool: str = DEFAULT_POOL
    idempotency_key: str | None = None
    result_ttl: int | None = None

    def __post_init__(self) -> None:
        check_choice("priority", self.priority, PRIORITIES)
        check_name(self.pool, "pool")
        if self.deadline is not None and not _positive(self.deadline):
            raise InvalidInput(f"deadline: seconds from now, a number above 0 and up to {LONGEST_S}", field="deadline")
        if self.result_ttl is not None and not (type(self.result_ttl) is int and 1 <= self.result_ttl <= LONGEST_S):
            raise InvalidInput(f"result_ttl: seconds, a whole number from 1 to {LONGEST_S}", field="result_ttl")
        if self.idempotency_key is not None and not _is_key(self.idempotency_key):
            raise InvalidInput(
                f"idempotency_key: a str of 1 to {_MOST_KEY_CHARACTERS} characters, no lone surrogates among them",
                field="idempotency_key",
            )

    def job_id(self) -> str | None:
        """The id that the key stands for, in every process; None without a key."""
        if self.idempotency_key is None:
            return None
        return hashlib.sha256(f"idempotency {self.idempotency_key}".encode()).hexdigest()[:32]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LONGEST_S


def _is_key(value: object) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_KEY_CHARACTERS:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


#: Of a request that names none.
AS_EVER = Options()
