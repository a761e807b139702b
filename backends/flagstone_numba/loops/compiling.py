"""How loops are compiled."""

from __future__ import annotations

from typing import Any

import numba

compiled: Any = numba.njit(
    nogil=True,
    cache=True,  # beside the source, or in the user's cache folder where that cannot be written
    error_model="numpy",
    fastmath={
        "contract",
        "reassoc",
        "nsz",
    },  # sums in vectors; infinities and NaN stay what they are
)
"""Decorator: compile at the first call with arguments of a type."""
