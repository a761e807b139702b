"""Flat arrays of which threads take pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flagstone_numpy.threads import Turns, share_turns

LEAST = 1 << 15
"""Numbers below which NumPy's own kernel is as fast."""
PIECE = 1 << 15
"""Numbers in a piece, :data:`flagstone_numba.loops.elementwise.PIECE`: some 10 us of memory
traffic, whatever the op."""


def share_flat(apply: Callable[[Turns], None], size: int) -> None:
    """Call ``apply`` on several threads, whose loops take pieces of ``size`` numbers."""
    share_turns(apply, -(-size // PIECE))


def is_large(first: Any, *_: Any, **__: Any) -> bool:
    """Whether the first input, of which the shape is known, is for a compiled kernel."""
    return math.prod(first.shape) >= LEAST
