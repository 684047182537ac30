"""The model hub, at one door: names to commits, commits to files in the local cache. Translates its errors.

Downloads go through huggingface_hub's cache, so they resume and are shared with everything else on the machine; under
`HF_HUB_OFFLINE=1` only the cache is read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: that of the HTTP client it uses
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from warmlane.errors import HubUnavailable, SourceError

#: What a model repository may give: weights as safetensors only, configuration, tokenizers, the card, the licence.
SAFE_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md", "*.tiktoken", "LICENSE*", "license*"]
#: The same without weights.
LIGHT_FILES = [pattern for pattern in SAFE_FILES if pattern != "*.safetensors"]

#: What custom code is made of, for those who trust it.
CODE_FILES = ["*.py"]

#: Told how far something is: a fraction of 1, and the phase in a word.
Report = Callable[[float, str], None]

_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


def is_id(text: str) -> bool:
    """Whether a text has the form of a hub id, `name` or `organisation/name`."""
    return bool(_ID.fullmatch(text)) and ".." not in text and not text.startswith((".", "-"))


@contextlib.contextmanager
def _translated(repo: str) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as exc:
        raise SourceError(f"the hub gates {repo!r}; accept its terms and give the worker a token (HF_TOKEN)") from exc
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as exc:
        if isinstance(exc, LocalEntryNotFoundError):
            raise _unavailable(repo) from exc
        raise SourceError(f"the hub has no {repo!r} at that revision, or the worker's token may not see it") from exc
    except HfHubHTTPError as exc:
        if exc.response is not None and exc.response.status_code in (401, 403):
            raise SourceError(f"the hub refuses {repo!r}; give the worker a token that may read it (HF_TOKEN)") from exc
        raise _unavailable(repo) from exc
    except (OfflineModeIsEnabled, HTTPError, OSError) as exc:
        raise _unavailable(repo) from exc


def _unavailable(repo: str) -> HubUnavailable:
    return HubUnavailable(f"{repo!r} is not in the local cache and the model hub does not answer; try again later")


def snapshot(repo: str, revision: str | None, patterns: list[str], *, report: Report | None = None) -> Path:
    """A directory with the repository's files of a revision; its name is the commit.

    Raises:
        SourceError: no such repository or revision.
        HubUnavailable: the hub does not answer and the cache does not have it.
    """
    with _translated(repo):
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns))


def commit_of(repo: str, revision: str | None) -> str:
    """The commit that a revision is now."""
    return snapshot(repo, revision, ["config.json"]).name


def cache_root() -> Path:
    """Where snapshots keep their files; they are links into it."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE).resolve()
