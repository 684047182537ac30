"""Jobs on models that are in the model store: persist, alias, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from warmlane.jobs.base import ModelJob, check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistJob(ModelJob):
    """Fetch the weights of a reference-only model into its artifact (the guide, "Persist the Model Weight")."""

    kind: ClassVar[str] = "persist"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasJob(ModelJob):
    """Let `name@alias` mean a version of the model; an alias that there is moves.

    Attributes:
        model: `name/3`, or what means a version now: `name` (its newest), `name@other`.
        alias: such as "prod"; of the characters that names have.
    """

    kind: ClassVar[str] = "alias"
    alias: str

    def __post_init__(self) -> None:
        ModelJob.__post_init__(self)
        check_name(self.alias, "alias")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteJob(ModelJob):
    """Delete a version (`name/3`), a model with all versions and aliases (`name`), or an alias alone (`name@alias`)."""

    kind: ClassVar[str] = "delete"
