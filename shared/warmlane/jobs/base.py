"""What every kind of job has: an id, fields that travel, and checks of them. Knows no kind."""

from __future__ import annotations

import dataclasses
import re
import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

from warmlane.errors import InvalidInput
from warmlane.model import NAME, ModelRef

#: Marks a field that came after the first release: it travels only when it is set, so that older workers read the rest.
LATER = {"later": True}

_JOB_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    return uuid.uuid4().hex


def check_id(job_id: object) -> str:
    """A job id as given out by warmlane: 32 hexadecimal digits.

    Raises:
        InvalidInput: anything else.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidInput("a job id is 32 hexadecimal digits, as `Job.id` gave it", field="id")
    return job_id


def check_name(name: object, field: str = "name") -> None:
    """The name of a model or of an alias.

    Raises:
        InvalidInput: not 1 to 64 of the characters that names have.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            f"{field}: 1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit", field=field
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every kind of job has."""

    kind: ClassVar[str]

    @property
    def subject(self) -> str:
        """The model that it is about, for the record."""
        raise NotImplementedError

    def fields(self) -> dict[str, Any]:
        """As it travels: field name -> value, without the later fields that say nothing."""
        values = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return {
            spec.name: values[spec.name]
            for spec in dataclasses.fields(self)
            if not spec.metadata.get("later") or _says(values[spec.name], spec.default)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelJob(Job):
    """A job on a model that is in the model store.

    Attributes:
        model: `name` (the newest version), `name/3` or `name@alias`.
    """

    model: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)

    @property
    def subject(self) -> str:
        return self.model


def _says(value: Any, default: Any) -> bool:
    """Whether a field has another value than its default; an array, which has no one answer to `==`, has."""
    return type(value) is not type(default) or value != default


def set_fields(job: Job, **values: Any) -> None:
    """Replace fields of a job that makes itself."""
    for name, value in values.items():
        object.__setattr__(job, name, value)


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInput(f"{name}: expected true or false", field=name)


def check_text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInput(f"{name}: expected a str that is not empty", field=name)


def check_mapping(name: str, value: object) -> None:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(f"{name}: expected a dict with str keys", field=name)


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:  # an ndarray has no one answer to `in`
        raise InvalidInput(f"{name}: must be one of {', '.join(allowed)}", field=name, allowed=list(allowed))
