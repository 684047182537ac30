"""Large payloads and results beside Redis: in a blob store, with a reference in the message or the record.

A blob is written before its reference is, and read with its size and digest checked. Its name tells the job that it
belongs to and when it was written, so that whoever sweeps needs no list. Knows bytes and references, no queue.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from warmlane import codec
from warmlane.blobs.places import Place, place
from warmlane.errors import BlobChanged, BlobStoreUnavailable, CodecError, PayloadTooLarge
from warmlane.jobs import Job, make
from warmlane.settings import Settings

_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{8})-[0-9a-f]{8}")
#: How every frame that is a reference begins; a result's own frame begins otherwise.
_REFERENCE = codec.encode("blob", None)[:-1]


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Which blob, how many bytes, and their SHA-256 in hexadecimal digits."""

    name: str
    size: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, body: Any) -> BlobRef:
        """What `to_dict` gave.

        Raises:
            CodecError: anything else; a name that we would not make among it.
        """
        if not isinstance(body, dict) or set(body) != {"name", "size", "sha256"}:
            raise CodecError("a reference to a blob with another body than it has")
        name, size, digest = body["name"], body["size"], body["sha256"]
        if not isinstance(name, str) or _NAME.fullmatch(name) is None or type(size) is not int or size < 0:
            raise CodecError("a reference to a blob with an ill-formed field")
        if not isinstance(digest, str) or len(digest) != 64:
            raise CodecError("a reference to a blob with an ill-formed digest")
        return cls(name, size, digest)

    def frame(self) -> bytes:
        """As it stands in the place of a result."""
        return codec.encode("blob", self.to_dict())


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job whose fields are in a blob. It travels, and is a job again where it is run.

    Attributes:
        kind, subject: the job's own.
        stream: what its record has to say of it; does not travel.
    """

    kind: str
    subject: str
    ref: BlobRef
    stream: bool = field(default=False, compare=False)

    def fields(self) -> dict[str, Any]:
        return {"blob": self.ref.to_dict(), "subject": self.subject}


def job_of(kind: str, fields: dict[str, Any]) -> Job | StoredJob:
    """A job as it came over the wire: itself, or the reference to it.

    Raises:
        InvalidInput, CodecError: neither.
    """
    if set(fields) == {"blob", "subject"} and isinstance(fields["subject"], str):
        return StoredJob(kind, fields["subject"], BlobRef.from_dict(fields["blob"]))
    return make(kind, fields)


def is_reference(data: bytes) -> bool:
    """Whether what stands in the place of a result is the reference to it."""
    return data.startswith(_REFERENCE)


class Blobs:
    """A blob store and its limits.

    Args:
        inline_bytes: what is no larger stays in Redis.
        most_bytes: what is larger is refused.
    """

    def __init__(self, where: Place, inline_bytes: int, most_bytes: int) -> None:
        self._place = where
        self.inline_bytes = inline_bytes
        self.most_bytes = most_bytes
        self._limits = replace(codec.LIMITS, max_bytes=most_bytes)

    @classmethod
    def of(cls, settings: Settings) -> Blobs | None:
        """The store of the settings, if they have one."""
        where = settings.blob_store
        return None if where is None else cls(place(where), settings.inline_bytes, settings.blob_bytes)

    def encode(self, kind: str, body: Any) -> bytes:
        """As `codec.encode`, within the limit of a blob."""
        return codec.encode(kind, body, self._limits)

    def write(self, job_id: str, data: bytes) -> BlobRef:
        """Keep bytes of a job.

        Raises:
            BlobStoreUnavailable: it does not take them.
        """
        name = f"{job_id}-{int(time.time()):08x}-{uuid.uuid4().hex[:8]}"
        ref = BlobRef(name, len(data), hashlib.sha256(data).hexdigest())
        self._place.write(name, data)
        return ref

    def read(self, ref: BlobRef) -> bytes:
        """The bytes, as they were written.

        Raises:
            BlobMissing, BlobChanged, PayloadTooLarge, BlobStoreUnavailable
        """
        if ref.size > self.most_bytes:
            raise PayloadTooLarge(f"a blob of {ref.size} bytes; WARMLANE_BLOB_BYTES allows {self.most_bytes}")
        if self._place.size(ref.name) != ref.size:  # before anything is read
            raise _changed(ref)
        data = self._place.read(ref.name)
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            raise _changed(ref)
        return data

    def remove(self, ref: BlobRef) -> None:
        self._place.remove(ref.name)

    def open_job(self, stored: StoredJob) -> Job:
        """The job in a blob.

        Raises:
            BlobMissing, BlobChanged, PayloadTooLarge, BlobStoreUnavailable, CodecError, InvalidInput
        """
        fields = codec.decode("fields", self.read(stored.ref), self._limits)
        if not isinstance(fields, dict):
            raise CodecError("a blob that holds no job")
        return make(stored.kind, fields)

    def open_result(self, reference: bytes) -> Any:
        """The result in a blob, decoded. Raises as `open_job`."""
        data = self.read(BlobRef.from_dict(codec.decode("blob", reference)))
        return codec.decode("result", data, self._limits)

    def sweep(self, keep: Callable[[set[str]], set[str]], older_than_s: float) -> int:
        """Remove blobs that are older and whose jobs nobody knows any more; how many.

        Args:
            keep: job ids -> those that are still known.
        """
        limit = time.time() - older_than_s
        found = [
            (name, match[1])
            for name in self._place.names()
            if (match := _NAME.fullmatch(name)) and int(match[2], 16) < limit
        ]
        known = keep({job_id for _, job_id in found}) if found else set()
        gone = [name for name, job_id in found if job_id not in known]
        for name in gone:
            self._place.remove(name)
        return len(gone)


def encode_fields(blobs: Blobs, job: Job) -> bytes:
    """A job's fields as a blob has them.

    Raises:
        PayloadTooLarge, CodecError
    """
    try:
        return blobs.encode("fields", job.fields())
    except CodecError as exc:
        if "limit" not in exc.details:
            raise
        raise PayloadTooLarge(f"{exc.message}; send fewer rows in a job", field="inputs") from exc


def opened(blobs: Blobs | None, job: Job | StoredJob) -> Job:
    """A job as it can be run.

    Raises:
        BlobStoreUnavailable: it is in a blob, and this process has no blob store. Else as `Blobs.open_job`.
    """
    if not isinstance(job, StoredJob):
        return job
    return required(blobs).open_job(job)


def required(blobs: Blobs | None) -> Blobs:
    """The store, for something that was put into one.

    Raises:
        BlobStoreUnavailable: this process has none.
    """
    if blobs is None:
        raise BlobStoreUnavailable(
            "it is in a blob store, and this process has none: set WARMLANE_BLOBS as its writer has it"
        )
    return blobs


def _changed(ref: BlobRef) -> BlobChanged:
    return BlobChanged(f"blob {ref.name} is not what was written: its size or digest differs", blob=ref.name)
