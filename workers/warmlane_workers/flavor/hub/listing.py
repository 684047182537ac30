"""Which commit a revision is, and which files that commit has: asked of the hub, and remembered in the cache.

    models--<organisation>--<name>/refs/<revision>         the commit that it was when it was last asked for
    models--<organisation>--<name>/snapshots/<commit>/…    files by their names, links to blobs
    models--<organisation>--<name>/warmlane/<commit>.json  all files that it has: their bytes and hashes

The first two are the client's own layout, which it documents. The third is there because a snapshot does not tell what
it lacks: without it a half-fetched model would pass for a whole one when the hub is down.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.hf_api import RepoFile

from warmlane.errors import HubUnavailable
from warmlane_workers.flavor.hub.tries import tried, within

logger = logging.getLogger(__name__)

#: How long one question may take, in seconds.
ANSWER_S = 4.0
#: How long a listing may take, in seconds: the client itself tries again while it reads one.
LISTING_S = 30.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAIN = "main"
_RECORDS = "warmlane"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit.

    Attributes:
        sha256: of a file in the large file store; None for others.
    """

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A commit of a repository, and its files by name."""

    repo: str
    commit: str
    files: Mapping[str, File]

    @property
    def directory(self) -> Path:
        """Where its files lie, those that were fetched."""
        return home_of(self.repo) / "snapshots" / self.commit


def home_of(repo: str) -> Path:
    """Where the cache keeps a repository."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def is_commit(revision: str | None) -> bool:
    """Whether a revision can never mean anything else."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def known(repo: str, revision: str | None) -> str | None:
    """The commit that a revision was when the hub was last asked; None if it never was."""
    if is_commit(revision):
        return revision
    path = home_of(repo) / "refs" / (revision or _MAIN)
    found = path.read_text().strip() if os.path.isfile(path) else ""  # False also for a name too long
    return found if is_commit(found) else None


def ask(repo: str, revision: str | None) -> str:
    """The commit that a revision is now.

    Raises:
        SourceError: no such repository or revision.
        HubUnavailable: no answer in a few seconds.
    """
    api = huggingface_hub.HfApi()

    def question() -> str:
        info = within(ANSWER_S, lambda: api.model_info(repo, revision=revision, timeout=ANSWER_S))
        return str(info.sha)

    commit = tried(question, repo, revision)
    if not is_commit(revision):
        _keep(home_of(repo) / "refs" / (revision or _MAIN), commit)
    return commit


def look_up(repo: str, revision: str | None) -> Listing:
    """The files of a revision. A commit whose files are known is not asked for; without a hub, what is known counts.

    Raises:
        SourceError: no such repository or revision.
        HubUnavailable: the hub does not answer, and nobody asked it for this revision before.
    """
    commit = known(repo, revision)
    found = _recalled(repo, commit) if commit else None
    if found is not None and is_commit(revision):
        return found
    try:
        commit = ask(repo, revision)
        return _recalled(repo, commit) or _list(repo, commit)
    except HubUnavailable:
        if found is None:
            raise
        return found


def _list(repo: str, commit: str) -> Listing:
    api = huggingface_hub.HfApi()
    entries = tried(
        lambda: within(LISTING_S, lambda: list(api.list_repo_tree(repo, recursive=True, revision=commit))), repo, commit
    )
    files = {
        entry.path: File(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None)
        for entry in entries
        if isinstance(entry, RepoFile)
    }
    content = {name: [file.size, file.sha256] for name, file in files.items()}
    _keep(home_of(repo) / _RECORDS / f"{commit}.json", json.dumps(content))
    return Listing(repo, commit, files)


def _recalled(repo: str, commit: str) -> Listing | None:
    path = home_of(repo) / _RECORDS / f"{commit}.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
    except ValueError:  # the machine went down while it was written
        return None
    return Listing(repo, commit, {name: File(name, size, sha256) for name, (size, sha256) in content.items()})


def _keep(path: Path, text: str) -> None:
    """Write a small file, whole or not at all. A cache that cannot be written remembers nothing, and serves on."""
    beside = path.with_name(f".{uuid.uuid4().hex}")
    try:
        if path.is_file() and path.read_text() == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text)
        beside.replace(path)
    except OSError as exc:
        logger.warning("the hub's cache remembers nothing: %s", exc, extra={"action": "cache_not_written"})
        with contextlib.suppress(OSError):
            beside.unlink()
