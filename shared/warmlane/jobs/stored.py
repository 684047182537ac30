"""Jobs on models that are in the model store: persist, alias, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from warmlane.jobs.base import Job, check_name
from warmlane.model import ModelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistJob(Job):
    """Fetch the weights of a reference-only model into its artifact (the guide, "Persist the Model Weight")."""

    kind: ClassVar[str] = "persist"
    model: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasJob(Job):
    """Let `name@alias` mean a version of the model; an alias that there is moves.

    Attributes:
        model: `name/3`, or what means a version now: `name` (its newest), `name@other`.
        alias: such as "prod"; of the characters that names have.
    """

    kind: ClassVar[str] = "alias"
    model: str
    alias: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        check_name(self.alias, "alias")

    @property
    def subject(self) -> str:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(Job):
    """Delete a version (`name/3`), a model with all versions and aliases (`name`), or an alias alone (`name@alias`)."""

    kind: ClassVar[str] = "delete"
    model: str

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)

    @property
    def subject(self) -> str:
        return self.model
