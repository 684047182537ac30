"""The device of this process. The supervisor has set `CUDA_VISIBLE_DEVICES` before torch was imported, so a GPU is
always number 0 here."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass

import torch

from warmlane.errors import ConfigurationError

#: Share of the device's memory that the warm cache may take; the rest is for activations.
_CPU_SHARE = 0.5
_GPU_SHARE = 0.8
#: Padded tokens in a batch. Measured for small encoders on a CPU; a GPU wants far more.
_CPU_BATCH_TOKENS = 512
_GPU_BATCH_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run: its torch name, its memory, and how large a batch suits it."""

    name: str
    memory_bytes: int
    cache_bytes: int
    batch_tokens: int
    cores: int

    @property
    def streams(self) -> int:
        """How many batches run at a time. On a CPU one a core: two batches on a core each need no barriers, and lose
        less to whatever else runs than one batch on both."""
        return self.cores if self.name == "cpu" else 1

    def share_cores(self, alone: bool) -> None:
        """Before a batch, in its thread: spread its operations over all cores if it has them for itself."""
        set_own_threads(self.cores if alone or self.streams == 1 else 1)

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)

    def release(self) -> None:
        """Give memory that nothing uses any more back to the device."""
        gc.collect()
        if self.name != "cpu":
            torch.cuda.empty_cache()


def find(setting: str, cache_bytes: int = 0, batch_tokens: int = 0) -> Device:
    """The device that this process was started for.

    Raises:
        ConfigurationError: a GPU was asked for and torch sees none.
    """
    cores = torch.get_num_threads()
    if setting == "cpu":
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Device("cpu", memory, cache_bytes or int(memory * _CPU_SHARE), batch_tokens or _CPU_BATCH_TOKENS, cores)
    if not torch.cuda.is_available():
        raise ConfigurationError(
            f"device {setting}: torch sees no GPU; check the driver and the torch build, or use cpu"
        )
    memory = torch.cuda.get_device_properties(0).total_memory
    return Device("cuda:0", memory, cache_bytes or int(memory * _GPU_SHARE), batch_tokens or _GPU_BATCH_TOKENS, cores)


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
