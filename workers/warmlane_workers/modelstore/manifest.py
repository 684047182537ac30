"""What a version in a remote store consists of: its files, their sizes, and the objects that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from warmlane.errors import ArtifactDamaged, ArtifactTooNew

#: Number of the agreement on what a manifest says.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """A file: its size in bytes, and its object's path below the model's name."""

    size: int
    at: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a version, by their paths in its directory."""

    files: Mapping[str, Stored]

    def encode(self) -> bytes:
        files = {path: [stored.size, stored.at] for path, stored in sorted(self.files.items())}
        return json.dumps({"format": FORMAT, "files": files}).encode()

    @property
    def digest(self) -> str:
        """Tells this manifest from any other, in a file's name."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]

    @property
    def uploads(self) -> set[str]:
        """The upload directories that its files lie in."""
        return {"/".join(stored.at.split("/")[:2]) for stored in self.files.values()}

    @classmethod
    def decode(cls, data: bytes, model: str) -> Manifest:
        """Read what `encode` wrote.

        Args:
            model: `name/3`, for messages.

        Raises:
            ArtifactDamaged, ArtifactTooNew
        """
        try:
            document = json.loads(data)
            number, files = document["format"], document["files"]
            if number == FORMAT:
                return cls({_inside(path): Stored(int(size), _inside(at)) for path, (size, at) in files.items()})
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ArtifactDamaged(f"the list of files of {model} is garbled; delete that version", model=model) from exc
        raise ArtifactTooNew(f"{model} was stored by a newer release; upgrade warmlane", model=model)


def _inside(path: Any) -> str:
    """A path that leads nowhere else."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0] == "/":
        raise ValueError
    return str(path)
