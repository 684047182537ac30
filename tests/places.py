"""A store behind a URL, in this process's memory, and the caches of the machines that use it."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

from tests.stored import echo
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.modelstore.cache import IDLE_S


class Place:
    """A store in memory, what lies in it, and the caches of two machines."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = f"/{uuid.uuid4().hex}/models"
        self.tmp_path = tmp_path
        self.fs = MemoryFileSystem()

    def store(self, machine: str = "here") -> ModelStore:
        store = ModelStore(f"memory:/{self.root}", self.tmp_path / machine)
        store.open()
        return store

    def objects(self) -> list[str]:
        """Paths below the root."""
        return sorted(path.removeprefix(f"{self.root}/") for path in self.fs.find(self.root))

    def manifest(self, version: int = 1) -> Any:
        return json.loads(self.fs.cat_file(f"{self.root}/a/versions/{version}"))

    def write(self, path: str, data: bytes) -> None:
        self.fs.pipe_file(f"{self.root}/{path}", data)

    def object_of(self, file: str, version: int = 1) -> str:
        return f"a/{self.manifest(version)['files'][file][1]}"

    def cached(self, machine: str = "here") -> list[str]:
        """The copies on a machine."""
        return sorted(path.name for path in (self.tmp_path / machine).glob("*/a/*"))

    def unused(self, machine: str = "here") -> None:
        """Let the copies on a machine be of no use for so long that they may be swept."""
        for copy in (self.tmp_path / machine).glob("*/a/*"):
            then = time.time() - IDLE_S - 60
            for path in (copy, *copy.rglob("*")):
                os.utime(path, (then, then))


def heavy(directory: Path) -> Artifact:
    """The diagnostic model, with a file that stands for weights."""
    artifact = echo(directory)
    (directory / "model").mkdir()
    (directory / "model" / "weights").write_bytes(b"w" * 1000)
    return artifact
