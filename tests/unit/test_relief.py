"""What becomes of a batch that does not fit into the device's memory. No GPU: a run that can only do so many rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from warmlane.errors import OutOfMemory
from warmlane_workers.engine.batcher import Row, run_isolated
from warmlane_workers.engine.relief import relieved

#: As torch says it on a GPU, on a CPU, in a library of NVIDIA's; and as Python does.
WORDS: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


class Device:
    """Doubles numbers; its memory does for batches of so many, and `cleared` of them after it was relieved.

    Attributes:
        runs: sizes of the batches that were tried.
        reliefs: how often room was made.
    """

    def __init__(self, fits: int, cleared: int | None = None, error: Exception = WORDS[0]) -> None:
        self._fits, self._cleared, self._error = fits, cleared, error
        self.runs: list[int] = []
        self.reliefs = 0

    def run(self, batch: list[Any]) -> list[Any]:
        self.runs.append(len(batch))
        if sum(batch) > self._fits:
            raise self._error
        return [2 * row for row in batch]

    def relieve(self) -> None:
        self.reliefs += 1
        self._fits = self._cleared or self._fits

    def answers(self, rows: list[int]) -> list[Any]:
        """Each row's output or error, by way of the batcher."""
        waiting = [Row(row, row) for row in rows]
        run_isolated(relieved(self.run, self.relieve), waiting)
        return [row.future.exception() or row.future.result() for row in waiting]


@pytest.mark.parametrize("error", WORDS)
def test_a_batch_without_memory_is_tried_again_after_relief(error: Exception) -> None:
    """Whatever words say it: room is made, and the same batch succeeds."""
    device = Device(3, 4, error)
    assert device.answers([1, 1, 1, 1]) == [2, 2, 2, 2]
    assert (device.runs, device.reliefs) == ([4, 4], 1)


def test_a_batch_that_fits_is_run_once() -> None:
    """Nothing is freed for it."""
    device = Device(4)
    assert device.answers([1, 1]) == [2, 2]
    assert (device.runs, device.reliefs) == ([2], 0)


def test_a_batch_that_never_fits_is_run_by_halves() -> None:
    """All its rows are answered, and nobody hears of it."""
    device = Device(2)
    assert device.answers([1, 1, 1, 1]) == [2, 2, 2, 2]
    assert device.runs == [4, 4, 2, 2]


def test_only_the_row_that_does_not_fit_by_itself_fails() -> None:
    """Its error says what to do; its neighbours in the batch are answered."""
    *others, error = Device(3).answers([1, 1, 1, 5])
    assert others == [2, 2, 2]
    assert isinstance(error, OutOfMemory)
    assert "shorter" in error.message


def test_another_error_is_passed_on_at_once() -> None:
    """A bad row is no reason to evict anything."""
    device = Device(0, error=ValueError("a bad row"))
    assert [str(error) for error in device.answers([1])] == ["a bad row"]
    assert (device.runs, device.reliefs) == ([1], 0)


def test_the_error_keeps_nothing_of_the_batch_alive() -> None:
    """It has no traceback of the forward, whose tensors would take the memory that the halves need."""
    [error] = Device(0).answers([1])
    assert (error.__cause__, error.__context__) == (None, None)
