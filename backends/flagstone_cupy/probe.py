"""Whether CuPy can work here, found out without importing it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from collections.abc import Callable

from flagstone.plugins import Probe

# distribution -> the driver's CUDA version that it needs, as cuDriverGetVersion gives it
DISTRIBUTIONS = {
    "cupy-cuda13x": 13000,
    "cupy-cuda12x": 12000,
    "cupy-cuda11x": 11020,
    "cupy": 11020,
}
CHOOSE = "install flagstone[cuda13x] (NVIDIA driver 580 or newer) or flagstone[cuda12x] (525)"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def probe() -> Probe:
    """Look for one CuPy, a driver that is new enough, and a card."""
    found = installed()
    if not found:
        return Probe(ok=False, reason=f"CuPy is not installed; {CHOOSE}")
    if len(found) > 1:
        return Probe(
            ok=False,
            reason=f"{' and '.join(found)} are both installed and overwrite each other; "
            f"uninstall all of them, then {CHOOSE}",
        )
    return driver_probe(found[0], load_driver)


def installed() -> list[str]:
    """The CuPy distributions that are installed, by name."""
    return [name for name in DISTRIBUTIONS if _has(name)]


def driver_probe(distribution: str, load: Callable[[], ctypes.CDLL]) -> Probe:
    """Ask the driver's own library for its version and its cards."""
    try:
        driver = load()
    except OSError:
        return Probe(
            ok=False,
            reason=f"{distribution} is installed, but this machine has no NVIDIA driver "
            f"({_library()} was not found)",
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version))
    code = code or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == NO_DEVICE or (not code and not count.value):
        return Probe(ok=False, reason="the NVIDIA driver finds no card on this machine")
    if code:
        return Probe(ok=False, reason=f"the NVIDIA driver does not start: CUDA error {code}")
    needed = DISTRIBUTIONS[distribution]
    if version.value < needed:
        return Probe(
            ok=False,
            reason=f"the NVIDIA driver supports CUDA {_dotted(version.value)}, and {distribution} "
            f"needs {_dotted(needed)}; update the driver, or {CHOOSE}",
        )
    cards = f"{count.value} card{'s'[: count.value > 1]}"
    return Probe(ok=True, detail=f"{cards}, driver for CUDA {_dotted(version.value)}")


def load_driver() -> ctypes.CDLL:
    """The driver's library; OSError where there is none."""
    return ctypes.CDLL(_library())


def _library() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _has(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
