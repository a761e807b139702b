"""How loops are compiled."""

from __future__ import annotations

from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop")


def compiled(loop: Loop) -> Loop:
    """Decorator: compile at the first call with arguments of a type, and keep the code on disk.

    It is kept beside the source, or in the user's cache folder where that cannot be written
    (``NUMBA_CACHE_DIR`` names another). Sums may be reordered so that they become vector
    instructions; infinities and NaN stay what they are.
    """
    compile_: Any = numba.njit(
        nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
    )
    kept: Loop = compile_(loop)
    return kept
