"""Two workers and one GPU: refused, or shared by those that say how much they take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from warmlane.errors import DeviceError
from warmlane_workers.engine.claim import claim


@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True)])
def test_a_gpu_that_is_wanted_alone_is_not_shared(first: bool, second: bool, tmp_path: Path) -> None:
    """Whoever came first keeps it; the message says how to share."""
    claim("gpu", alone=first, directory=tmp_path)
    with pytest.raises(DeviceError, match="WARMLANE_CACHE_BYTES"):
        claim("gpu", alone=second, directory=tmp_path)


def test_workers_with_budgets_of_their_own_share_a_gpu(tmp_path: Path) -> None:
    """Each said what it takes."""
    for _ in range(3):
        claim("gpu", alone=False, directory=tmp_path)


def test_gpus_are_claimed_one_by_one(tmp_path: Path) -> None:
    """Another device is free."""
    claim("one", alone=True, directory=tmp_path)
    claim("other", alone=True, directory=tmp_path)


def test_a_gpu_is_free_when_its_worker_is_gone(tmp_path: Path) -> None:
    """The lock ends with the process's last descriptor of it."""
    os.close(claim("gpu", alone=True, directory=tmp_path))
    claim("gpu", alone=True, directory=tmp_path)
