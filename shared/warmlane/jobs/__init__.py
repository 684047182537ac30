"""What a caller asks for: one frozen dataclass a kind of job.

A job checks itself when it is made, on the client before it is enqueued and on the worker when it is decoded; both
sides run this one package. Payload fields are hidden from `repr`, because Dramatiq logs messages with their arguments.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from warmlane.errors import InvalidInput
from warmlane.jobs.base import LATER, Job, check_id, check_name, new_id
from warmlane.jobs.device import ON_ERROR, OUTPUTS, RETURN_TYPES, LoadJob, PredictJob, UnloadJob
from warmlane.jobs.options import AS_EVER, PRIORITIES, JobOptions, Options
from warmlane.jobs.save import COMPONENTS, SaveJob, check_components, split_example
from warmlane.jobs.stored import AliasJob, DeleteJob, PersistJob

__all__ = [
    "AS_EVER",
    "COMPONENTS",
    "KINDS",
    "LATER",
    "ON_ERROR",
    "OUTPUTS",
    "PRIORITIES",
    "RETURN_TYPES",
    "AliasJob",
    "DeleteJob",
    "Job",
    "JobOptions",
    "LoadJob",
    "Options",
    "PersistJob",
    "PredictJob",
    "SaveJob",
    "UnloadJob",
    "check_components",
    "check_id",
    "check_name",
    "make",
    "new_id",
    "split_example",
]

KINDS: dict[str, type[Job]] = {
    cls.kind: cls for cls in (PredictJob, LoadJob, UnloadJob, SaveJob, PersistJob, AliasJob, DeleteJob)
}


def make(kind: str, fields: dict[str, Any]) -> Job:
    """A job from its kind and fields, as they come over HTTP, from the command line or from the wire.

    Raises:
        InvalidInput: an unknown kind, an unknown, missing or ill-typed field.
    """
    cls = KINDS.get(kind)
    if cls is None:
        raise InvalidInput(f"kind must be one of {', '.join(KINDS)}", field="kind", allowed=list(KINDS))
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    unknown = sorted(set(fields) - set(specs))
    if unknown:
        raise InvalidInput(
            f"a {kind} job has no field {unknown[0][:40]!r}; it has {', '.join(specs)}", field=unknown[0][:40]
        )
    for name, spec in specs.items():
        if name not in fields and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise InvalidInput(f"a {kind} job needs the field {name!r}", field=name)
    return cls(**fields)
