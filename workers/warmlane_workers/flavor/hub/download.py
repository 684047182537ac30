"""Files of a commit into the cache: several at a time, checked against what the hub says of them, with their bytes told
as progress.

The client does the fetching: it resumes a file whose connection was dropped, and fetches from the large file store in
its own way. What is added here is an end to waiting, and a hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import huggingface_hub

from warmlane.errors import ArtifactChanged, ArtifactDamaged
from warmlane_workers.flavor.hub.errors import unavailable
from warmlane_workers.flavor.hub.listing import File, Listing
from warmlane_workers.flavor.hub.tries import tried

#: Told how far something is: a fraction of 1, and the phase in a word.
Report = Callable[[float, str], None]

#: Files that are fetched at a time.
STREAMS = 4
#: How long no byte may come before a download is given up, in seconds; a hub may ask for a pause within it.
STALL_S = 120.0
#: How long the head of a file may take, in seconds.
HEAD_S = 5.0
#: How often progress is told, in seconds.
TICK_S = 0.2

_SHA256 = re.compile(r"[0-9a-f]{64}")
#: What is hashed at a time, in bytes.
_CHUNK = 4 * 1024 * 1024


def fetch(listing: Listing, files: Iterable[File], report: Report | None) -> None:
    """Fetch files that the cache does not have. After an error those that were begun are brought to their end.

    Raises:
        ArtifactDamaged, ArtifactChanged: what came is not what the hub says it has; it is not kept.
        SourceError, HubUnavailable, StoreError: as `tried`; what is whole stays in the cache, so that the next time
            goes on from there.
    """
    waiting = deque(sorted(files, key=lambda file: -file.size))
    meter = Meter(sum(file.size for file in waiting))
    outcomes = queue.SimpleQueue[BaseException | None]()
    left, error = len(waiting), None
    for number in range(min(STREAMS, left)):
        # Not a pool: one that hangs would keep the process from ending.
        threading.Thread(
            target=_work, args=(listing, waiting, meter, outcomes), name=f"hub-{number}", daemon=True
        ).start()
    try:
        while left:
            try:
                outcome = outcomes.get(timeout=TICK_S)
                left -= 1
            except queue.Empty:
                if time.monotonic() - meter.moved > STALL_S:
                    raise unavailable(listing.repo) from error
            else:
                error = error or outcome
                left -= _drain(waiting) if error else 0
            if report is not None:
                report(*meter.read())
    finally:
        meter.stopped.set()
    if error is not None:
        raise error


def _work(
    listing: Listing, waiting: deque[File], meter: Meter, outcomes: queue.SimpleQueue[BaseException | None]
) -> None:
    """Fetch one file after the other; an outcome for each."""
    with contextlib.suppress(IndexError):
        while True:
            file = waiting.popleft()
            try:
                _fetch_one(listing, file, meter)
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is raised where the files are waited for
                outcomes.put(exc)
            else:
                outcomes.put(None)


def _drain(waiting: deque[File]) -> int:
    """Leave out what nobody has begun; returns how many."""
    count = 0
    with contextlib.suppress(IndexError):
        while True:
            waiting.popleft()
            count += 1
    return count


def absent(listing: Listing, files: Iterable[File], *, verify: bool) -> list[File]:
    """Those of the files that the cache does not have whole.

    Args:
        verify: read the files of the large file store for their hash; what is damaged is removed.
    """
    return [file for file in files if not _is_there(listing, file, verify)]


def _is_there(listing: Listing, file: File, verify: bool) -> bool:
    path = listing.directory / file.name
    if not path.is_file():
        return False
    if path.stat().st_size == file.size and not (verify and _differs(path, file)):
        return True
    if verify:
        _discard(path)
    return False


def _fetch_one(listing: Listing, file: File, meter: Meter) -> None:
    """Fetch a file and check it."""
    path = listing.directory / file.name
    if path.exists():
        _discard(path)  # of another length

    def attempt() -> Path:
        return Path(
            huggingface_hub.hf_hub_download(
                listing.repo,
                file.name,
                revision=listing.commit,
                etag_timeout=HEAD_S,
                endpoint=meter.endpoint,
                tqdm_class=meter.bar(file.name),
            )
        )

    path = tried(attempt, listing.repo, listing.commit, pause=meter.pause)
    size = path.stat().st_size
    if size != file.size:
        _discard(path)
        raise ArtifactDamaged(
            f"{file.name} of {listing.repo!r} came with {size} bytes, the hub says {file.size}; try again",
            file=file.name,
        )
    if _differs(path, file):
        _discard(path)
        raise ArtifactChanged(
            f"{file.name} of {listing.repo!r} is not what the hub says it is (its SHA-256 differs); try again, and ask "
            "who runs the hub, or the proxy before it, if it stays so",
            file=file.name,
        )


def _differs(path: Path, file: File) -> bool:
    """Whether a file has another hash than the hub says. Files of git, which are small, have no SHA-256."""
    # A blob goes by its ETag, which is the SHA-256 of a file in the large file store.
    name = path.readlink().name if path.is_symlink() else ""
    expected = file.sha256 or (name if _SHA256.fullmatch(name) else None)
    if expected is None:
        return False
    found = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest() != expected


def _discard(path: Path) -> None:
    """Remove a file from the cache, its blob too, so that nobody takes it for good."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


class Meter:
    """Counts bytes, of several files at once.

    Attributes:
        stopped: set when nobody waits any more; whoever fetches then stops.
        moved: when the last byte came.
        endpoint: the hub that they come from.
    """

    def __init__(self, total: int) -> None:
        self.stopped = threading.Event()
        self.moved = time.monotonic()
        self.endpoint = huggingface_hub.constants.ENDPOINT
        self._total = total
        self._counts: dict[str, int] = {}

    def read(self) -> tuple[float, str]:
        """How far it is: a fraction, and "downloading 12.3/83.0 MB"."""
        done = min(sum(list(self._counts.values())), self._total)
        return done / max(self._total, 1), f"downloading {done / 1e6:.1f}/{self._total / 1e6:.1f} MB"

    def pause(self, seconds: float) -> None:
        """Wait, unless it is stopped meanwhile."""
        if self.stopped.wait(seconds):
            raise _Stopped

    def bar(self, name: str) -> type[Any]:
        """What the client takes for a class of progress bars. Each bar counts one file from its beginning."""

        def add(count: int) -> None:
            if self.stopped.is_set():
                raise _Stopped
            self._counts[name] = self._counts.get(name, 0) + count
            self.moved = time.monotonic()

        def begin(count: int) -> None:
            self._counts[name] = 0
            add(count)

        class Bar(_Bar):
            started = staticmethod(begin)
            moved = staticmethod(add)

        return Bar


class _Stopped(Exception):
    """Nobody waits for the download any more."""


class _Bar:
    """As much of a progress bar as the client uses; draws nothing."""

    started: Callable[[int], None]
    moved: Callable[[int], None]

    def __init__(self, *args: Any, initial: int | None = None, **options: Any) -> None:
        self.started(initial or 0)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, count: float | None = 1) -> None:
        self.moved(int(count or 0))

    def close(self) -> None:
        """Nothing was drawn."""

    def update_transfer(self, count: float | None = 1) -> None:
        """Bytes from the network, which are fewer than those of the file."""

    def set_postfix_str(self, postfix: str = "", refresh: bool = True) -> None:
        """The rate."""

    set_transfer_postfix_str = set_postfix_str
    set_description_str = set_postfix_str
