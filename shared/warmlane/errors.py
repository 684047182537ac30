"""Every error that a caller of warmlane can meet, drawn once. Knows no transport and no library.

    WarmlaneError
    ├── ConfigurationError          a setting is missing, malformed or contradictory
    │   └── MissingExtra            an optional package is not installed
    ├── ServerUnreachable           no Redis answers at the URL                              (retry helps)
    ├── CodecError                  bytes that are not a warmlane message, or too large, or of a newer version
    ├── InvalidInput                the request is wrong; nothing was enqueued, or the job failed before it ran
    │   ├── SchemaError             the inputs do not fit the model's signature
    │   ├── InvalidParams           an unknown or ill-typed parameter
    │   ├── PayloadTooLarge         the inputs are larger than a message may be
    │   └── InputTooLong            a row has more tokens than the model can read
    ├── ModelError
    │   ├── ModelNotFound           no model of that name, version or alias
    │   ├── SourceError             the source of a save is absent, incomplete, or outside the allowed roots
    │   ├── ArtifactError           a stored model cannot be read, or refuses to load
    │   ├── UnsupportedTask         no implementation for the task
    │   └── HubUnavailable          the model hub does not answer                            (retry helps)
    ├── DeviceError                 the device could not do it
    │   └── CacheFull               the model does not fit beside the models in use          (retry helps)
    ├── JobError
    │   ├── JobNotFound             no job has that id
    │   ├── ResultExpired           the job ended, its result is gone
    │   ├── ResultTimeout           not finished within the caller's time-out                (retry helps)
    │   ├── JobCancelled            somebody cancelled it
    │   ├── JobExpired              its deadline passed before it was done
    │   └── PoisonJob               it took its worker down too often
    └── InternalError               a bug, or an exception of a library that nobody translated

Errors travel the wire as `{code, message, details}` and are rebuilt by code. A message names the remedy and never
quotes the payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class WarmlaneError(Exception):
    """The root of all errors that warmlane raises on purpose.

    Attributes:
        code: stable identifier for programs; never changes between releases.
        retryable: whether the same call may succeed later, unchanged.
        message: one line for people; says what to do.
        details: small machine-readable facts (the field, the limit, the allowed values).
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details

    def to_dict(self) -> dict[str, Any]:
        """The error as it travels: `{"code", "message", "details"}`."""
        return {"code": self.code, "message": self.message, "details": self.details}


class ConfigurationError(WarmlaneError):
    code = "configuration"


class MissingExtra(ConfigurationError):
    code = "missing_extra"


class ServerUnreachable(WarmlaneError):
    code = "server_unreachable"
    retryable = True


class CodecError(WarmlaneError):
    code = "codec"


class InvalidInput(WarmlaneError):
    code = "invalid_input"


class SchemaError(InvalidInput):
    code = "schema_mismatch"


class InvalidParams(InvalidInput):
    code = "invalid_params"


class PayloadTooLarge(InvalidInput):
    code = "payload_too_large"


class InputTooLong(InvalidInput):
    code = "input_too_long"


class ModelError(WarmlaneError):
    code = "model_error"


class ModelNotFound(ModelError):
    code = "model_not_found"


class SourceError(ModelError):
    code = "source_error"


class ArtifactError(ModelError):
    code = "artifact_error"


class UnsupportedTask(ModelError):
    code = "unsupported_task"


class HubUnavailable(ModelError):
    code = "hub_unavailable"
    retryable = True


class DeviceError(WarmlaneError):
    code = "device_error"


class CacheFull(DeviceError):
    code = "cache_full"
    retryable = True


class JobError(WarmlaneError):
    code = "job_error"


class JobNotFound(JobError):
    code = "job_not_found"


class ResultExpired(JobError):
    code = "result_expired"


class ResultTimeout(JobError, TimeoutError):
    code = "result_timeout"
    retryable = True


class JobCancelled(JobError):
    code = "job_cancelled"


class JobExpired(JobError):
    code = "job_expired"


class PoisonJob(JobError):
    code = "poison_job"


class InternalError(WarmlaneError):
    code = "internal_error"


def _tree(root: type[WarmlaneError]) -> dict[str, type[WarmlaneError]]:
    known = {root.code: root}
    for child in root.__subclasses__():
        known |= _tree(child)
    return known


#: Every code that can travel, and the class it becomes on arrival.
BY_CODE: Mapping[str, type[WarmlaneError]] = _tree(WarmlaneError)


def from_dict(data: Mapping[str, Any]) -> WarmlaneError:
    """Rebuild an error that came over the wire; a code of a newer release becomes `WarmlaneError` with its message."""
    kind = BY_CODE.get(str(data.get("code")), WarmlaneError)
    error = kind(str(data.get("message", "the worker gave no message")))
    details = data.get("details")
    if isinstance(details, Mapping):
        error.details.update({str(key): value for key, value in details.items()})
    if kind is WarmlaneError:
        error.details.setdefault("remote_code", data.get("code"))
    return error
