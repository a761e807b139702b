"""CuPy as a backend of flagstone. Every op runs in its generic form; it has no kernels yet."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from flagstone.backend import Backend, MemoryInfo
from flagstone.devices import Device
from flagstone.errors import UnavailableError


class CupyBackend(Backend):
    """One NVIDIA card. Opening it makes it the calling thread's current CUDA device."""

    name = "cupy"
    xp = cupy

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._card = cupy.cuda.Device(device.index or 0)
        self._card.use()

    def describe(self) -> str:
        properties = cupy.cuda.runtime.getDeviceProperties(self._card.id)
        return f"cupy {cupy.__version__}, {properties['name'].decode()}"

    def devices(self) -> list[Device]:
        return [Device("cuda", i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    def asarray(self, x: Any, dtype: str | None = None) -> cupy.ndarray:
        return cupy.asarray(x, dtype=dtype)

    def to_numpy(self, a: cupy.ndarray) -> Any:
        """A NumPy array on the host; waits for the work that makes ``a``."""
        return np.asarray(cupy.asnumpy(a))

    def synchronize(self) -> None:
        self._card.synchronize()

    def memory(self) -> MemoryInfo:
        """Of the card: bytes that arrays hold, no peak, and the card's memory."""
        _, total = cupy.cuda.runtime.memGetInfo()
        return MemoryInfo(used=cupy.get_default_memory_pool().used_bytes(), total=total)


def open_cupy(index: int | None) -> CupyBackend:
    """The backend for ``cuda`` (card 0) or ``cuda:index``.

    Raises:
        UnavailableError: there is no such card.
    """
    cards = cupy.cuda.runtime.getDeviceCount()
    if (index or 0) >= cards:
        raise UnavailableError(
            f"device 'cuda:{index}': this machine has {cards} card{'s'[: cards > 1]}, "
            f"cuda:0 to cuda:{cards - 1}"
        )
    return CupyBackend(Device("cuda", index or 0))
