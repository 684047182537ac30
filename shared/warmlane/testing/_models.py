"""The pretended model store: names, versions, aliases. Its rules are those of the real one, and no file is in it."""

from __future__ import annotations

import threading
from dataclasses import replace

from warmlane.errors import ModelInUse, ModelNotFound
from warmlane.model import ModelRef
from warmlane.results import ModelInfo
from warmlane.signature import Signature, default_signature


class Models:
    """What was published in a lane. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._versions: dict[str, dict[int, ModelInfo]] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._given: dict[str, int] = {}  # the highest number ever given out

    def publish(
        self, name: str, task: str, dtype: str | None, version: int | None = None, signature: Signature | None = None
    ) -> ModelInfo:
        """Make a version known; the next one unless it is given."""
        with self._lock:
            version = version or self._given.get(name, 0) + 1
            self._given[name] = max(version, self._given.get(name, 0))
            info = ModelInfo(name, (version,), task, dtype, 0, signature or default_signature(task))
            self._versions.setdefault(name, {})[version] = info
            return info

    def newest(self, name: str) -> int:
        """The newest version; 0 when there is none."""
        with self._lock:
            return max(self._versions.get(name, {}), default=0)

    def look(self, ref: ModelRef) -> tuple[int, ModelInfo] | None:
        """The version that a reference means; None when it means none."""
        with self._lock:
            version = ref.version or self.newest(ref.name)
            if ref.alias is not None:
                version = self._aliases.get(ref.name, {}).get(ref.alias, 0)
            info = self._versions.get(ref.name, {}).get(version)
            return None if info is None else (version, info)

    def find(self, text: str) -> tuple[int, ModelInfo]:
        """The same, and an error when there is none."""
        found = self.look(ModelRef.parse(text))
        if found is None:
            raise ModelNotFound(f"no model {text!r} in the store", model=text)
        return found

    def infos(self) -> list[ModelInfo]:
        """All models by name."""
        with self._lock:
            return [
                replace(
                    versions[max(versions)],
                    versions=tuple(sorted(versions)),
                    aliases=dict(sorted(self._aliases.get(name, {}).items())),
                )
                for name, versions in sorted(self._versions.items())
            ]

    def set_alias(self, name: str, alias: str, version: int) -> int | None:
        """Let an alias mean a version; what it meant before."""
        with self._lock:
            aliases = self._aliases.setdefault(name, {})
            before = aliases.get(alias)
            aliases[alias] = version
            return before

    def delete(self, text: str) -> tuple[list[int], list[str]]:
        """Delete as the real store does; the versions and the aliases that are gone."""
        ref = ModelRef.parse(text)
        with self._lock:
            version, _ = self.find(text)
            aliases = self._aliases.setdefault(ref.name, {})
            if ref.alias is not None:
                del aliases[ref.alias]
                return [], [ref.alias]
            if ref.version is None:
                del self._aliases[ref.name]
                return sorted(self._versions.pop(ref.name)), sorted(aliases)
            users = sorted(alias for alias, number in aliases.items() if number == version)
            if users:
                raise ModelInUse(f"{text} is what {ref.name}@{users[0]} means", model=text, aliases=users)
            del self._versions[ref.name][version]
            if not self._versions[ref.name]:
                del self._versions[ref.name]
            return [version], []
