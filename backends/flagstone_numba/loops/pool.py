"""Max pooling of images (n, h, w, c) and its transpose; with one spatial axis h is 1."""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled


@compiled
def max_pool(
    x: Any, first: int, stop: int, kernel: Any, stride: Any, low: Any, nothing: Any, y: Any,
    index: Any,
) -> None:  # fmt: skip
    """Images ``first`` to ``stop``: the largest and its tap's number; ``nothing`` is -inf.

    The first of equals counts, and the first NaN before all else.
    """
    h, w = x.shape[1], x.shape[2]
    for n in range(first, stop):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                best, chosen = y[n, p, q], index[n, p, q]
                best[:] = nothing
                chosen[:] = 0
                for i in range(kernel[0]):
                    at = p * stride[0] + i - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(kernel[1]):
                        beside = q * stride[1] + j - low[1]
                        if beside < 0 or beside >= w:
                            continue
                        seen = x[n, at, beside]
                        tap = chosen.dtype.type(i * kernel[1] + j)
                        for k in range(best.size):
                            better = (seen[k] > best[k]) | (
                                (seen[k] != seen[k]) & (best[k] == best[k])
                            )
                            best[k] = seen[k] if better else best[k]
                            chosen[k] = tap if better else chosen[k]


@compiled
def max_pool_grad(
    g: Any, index: Any, first: int, stop: int, kernel: Any, stride: Any, low: Any, adds: bool,
    dx: Any,
) -> None:  # fmt: skip
    """Give to images ``first`` to ``stop`` of ``dx`` what each window chose.

    ``adds``: windows may overlap, and ``dx`` is zero; else each number is written, of windows at
    least.
    """
    h, w = dx.shape[1], dx.shape[2]
    for n in range(first, stop):
        for p in range(g.shape[1]):
            for q in range(g.shape[2]):
                given, chosen = g[n, p, q], index[n, p, q]
                for i in range(kernel[0]):
                    at = p * stride[0] + i - low[0]
                    if at < 0 or at >= h:
                        continue
                    for j in range(kernel[1]):
                        beside = q * stride[1] + j - low[1]
                        if beside < 0 or beside >= w:
                            continue
                        into = dx[n, at, beside]
                        tap = i * kernel[1] + j
                        if adds:
                            for k in range(given.size):
                                into[k] += given[k] if chosen[k] == tap else given.dtype.type(0)
                        else:
                            for k in range(given.size):
                                into[k] = given[k] if chosen[k] == tap else given.dtype.type(0)
