"""How a job is to be handled, whatever it asks for: when it counts as too late, before which others it goes, and where.

Options are no part of a job: they do not change its answer, and the worker that runs it reads them from its record.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TypedDict

from warmlane.errors import InvalidInput
from warmlane.jobs.base import check_choice, check_name
from warmlane.keys import DEFAULT_POOL

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
            raise InvalidInput("deadline: seconds from now, a number above 0", field="deadline")
        if self.result_ttl is not None and (type(self.result_ttl) is not int or self.result_ttl < 1):
            raise InvalidInput("result_ttl: seconds, a whole number from 1", field="result_ttl")
        key = self.idempotency_key
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= _MOST_KEY_CHARACTERS):
            raise InvalidInput(
                f"idempotency_key: a str of 1 to {_MOST_KEY_CHARACTERS} characters", field="idempotency_key"
            )

    def job_id(self) -> str | None:
        """The id that the key stands for, in every process; None without a key."""
        if self.idempotency_key is None:
            return None
        return hashlib.sha256(f"idempotency {self.idempotency_key}".encode()).hexdigest()[:32]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


#: Of a request that names none.
AS_EVER = Options()
