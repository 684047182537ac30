"""The model hub, at one door: names to commits, commits to files in the local cache. Translates its errors.

Downloads go through huggingface_hub's cache, so they are shared with everything else on the machine; under
`HF_HUB_OFFLINE=1` only the cache is read, and while the hub is down what the cache has is served.
"""

from __future__ import annotations

import fnmatch
import logging
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError

from warmlane.errors import HubUnavailable, WarmlaneError
from warmlane_workers.flavor.hub import download, listing
from warmlane_workers.flavor.hub.download import Report as Report
from warmlane_workers.flavor.hub.listing import File
from warmlane_workers.flavor.hub.tries import within

logger = logging.getLogger(__name__)

#: What a model repository may give: weights as safetensors only, configuration, tokenizers, the card, the licence.
SAFE_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md", "*.tiktoken", "LICENSE*", "license*"]
#: The same without weights.
LIGHT_FILES = [pattern for pattern in SAFE_FILES if pattern != "*.safetensors"]
#: What custom code is made of, for those who trust it.
CODE_FILES = ["*.py"]

#: How long a save waits for a card and a licence, in seconds: it can do without.
SMALL_FILES_S = 5.0
#: Largest of them, in bytes.
SMALL_FILE_BYTES = 1024 * 1024

_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")
#: The card, and licences by either spelling, in a repository's root.
_SMALL_FILE = re.compile(r"README\.md|[^/]*licen[sc]e(\.[a-z]+)?", re.IGNORECASE)


def is_id(text: str) -> bool:
    """Whether a text has the form of a hub id, `name` or `organisation/name`."""
    return bool(_ID.fullmatch(text)) and ".." not in text and not text.startswith((".", "-"))


def snapshot(
    repo: str, revision: str | None, patterns: Sequence[str], *, report: Report | None = None, verify: bool = False
) -> Path:
    """A directory with the repository's files of a revision; its name is the commit.

    Args:
        patterns: which files, as a shell has them.
        report: told the bytes that came, of those that had to be fetched.
        verify: hash also what the cache had already; what is damaged is fetched anew.

    Raises:
        SourceError: no such repository or revision, or no right to it.
        HubUnavailable: the hub does not answer and the cache does not have it.
        ArtifactDamaged, ArtifactChanged: the hub gives other bytes than it says.
        StoreError: the cache cannot be written; the disk is full, for one.
    """
    return _snapshot(repo, revision, lambda file: _matches(file.name, patterns), patterns, report, verify)


def _snapshot(
    repo: str,
    revision: str | None,
    wanted: Callable[[File], bool],
    patterns: Sequence[str],
    report: Report | None = None,
    verify: bool = False,
) -> Path:
    try:
        found = listing.look_up(repo, revision)
    except HubUnavailable:
        directory = _foreign(repo, revision, patterns)
        if directory is None:
            raise
        return directory
    files = download.absent(found, filter(wanted, found.files.values()), verify=verify)
    if files:
        # Of a hub that is down the client asks for half a minute, file by file.
        listing.ask(repo, found.commit)
        download.fetch(found, files, report)
    return found.directory


def _foreign(repo: str, revision: str | None, patterns: Sequence[str]) -> Path | None:
    """What another program has put into the cache, which knows best whether it is whole; None if that is nothing."""
    try:
        directory = Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=list(patterns), local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None
    # The client makes the directory before it fetches.
    return directory if any(path.is_file() and _matches(path.name, patterns) for path in directory.rglob("*")) else None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def small_files(repo: str, revision: str | None) -> dict[str, bytes]:
    """The card and the licences in a repository's root, by name; files of more than `SMALL_FILE_BYTES` are left out.

    Waits `SMALL_FILES_S` at most. What cannot be had by then is taken from the cache as far as it is there: a save does
    not fail for want of them.
    """
    end = time.monotonic() + SMALL_FILES_S

    def stop(fraction: float, phase: str) -> None:
        if time.monotonic() > end:
            raise TimeoutError("nobody waits any more")

    try:
        directory: Path | None = within(SMALL_FILES_S, lambda: _snapshot(repo, revision, _is_small, ["*"], stop))
    except (WarmlaneError, TimeoutError) as exc:
        logger.warning("no card and licence of %s from the hub: %s", repo, exc, extra={"action": "no_papers"})
        commit = listing.known(repo, revision)
        directory = listing.home_of(repo) / "snapshots" / commit if commit else None
    if directory is None or not directory.is_dir():
        return {}
    files = [path for path in sorted(directory.iterdir()) if _SMALL_FILE.fullmatch(path.name) and path.is_file()]
    return {path.name: path.read_bytes() for path in files if path.stat().st_size <= SMALL_FILE_BYTES}


def _is_small(file: File) -> bool:
    return bool(_SMALL_FILE.fullmatch(file.name)) and file.size <= SMALL_FILE_BYTES


def commit_of(repo: str, revision: str | None) -> str:
    """The commit that a revision is now; while the hub is down, the one that it was.

    Raises:
        SourceError: no such repository or revision.
        HubUnavailable: the hub does not answer, and was never asked for this revision.
    """
    if revision is not None and listing.is_commit(revision):
        return revision
    try:
        return listing.ask(repo, revision)
    except HubUnavailable:
        commit = listing.known(repo, revision)
        if commit is None:
            raise
        return commit


def cached_commits(repo: str) -> list[str]:
    """The commits of which the cache has weights; first what the main branch was when it was last asked for, then the
    latest."""
    found = {path.parent for path in (listing.home_of(repo) / "snapshots").glob("*/*.safetensors")}
    main = listing.known(repo, None)
    latest = sorted(found, key=lambda directory: directory.stat().st_mtime, reverse=True)
    return sorted((directory.name for directory in latest), key=lambda commit: commit != main)


def cache_root() -> Path:
    """Where snapshots keep their files; they are links into it."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE).resolve()
