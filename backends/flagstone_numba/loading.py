"""Loading compiled loops when they are first wanted."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

from flagstone.plugins import PluginWarning


@functools.cache
def loops(name: str) -> Any:
    """The module ``flagstone_numba.loops.<name>``; ``None`` where Numba does not work, said once.

    Numba refuses a NumPy that is newer than it knows when it is imported, for one.
    """
    try:
        return importlib.import_module(f"flagstone_numba.loops.{name}")
    except Exception as error:  # noqa: BLE001  # whatever it is, NumPy's kernels go on serving
        _tell(f"{type(error).__name__}: {error}")
        return None


@functools.cache
def _tell(reason: str) -> None:
    remedy = "Update numba, or uninstall it"
    if "no locator" in reason:  # nor a place at home to keep what it compiles
        remedy = "Set NUMBA_CACHE_DIR to a folder that can be written"
    warnings.warn(
        f"flagstone_numba: numba is installed but does not work here ({reason}); "
        f"NumPy's own kernels serve instead. {remedy}",
        PluginWarning,
        stacklevel=5,
    )
