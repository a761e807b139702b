"""A product of many rows and a matrix, for convolutions of one tap."""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import activate
from flagstone_numba.loops.product import multiply
from flagstone_numba.loops.turns import count, first, following, rest, wait_for


@compiled
def rows(
    turns: Any, tall: Any, vectors: Any, x: Any, w: Any, across: int, along: int, weights: Any,
    bias: Any, each: int, none: Any, relu: bool, y: Any,
) -> None:  # fmt: skip
    """Write ``x`` (m, c) times a matrix, plus ``bias`` (k,), to ``y`` (m, k).

    The matrix's numbers are in ``w``, flat, its columns ``across`` and its rows ``along`` apart;
    ``weights`` (blocks, c, columns of ``vectors``) is memory for it in blocks, which come first, a
    block a piece; then ``each`` rows are, more in the last. ``tall`` is a
    product's rows, at most ``each``, so that none writes rows of another piece.
    """
    before, c, columns = weights.shape
    m, k = y.shape
    a, b, out = x.reshape(-1), weights.reshape(-1), y.reshape(-1)
    piece = first(turns)
    while piece < count(turns):
        if piece < before:
            for d in range(c):
                into = weights[piece, d]
                at = piece * columns * across + d * along
                for j in range(columns):
                    into[j] = w[at + j * across]
        else:
            wait_for(turns, before)
            begin = (piece - before) * each
            end = m if piece + 1 == count(turns) else begin + each
            for j in range(before):
                for r in range(begin, end, len(tall)):
                    row = min(r, end - len(tall))
                    multiply(
                        tall, vectors, a, row * c, c, 1, none, 1, c, b, j * c * columns, columns,
                        bias, j * columns, 0, out, row * k + j * columns, k,
                    )  # fmt: skip
            if relu:
                activate(y[begin:end])
        piece = following(turns)
    rest(turns)
