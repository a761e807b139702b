"""NumPy as a backend of flagstone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flagstone.backend import Backend, MemoryInfo
from flagstone.devices import Device
from flagstone.errors import UnavailableError
from flagstone_numpy import threads
from flagstone_numpy.table import KERNELS


class NumpyBackend(Backend):
    """The CPU: NumPy arrays, NumPy's BLAS, kernels that keep to the cache."""

    name = "numpy"
    xp = np
    kernels = KERNELS
    precisions = ("exact", "fast")
    lacks: Mapping[str, str] = {
        "tf32": "it is a way in which NVIDIA's cards round products",
        "mixed-fp16": "a CPU computes float16 by way of float32, which would be slower",
        "mixed-bf16": "NumPy has no bfloat16",
    }
    is_immediate = True

    def describe(self) -> str:
        """The array library, its BLAS, and how many threads kernels use: what is true just now."""
        number = threads.count()
        plural = "s" if number != 1 else ""
        whose = "" if threads.blas.works else " beside those of BLAS, which cannot be held at one"
        return f"numpy {np.__version__}, {_blas_name()}, {number} thread{plural}{whose}"

    def asarray(self, x: Any, dtype: str | None = None) -> np.ndarray:
        return np.asarray(x, dtype=dtype)

    def to_numpy(self, a: Any) -> np.ndarray:
        return np.asarray(a)

    def ones_like(self, a: Any) -> np.ndarray:
        made = np.empty(a.shape, a.dtype)
        made.fill(1)
        return made

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        """The step, recorded on its first calls, then replayed; :mod:`flagstone_numpy.replay`."""
        from flagstone.capturing import Recorded
        from flagstone_numpy.replay import Layout, build

        return Recorded(step, self, build, Layout)

    def settle(self) -> None:
        threads.settle()

    def memory(self) -> MemoryInfo:
        """Of the process: resident bytes now and at their peak, and the machine's memory."""
        used = peak = total = None
        if sys.platform == "linux":
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if sys.platform != "win32":
            import resource

            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return MemoryInfo(used, peak, total)


def open_numpy(index: int | None) -> NumpyBackend:
    """The backend for ``cpu``; there is one CPU device, so ``cpu:1`` does not exist.

    Raises:
        UnavailableError: ``index`` is not 0.
        ConfigurationError: ``FLAGSTONE_NUM_THREADS`` is not a positive integer.
    """
    if index:
        raise UnavailableError(f"device 'cpu:{index}': there is one CPU device; write 'cpu'")
    threads.configure()
    return NumpyBackend(Device("cpu"))


def _blas_name() -> str:
    config: Any = np.show_config(mode="dicts")
    name = str(config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown BLAS"))
    known = {"openblas": "OpenBLAS", "mkl": "MKL", "accelerate": "Accelerate"}
    return next((shown for part, shown in known.items() if part in name.lower()), name)
