"""Max pooling of images (n, h, w, c) and its transpose; with one spatial axis h is 1."""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled
from flagstone_numba.loops.direct import activate
from flagstone_numba.loops.turns import count, first, following, rest
from flagstone_numba.loops.windows import inside


@compiled
def max_pool(
    turns: Any, each: int, x: Any, kernel: Any, stride: Any, low: Any, nothing: Any, relu: bool,
    y: Any, index: Any,
) -> None:  # fmt: skip
    """The largest and its tap's number, ``each`` images a piece; ``nothing`` is -inf.

    The first of equals counts, and the first NaN before all else. ``relu``: what is below zero is
    written as zero.
    """
    piece = first(turns)
    while piece < count(turns):
        for n in range(piece * each, min((piece + 1) * each, x.shape[0])):
            _largest(x[n], kernel, stride, low, nothing, y[n], index[n])
            if relu:
                for p in range(y.shape[1]):
                    activate(y[n, p])
        piece = following(turns)
    rest(turns)


@compiled
def _largest(x: Any, kernel: Any, stride: Any, low: Any, nothing: Any, y: Any, index: Any) -> None:
    """One image."""
    for p in range(y.shape[0]):
        top = p * stride[0] - low[0]
        r, stop = inside(top, 1, kernel[0], x.shape[0])
        for q in range(y.shape[1]):
            left, best, chosen = q * stride[1] - low[1], y[p, q], index[p, q]
            s, end = inside(left, 1, kernel[1], x.shape[1])
            best[:] = nothing
            chosen[:] = 0
            for i in range(r, stop):
                for j in range(s, end):
                    seen = x[top + i, left + j]
                    tap = chosen.dtype.type(i * kernel[1] + j)
                    for k in range(best.size):
                        better = (seen[k] > best[k]) | ((seen[k] != seen[k]) & (best[k] == best[k]))
                        best[k] = seen[k] if better else best[k]
                        chosen[k] = tap if better else chosen[k]


@compiled
def max_pool_grad(
    turns: Any, each: int, g: Any, index: Any, kernel: Any, stride: Any, low: Any, adds: bool,
    covers: bool, dx: Any,
) -> None:  # fmt: skip
    """Give to ``dx``, ``each`` images a piece, what each window chose.

    ``adds``: windows may overlap; ``covers``: together they are all of an image.
    """
    piece = first(turns)
    while piece < count(turns):
        for n in range(piece * each, min((piece + 1) * each, dx.shape[0])):
            if not covers:
                dx[n] = 0
            _give(g[n], index[n], kernel, stride, low, adds, dx[n])
        piece = following(turns)
    rest(turns)


@compiled
def _give(g: Any, index: Any, kernel: Any, stride: Any, low: Any, adds: bool, dx: Any) -> None:
    """One image."""
    for p in range(g.shape[0]):
        top = p * stride[0] - low[0]
        r, stop = inside(top, 1, kernel[0], dx.shape[0])
        for q in range(g.shape[1]):
            left, given, chosen = q * stride[1] - low[1], g[p, q], index[p, q]
            s, end = inside(left, 1, kernel[1], dx.shape[1])
            for i in range(r, stop):
                for j in range(s, end):
                    into = dx[top + i, left + j]
                    tap = i * kernel[1] + j
                    if adds:
                        for k in range(given.size):
                            into[k] += given[k] if chosen[k] == tap else given.dtype.type(0)
                    else:
                        for k in range(given.size):
                            into[k] = given[k] if chosen[k] == tap else given.dtype.type(0)
