"""How libraries say that no memory is left, as one error. Knows no cache: what is done about it is the caller's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from warmlane.errors import OutOfMemory

#: What says it beside `torch.OutOfMemoryError`: torch's allocator on the CPU, and CUDA's libraries with their own.
_WORDS = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that a device's memory, or the host's, is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@contextlib.contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Translates such errors; others pass.

    Raises:
        OutOfMemory: names what did not fit.
    """
    try:
        yield
    except Exception as exc:
        if isinstance(exc, OutOfMemory) or not is_exhausted(exc):
            raise
        raise OutOfMemory(
            f"{what} does not fit into the memory that is free; unload a model, load it in a smaller dtype, or lower "
            "WARMLANE_CACHE_BYTES"
        ) from exc
