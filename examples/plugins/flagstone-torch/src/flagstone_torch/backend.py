"""PyTorch's tensors as a backend of flagstone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from flagstone.backend import Backend, MemoryInfo
from flagstone.devices import Device
from flagstone.errors import UnavailableError

from flagstone_torch.kernels import KERNELS
from flagstone_torch.namespace import Namespace


class TorchBackend(Backend):
    """PyTorch on one device. The tape is flagstone's; PyTorch's own stays empty.

    Args:
        name: as in the ``BackendSpec``.
        device: flagstone's name of the device.
        place: PyTorch's name of it.
    """

    kernels = KERNELS
    precisions = ("exact", "mixed-fp16", "mixed-bf16")
    lacks = {"tf32": "it is PyTorch's own switch, backends.fp32_precision"}  # noqa: RUF012

    def __init__(self, name: str, device: Device, place: torch.device) -> None:
        super().__init__(device)
        self.name = name
        self.place = place
        self.xp = Namespace(place)

    def describe(self) -> str:
        if self.place.type == "cuda":
            return f"torch {torch.__version__}, {torch.cuda.get_device_name(self.place)}"
        return f"torch {torch.__version__}, threads: {torch.get_num_threads()}"

    def devices(self) -> list[Device]:
        if self.place.type == "cuda":
            return [Device(self.device.kind, i) for i in range(torch.cuda.device_count())]
        return [self.device]

    def asarray(self, x: Any, dtype: str | None = None) -> torch.Tensor:
        """``x`` here; memory is shared with an array on the host where PyTorch can share it."""
        if not isinstance(x, torch.Tensor):
            x = np.asarray(x)
            shareable = x.flags.writeable and all(stride >= 0 for stride in x.strides)
            x = torch.from_numpy(x if shareable else x.copy())
        return x.to(self.place, None if dtype is None else getattr(torch, dtype))

    def to_numpy(self, a: torch.Tensor) -> Any:
        """A NumPy array on the host; waits for the work that makes ``a``."""
        return (a.float() if a.dtype == torch.bfloat16 else a).numpy(force=True)  # NumPy lacks it

    def synchronize(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)

    def memory(self) -> MemoryInfo:
        """Of a card: bytes that tensors hold now and at most, and the card's memory."""
        if self.place.type != "cuda":
            return MemoryInfo()
        used = torch.cuda.memory_allocated(self.place)
        peak = torch.cuda.max_memory_allocated(self.place)
        return MemoryInfo(used, peak, torch.cuda.get_device_properties(self.place).total_memory)


def open_cpu(index: int | None) -> TorchBackend:
    """The backend for ``torch``: PyTorch on the CPU, of which there is one.

    Raises:
        UnavailableError: ``index`` is not 0.
    """
    if index:
        raise UnavailableError(f"device 'torch:{index}': there is one CPU device; write 'torch'")
    return TorchBackend("torch", Device("torch"), torch.device("cpu"))


def open_cuda(index: int | None) -> TorchBackend:
    """The backend for ``torch:cuda`` (card 0) or ``torch:cuda:index``.

    Raises:
        UnavailableError: there is no such card.
    """
    cards, card = torch.cuda.device_count(), index or 0
    if card >= cards:
        raise UnavailableError(
            f"device 'torch:cuda:{card}': PyTorch finds {cards} card{'s'[: cards != 1]}"
        )
    return TorchBackend("torch-cuda", Device("torch:cuda", card), torch.device("cuda", card))
