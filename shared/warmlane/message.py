"""The Dramatiq message that carries a job, in warmlane's wire format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from warmlane import codec, keys
from warmlane.blobs import StoredJob, job_of
from warmlane.errors import CodecError, PayloadTooLarge, WarmlaneError
from warmlane.jobs import Job, check_id


@dataclass(frozen=True)
class JobMessage(Message[Any]):
    """A Dramatiq message in warmlane's wire format: `args` is empty, `kwargs` is `{"job_id": str, "job": Job}`,
    or a `StoredJob` whose fields are in a blob.

    It encodes itself, so that an application's own Dramatiq encoder is neither used nor changed.
    """

    @classmethod
    def of(cls, job: Job | StoredJob, job_id: str, pool: str = keys.DEFAULT_POOL) -> Self:
        return cls(
            queue_name=keys.queue_of(job.kind, pool),
            actor_name=job.kind,
            args=(),
            kwargs={"job_id": job_id, "job": job},
            options={"redis_message_id": job_id},
            message_id=job_id,
        )

    def encode(self) -> bytes:
        job: Job | StoredJob = self.kwargs["job"]
        body = {
            "id": self.message_id,
            "time": self.message_timestamp,
            "queue": self.queue_name,
            "kind": job.kind,
            "fields": job.fields(),
            "redis_id": self.options.get("redis_message_id", self.message_id),
        }
        try:
            return codec.encode("job", body)
        except CodecError as exc:
            if "limit" not in exc.details:
                raise
            raise PayloadTooLarge(f"{exc.message}; send fewer rows in a job", field="inputs") from exc

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message; whatever is wrong ends in Dramatiq's `DecodeError`, its cause one of ours.

        Nothing but the six fields of an envelope is read, so a message cannot set Dramatiq options that call other
        actors.
        """
        try:
            body = codec.decode("job", data)
            return cls._from_body(body)
        except WarmlaneError as exc:
            raise DecodeError("Not a warmlane job.", data, exc) from exc  # type: ignore[no-untyped-call]

    @classmethod
    def _from_body(cls, body: Any) -> Self:
        shape = {"id": str, "time": int, "queue": str, "kind": str, "fields": dict, "redis_id": str}
        if not isinstance(body, dict) or set(body) != set(shape):
            raise CodecError("a job envelope with missing or unknown fields")
        if any(type(body[name]) is not kind for name, kind in shape.items()):
            raise CodecError("a job envelope with an ill-typed field")
        job_id = check_id(body["id"])
        return cls(
            queue_name=body["queue"],
            actor_name=body["kind"],
            args=(),
            kwargs={"job_id": job_id, "job": job_of(body["kind"], body["fields"])},
            options={"redis_message_id": body["redis_id"]},
            message_id=job_id,
            message_timestamp=body["time"],
        )
