"""The device of this process. The supervisor has set `CUDA_VISIBLE_DEVICES` before torch was imported, so a GPU is
always number 0 here."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from warmlane.errors import ConfigurationError
from warmlane_workers.engine.claim import claim
from warmlane_workers.settings import Size

#: Share of the device's memory that the warm cache may take; the rest is for activations.
_CPU_SHARE = 0.5
_GPU_SHARE = 0.8
#: Share of the machine's RAM for models that left a GPU. Each worker has its own: those of eight GPUs take half.
_HOST_SHARE = 1 / 16
#: Where a container is told how much memory it may take (cgroup v2).
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: Padded tokens in a batch. Measured for small encoders on a CPU; a GPU wants far more.
_CPU_BATCH_TOKENS = 512
_GPU_BATCH_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run: its torch name, its memory, and how large a batch suits it.

    Attributes:
        cache_bytes: what the warm models may take of its memory.
        host_bytes: what models that left it may take of the host's.
        cores: of the host.
        batch_fixed: the size of batches is the operator's, and not to be measured.
    """

    name: str
    memory_bytes: int
    cache_bytes: int
    batch_tokens: int
    cores: int
    host_bytes: int = 0
    batch_fixed: bool = False

    @property
    def streams(self) -> int:
        """How many batches run at a time. On a CPU one a core: two batches on a core each need no barriers, and lose
        less to whatever else runs than one batch on both."""
        return self.cores if self.name == "cpu" else 1

    def share_cores(self, alone: bool) -> None:
        """Before a batch, in its thread: spread its operations over all cores if it has them for itself."""
        set_own_threads(self.cores if alone or self.streams == 1 else 1)

    @property
    def timer(self) -> Callable[[], float]:
        """A clock for what the device computes, in seconds. A thread's own on a CPU, which others use as well."""
        return time.thread_time if self.name == "cpu" else time.perf_counter

    @property
    def kind(self) -> str:
        """What is equally fast: the GPU's name, or the CPU with its cores."""
        return f"cpu-{self.cores}" if self.name == "cpu" else torch.cuda.get_device_name(0)

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)

    def release(self) -> None:
        """Give memory that nothing uses any more back: to the device, and to the operating system."""
        gc.collect()
        if self.name != "cpu":
            torch.cuda.empty_cache()
        elif _malloc_trim is not None:
            _malloc_trim(0)


def _find_trim() -> Any:
    """glibc keeps what is freed for itself, up to whole models, unless asked; other C libraries have no such call."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


_malloc_trim = _find_trim()


def find(
    setting: str, cache_bytes: Size | None = None, batch_tokens: int = 0, host_bytes: Size | None = None
) -> Device:
    """The device that this process was started for. Sizes that are none, or 0 tokens, are the device's defaults.

    Raises:
        ConfigurationError: a GPU was asked for and torch sees none; or a second tier where it has no point.
    """
    cores = torch.get_num_threads()
    ram = ram_bytes()
    if setting == "cpu":
        if host_bytes:
            raise ConfigurationError(
                "WARMLANE_HOST_CACHE_BYTES: on a CPU the host's memory is the device's; set WARMLANE_CACHE_BYTES alone"
            )
        budget = (cache_bytes or Size(share=_CPU_SHARE)).of(ram)
        return Device("cpu", ram, budget, batch_tokens or _CPU_BATCH_TOKENS, cores, batch_fixed=batch_tokens > 0)
    if not torch.cuda.is_available():
        raise ConfigurationError(
            f"device {setting}: torch sees no GPU; check the driver and the torch build, or use cpu"
        )
    memory = torch.cuda.get_device_properties(0).total_memory
    return Device(
        "cuda:0",
        memory,
        (cache_bytes or Size(share=_GPU_SHARE)).of(memory),
        batch_tokens or _GPU_BATCH_TOKENS,
        cores,
        (Size(share=_HOST_SHARE) if host_bytes is None else host_bytes).of(ram),
        batch_tokens > 0,
    )


def hold(alone: bool) -> None:
    """Claim this process's GPU until it ends.

    Raises:
        DeviceError: another worker's claim excludes it.
    """
    claim(str(torch.cuda.get_device_properties(0).uuid), alone=alone)


def ram_bytes() -> int:
    """The memory of this machine, or what of it this container may take."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    return min(ram, int(limit)) if limit.isdecimal() else ram


def set_own_threads(count: int) -> None:
    """How many threads the operations of the calling thread use.

    A thread's first operation takes over the number that any thread set last, so it is asked for before it is set.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


def measure(model: torch.nn.Module) -> int:
    """Bytes of a model's weights and buffers; tied weights count once."""
    tensors = [*model.parameters(), *model.buffers()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
