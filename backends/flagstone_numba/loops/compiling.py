"""How loops are compiled."""

from __future__ import annotations

from typing import Any, TypeVar

import numba
from numba.core import event

from flagstone_numba.loops.announcing import Announcement
from flagstone_numba.loops.keeping import Kept

Loop = TypeVar("Loop")
register: Any = event.register  # it has no types
register("numba:compile", Announcement())


def compiled(loop: Loop) -> Loop:
    """Decorator: compile at the first call with arguments of a type, and keep the code on disk.

    It is kept beside the source, or in the user's cache folder where that cannot be written
    (``NUMBA_CACHE_DIR`` names another); see :mod:`flagstone_numba.loops.keeping`. Sums may be
    reordered so that they become vector instructions; infinities and NaN stay what they are.
    """
    made: Any = numba.njit(
        nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
    )(loop)
    made._cache = Kept(made)
    kept: Loop = made
    return kept
