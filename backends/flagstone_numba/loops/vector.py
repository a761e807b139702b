"""A matrix times a vector, whose rows threads share: each number of the matrix is read once, so
what counts is how many cores read."""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.turns import count, first, following, rest


@compiled
def linear_relu(turns: Any, x: Any, w: Any, b: Any, y: Any) -> None:
    """``y = max(w x + b, 0)`` for ``w`` (k, n), its rows in as many pieces as ``turns`` has."""
    piece, pieces = first(turns), count(turns)
    while piece < pieces:
        for k in range(y.size * piece // pieces, y.size * (piece + 1) // pieces):
            total, row = b[k], w[k]
            for i in range(x.size):
                total += row[i] * x[i]
            y[k] = y.dtype.type(0) if total < 0 else total
        piece = following(turns)
    rest(turns)
