"""Softmax cross-entropy and its gradient, compiled, rows shared among threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.loading import loops
from flagstone_numpy.kernels.windows import Array
from flagstone_numpy.threads import share

LEAST = 1 << 12
"""Logits below which NumPy's kernel is as fast."""
MOST_CLASSES = 32
"""With more, NumPy's exponentials of whole blocks are faster than these, one by one."""
PIECE = 1 << 15
"""Logits in a piece of work: some 50 us."""


def _serves(x: Any, p: Any, *_: Any) -> bool:
    """Whether a call of either is for these kernels; a recorded step leaves others to NumPy's."""
    return _fits(x.shape if len(x.shape) == 2 else p.shape)


@declines
@Traits(serves=_serves)
def softmax_cross_entropy(x: Array, labels: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.softmax.softmax_cross_entropy`."""
    run = _loops(x)
    if run is None:
        return NotImplemented
    x = np.ascontiguousarray(x)
    loss, p = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    given = np.ascontiguousarray(labels, np.int64)

    def work(mine: Iterator[slice]) -> None:
        for rows in mine:
            run.cross_entropy(x[rows], given[rows], loss[rows], p[rows])

    share(work, _pieces(x))
    return loss, p


@declines
@Traits(serves=_serves)
def softmax_cross_entropy_grad(g: Array, p: Array, labels: Array) -> Any:
    """See :func:`flagstone_numpy.kernels.softmax.softmax_cross_entropy_grad`."""
    run = _loops(p)
    if run is None:
        return NotImplemented
    p, g = np.ascontiguousarray(p), np.ascontiguousarray(g)
    dx, given = np.empty(p.shape, p.dtype), np.ascontiguousarray(labels, np.int64)

    def work(mine: Iterator[slice]) -> None:
        for rows in mine:
            run.cross_entropy_grad(g[rows], p[rows], given[rows], dx[rows])

    share(work, _pieces(p))
    return dx


def _loops(x: Array) -> Any:
    return loops("norm") if _fits(x.shape) and x.dtype.kind == "f" and x.itemsize >= 4 else None


def _fits(shape: tuple[int, ...]) -> bool:
    return shape[0] * shape[1] >= LEAST and shape[1] <= MOST_CLASSES


def _pieces(x: Array) -> list[slice]:
    step = max(1, PIECE // x.shape[1])
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]
