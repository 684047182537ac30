"""Every error that a caller of warmlane can meet, drawn once. Knows no transport and no library.

    WarmlaneError
    ├── ConfigurationError          a setting is missing, malformed or contradictory
    │   └── MissingExtra            an optional package is not installed
    ├── ServerUnreachable           no Redis answers at the URL                              (retry helps)
    ├── QueueFull                   as many jobs wait, or as many bytes, as may               (retry helps)
    ├── CodecError                  bytes that are not a warmlane message, or too large, or of a newer version
    ├── InvalidInput                the request is wrong; nothing was enqueued, or the job failed before it ran
    │   ├── SchemaError             the inputs do not fit the model's signature
    │   ├── InvalidParams           an unknown or ill-typed parameter
    │   ├── PayloadTooLarge         the inputs are larger than a message may be
    │   ├── PoolNotFound            no live worker is in the pool
    │   ├── IdempotencyConflict     the idempotency key belongs to another request
    │   ├── InputTooLong            a row has more tokens than the model can read
    │   └── SaveRefused             what a save was asked to write makes no loadable model; nothing was written
    │       ├── UnsupportedSource           neither pipeline, components, directory nor hub id
    │       ├── UnknownComponent            a component of a name that artifacts do not have
    │       ├── MissingModel                components without a model
    │       ├── UnsupportedModel            the model is no transformers or PEFT model
    │       ├── ModelDistributed            the model lies on several devices
    │       ├── PipelineMismatch            model, components and task make no pipeline
    │       ├── TaskRequired                the source does not tell its task
    │       ├── TaskConflict                the metadata name another task
    │       ├── UnsupportedInferenceTask    an `llm/v1` task that the pipeline's task does not serve
    │       ├── InvalidSignature            a signature that is none, or one beside a task that has its own
    │       ├── InvalidPromptTemplate       not exactly one {prompt}, or a task that takes none
    │       ├── InvalidShardSize            not a size
    │       ├── InvalidBaseModel            a base model path without a PEFT model, or without a checkpoint
    │       ├── RequirementsConflict        environment arguments that exclude each other, or malformed ones
    │       ├── InvalidCodePaths            code paths that are no list of existing files
    │       ├── PathNotEmpty                the target directory holds something
    │       ├── ReferenceImpossible         a reference was asked for and there is no hub id
    │       └── WeightsDiffer               a reference was asked for, and what is in memory is not what the hub has
    ├── ModelError
    │   ├── ModelNotFound           no model of that name, version or alias
    │   ├── ModelInUse              an alias points to the version that is to be deleted
    │   ├── SourceError             the source of a save is absent, or outside the allowed roots
    │   │   └── SourceIncomplete    a file that a model needs is not there
    │   ├── ArtifactError           a stored model cannot be read, or refuses to load
    │   │   ├── ArtifactDamaged     a file is truncated or garbled
    │   │   ├── ArtifactIncomplete  a file or component is missing
    │   │   ├── ArtifactChanged     a file is not the one that was saved
    │   │   └── ArtifactTooNew      written by a newer release
    │   ├── CustomCodeRefused       the model brings its own code, and one side did not agree to run it
    │   ├── UnsupportedTask         no implementation for the task
    │   ├── StoreError              the model store cannot be written or read                (retry helps)
    │   └── HubUnavailable          the model hub does not answer                            (retry helps)
    ├── DeviceError                 the device could not do it
    │   ├── CacheFull               the model does not fit beside the models in use          (retry helps)
    │   └── OutOfMemory             the device's memory was full, also after all that is idle had left it
    ├── JobError
    │   ├── JobNotFound             no job has that id
    │   ├── ResultExpired           the job ended, its result is gone
    │   ├── ResultTimeout           not finished within the caller's time-out                (retry helps)
    │   ├── JobCancelled            somebody cancelled it
    │   ├── JobExpired              its deadline passed before it was done
    │   ├── ConversationMoved       another job took the conversation's turn meanwhile       (retry helps)
    │   ├── StreamInterrupted       a text was begun again, and does not go on from what was given of it
    │   └── PoisonJob               it took its worker down too often
    ├── BlobError                   a large payload or result, which is kept beside Redis
    │   ├── BlobMissing             it is not there: expired, or another store
    │   ├── BlobChanged             it is not what was written
    │   └── BlobStoreUnavailable    the store cannot be read or written                      (retry helps)
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


class QueueFull(WarmlaneError):
    code = "queue_full"
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


class PoolNotFound(InvalidInput):
    code = "pool_not_found"


class IdempotencyConflict(InvalidInput):
    code = "idempotency_conflict"


class InputTooLong(InvalidInput):
    code = "input_too_long"


class SaveRefused(InvalidInput):
    code = "save_refused"


class UnsupportedSource(SaveRefused):
    code = "unsupported_source"


class UnknownComponent(SaveRefused):
    code = "unknown_component"


class MissingModel(SaveRefused):
    code = "missing_model"


class UnsupportedModel(SaveRefused):
    code = "unsupported_model"


class ModelDistributed(SaveRefused):
    code = "model_distributed"


class PipelineMismatch(SaveRefused):
    code = "pipeline_mismatch"


class TaskRequired(SaveRefused):
    code = "task_required"


class TaskConflict(SaveRefused):
    code = "task_conflict"


class UnsupportedInferenceTask(SaveRefused):
    code = "unsupported_inference_task"


class InvalidSignature(SaveRefused):
    code = "invalid_signature"


class InvalidPromptTemplate(SaveRefused):
    code = "invalid_prompt_template"


class InvalidShardSize(SaveRefused):
    code = "invalid_shard_size"


class InvalidBaseModel(SaveRefused):
    code = "invalid_base_model"


class RequirementsConflict(SaveRefused):
    code = "requirements_conflict"


class InvalidCodePaths(SaveRefused):
    code = "invalid_code_paths"


class PathNotEmpty(SaveRefused):
    code = "path_not_empty"


class ReferenceImpossible(SaveRefused):
    code = "reference_impossible"


class WeightsDiffer(SaveRefused):
    code = "weights_differ"


class ModelError(WarmlaneError):
    code = "model_error"


class ModelNotFound(ModelError):
    code = "model_not_found"


class ModelInUse(ModelError):
    code = "model_in_use"


class SourceError(ModelError):
    code = "source_error"


class SourceIncomplete(SourceError):
    code = "source_incomplete"


class ArtifactError(ModelError):
    code = "artifact_error"


class ArtifactDamaged(ArtifactError):
    code = "artifact_damaged"


class ArtifactIncomplete(ArtifactError):
    code = "artifact_incomplete"


class ArtifactChanged(ArtifactError):
    code = "artifact_changed"


class ArtifactTooNew(ArtifactError):
    code = "artifact_too_new"


class CustomCodeRefused(ModelError):
    code = "custom_code_refused"


class UnsupportedTask(ModelError):
    code = "unsupported_task"


class StoreError(ModelError):
    code = "store_error"
    retryable = True


class HubUnavailable(ModelError):
    code = "hub_unavailable"
    retryable = True


class DeviceError(WarmlaneError):
    code = "device_error"


class CacheFull(DeviceError):
    code = "cache_full"
    retryable = True


class OutOfMemory(DeviceError):
    code = "out_of_memory"


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


class ConversationMoved(JobError):
    code = "conversation_moved"
    retryable = True


class StreamInterrupted(JobError):
    code = "stream_interrupted"


class PoisonJob(JobError):
    code = "poison_job"


class BlobError(WarmlaneError):
    code = "blob_error"


class BlobMissing(BlobError):
    code = "blob_missing"


class BlobChanged(BlobError):
    code = "blob_changed"


class BlobStoreUnavailable(BlobError):
    code = "blob_store_unavailable"
    retryable = True


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
