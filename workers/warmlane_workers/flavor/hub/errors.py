"""What the hub's client and the machine below it say, in words of ours; and which of it passes, so that a second try
helps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from json import JSONDecodeError

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
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # documented there

from warmlane.errors import HubUnavailable, SourceError, StoreError, WarmlaneError
from warmlane_workers.flavor.hub.client import PASSING
from warmlane_workers.modelstore.backend import FULL, system_error

#: What a call of the client may raise; anything else is a bug. Libraries written in Rust say `RuntimeError`, and JSON
#: is missing where somebody answers who is no hub.
FOREIGN = (HTTPError, OSError, RuntimeError, EntryNotFoundError, HFValidationError, JSONDecodeError)


@dataclass(frozen=True, slots=True)
class Told:
    """A foreign error, translated.

    Attributes:
        passing: whether the same call may succeed in a moment.
        answered: whether the hub said so itself; else nothing was heard of it.
        wait_s: how long the hub asks to wait, in seconds; None where it does not say.
    """

    error: WarmlaneError
    passing: bool = False
    answered: bool = False
    wait_s: float | None = None


def told(exc: BaseException, repo: str, revision: str | None) -> Told:
    """Translate an error of the hub's client.

    Args:
        exc: one of `FOREIGN`.
    """
    if isinstance(exc, LocalEntryNotFoundError) and isinstance(exc.__cause__, HfHubHTTPError | HTTPError):
        found = told(exc.__cause__, repo, revision)
        # Of a hub that is silent the client has asked for half a minute, and looked into its cache.
        return found if found.answered else Told(found.error)
    if isinstance(exc, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return Told(unavailable(repo))
    if isinstance(exc, HfHubHTTPError):
        return _answer(exc, repo, revision)
    if isinstance(exc, HFValidationError | EntryNotFoundError):
        return Told(SourceError(f"the hub has no {repo!r}: not a name of a repository and its file", field="source"))
    number = system_error(exc)
    if number is not None and not isinstance(exc, HTTPError | ConnectionError | TimeoutError):
        return Told(_disk(number))
    return Told(unavailable(repo), passing=True)


def unavailable(repo: str, status: int | None = None) -> HubUnavailable:
    """Nothing was heard of the hub, or nothing of use.

    Args:
        status: what it answered.
    """
    says = "does not answer" if status is None else f"answers HTTP {status}"
    return HubUnavailable(
        f"{repo!r} is not whole in the local cache and the model hub {says}; try again later", repo=repo
    )


def _answer(exc: HfHubHTTPError, repo: str, revision: str | None) -> Told:
    """The hub says no."""
    status = exc.response.status_code
    if isinstance(exc, GatedRepoError):
        text = f"the hub gates {repo!r}; accept its terms there, and give the worker a token (HF_TOKEN)"
        return Told(SourceError(text, field="source", status=status))
    if isinstance(exc, RevisionNotFoundError):
        text = f"the hub has no revision {revision!r} of {repo!r}; give a branch, a tag or a commit of it"
        return Told(SourceError(text, field="revision", status=status))
    if isinstance(exc, RepositoryNotFoundError):
        text = f"the hub has no {repo!r}, or the worker's token (HF_TOKEN) may not see it"
        return Told(SourceError(text, field="source", status=status))
    if isinstance(exc, EntryNotFoundError):
        text = f"the hub has no such file in {repo!r} any more; give another revision"
        return Told(SourceError(text, field="revision", status=status))
    if status in (401, 403):
        text = f"the hub refuses {repo!r}; give the worker a token that may read it (HF_TOKEN)"
        return Told(SourceError(text, field="source", status=status))
    if status not in PASSING and 400 <= status < 500:
        text = f"the hub has no {repo!r} (HTTP {status}); check its id, and that HF_ENDPOINT is a model hub"
        return Told(SourceError(text, field="source", status=status))
    wait_s = _wait_asked_for(status, exc.response.headers)
    error = unavailable(repo, status)
    if status == 429 or wait_s is not None:
        error = HubUnavailable(
            f"the model hub asks to wait {'' if wait_s is None else f'{wait_s:.0f} s '}before {repo!r} is fetched; "
            "try again then",
            repo=repo,
        )
    return Told(error, passing=status in PASSING, answered=True, wait_s=wait_s)


def _wait_asked_for(status: int, headers: Mapping[str, str]) -> float | None:
    """How long an answer asks to wait, in seconds: by RFC 9110's `Retry-After`, or by a limit that is used up (the
    IETF's draft of `RateLimit`, which a hub sends with every answer)."""
    limit = parse_ratelimit_headers(headers)
    if status == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:  # nothing, or no date
        return None


def _disk(number: int) -> StoreError:
    """The hub's cache on this machine cannot be written or read."""
    remedy = "free space" if number in FULL else "let this user write there"
    place = huggingface_hub.constants.HF_HUB_CACHE
    return StoreError(
        f"the hub's cache at {place}: {os.strerror(number)}; {remedy}, or set HF_HOME to another place", errno=number
    )
