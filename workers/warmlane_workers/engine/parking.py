"""A model's weights on their way to the host's memory and back. Knows tensors, not budgets.

The host's copy is made once, in one piece of pinned memory: making and pinning it is what costs. After that, leaving
the device is a swap of pointers, and coming back is one copy at the speed of the bus. So it stays while the model is on
the device, until its room is wanted.

Weights do not change while a model is served, so one copy of the parameters will do. Buffers may, in a forward, and are
small: they are taken along each time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from warmlane_workers.pipelines.memory import within_memory

logger = logging.getLogger(__name__)

#: Where each tensor may begin in the copy, in bytes: what CUDA's own allocations are aligned to.
_ALIGNMENT = 256


class ParkedWeights:
    """The copy of one model's weights in host memory.

    Args:
        model: all on one device.
        device: where it comes back to.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._host = torch.empty(0, dtype=torch.uint8)
        self._on_device: torch.UntypedStorage | None = None
        self._pinned = False

    @property
    def bytes(self) -> int:
        """What the copy takes, or will take."""
        return self._host.nbytes or _layout(list(self._model.parameters()))[1]

    def park(self) -> None:
        """Move the weights off the device.

        Raises:
            OutOfMemory: the host has no room for the copy; the model is where it was.
        """
        parameters = list(self._model.parameters())
        storages = {tensor.untyped_storage().data_ptr() for tensor in parameters}
        if self._on_device is None or storages != {self._on_device.data_ptr()}:  # never copied, or others came to it
            self._copy(parameters)
        else:
            _point(parameters, {self._on_device.data_ptr(): 0}, self._host.untyped_storage())
        for buffer in self._model.buffers():
            buffer.data = buffer.data.to("cpu")
        self._on_device = None

    def restore(self) -> None:
        """Move the weights back to the device.

        Raises:
            OutOfMemory: the device has no room for them; the model stays parked.
        """
        with within_memory("the model"):
            moved = self._host.to(self._device, non_blocking=True, copy=True)
            buffers = [(buffer, buffer.data.to(self._device)) for buffer in self._model.buffers()]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        for buffer, data in buffers:
            buffer.data = data
        _point(list(self._model.parameters()), {self._host.untyped_storage().data_ptr(): 0}, moved.untyped_storage())
        self._on_device = moved.untyped_storage()

    def close(self) -> None:
        """Give the copy's memory back; that of a parked model goes when nothing refers to the model."""
        self._unpin()
        self._host = torch.empty(0, dtype=torch.uint8)
        self._on_device = None

    def _copy(self, parameters: Sequence[torch.Tensor]) -> None:
        places, size = _layout(parameters)
        self._unpin()
        with within_memory("the copy of a model in host memory"):
            self._host = torch.empty(size, dtype=torch.uint8)
        self._pin()
        for storage in {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in parameters
        }.values():
            begin = places[storage.data_ptr()]
            source = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
            self._host[begin : begin + storage.nbytes()].copy_(source, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        _point(parameters, places, self._host.untyped_storage())

    def _pin(self) -> None:
        # Not `pin_memory=True`, whose allocator rounds up to a power of two, and keeps what is freed.
        if self._device.type != "cuda" or not self._host.nbytes:
            return
        status = int(_cudart().cudaHostRegister(self._host.data_ptr(), self._host.nbytes, 0))
        self._pinned = not status
        if status:
            logger.warning(
                "host memory cannot be pinned (CUDA error %d): models come back slower",
                status,
                extra={"action": "unpinned"},
            )

    def _unpin(self) -> None:
        if self._pinned:
            torch.cuda.check_error(int(_cudart().cudaHostUnregister(self._host.data_ptr())))
        self._pinned = False


def can_park(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether all weights are plain tensors on the device; quantised ones are of classes that own their memory."""
    tensors = [*model.parameters(), *model.buffers()]
    return all(
        type(tensor.data) is torch.Tensor and tensor.layout is torch.strided and tensor.device == device
        for tensor in tensors
    )


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _layout(tensors: Sequence[torch.Tensor]) -> tuple[dict[int, int], int]:
    """Address of each storage -> where it begins in the copy; and the copy's size, in bytes."""
    places: dict[int, int] = {}
    size = 0
    for storage in (tensor.untyped_storage() for tensor in tensors):
        if storage.data_ptr() not in places:
            places[storage.data_ptr()] = size
            size += -(-storage.nbytes() // _ALIGNMENT) * _ALIGNMENT
    return places, size


def _point(tensors: Sequence[torch.Tensor], places: dict[int, int], target: torch.UntypedStorage) -> None:
    """Have tensors lie in another storage, each storage of theirs at its place in bytes. Tied ones stay tied."""
    for tensor in tensors:
        begin = places[tensor.untyped_storage().data_ptr()] // tensor.element_size()
        empty = torch.empty(0, dtype=tensor.dtype, device=target.device)
        tensor.data = empty.set_(target, begin + tensor.storage_offset(), tensor.shape, tensor.stride())
