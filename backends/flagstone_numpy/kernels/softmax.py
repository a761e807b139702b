"""The softmax family, row by row in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block

Array = np.ndarray
BLOCK = 16384
"""Numbers in a block: several float32 streams of 64 kB lie in a second-level cache."""


def softmax(x: Array, *, axis: int = -1) -> Array:
    """See :func:`flagstone.ops.activation.softmax`."""
    return _along(x, axis, _exponentials_over_sums)


def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """See :func:`flagstone.ops.activation.log_softmax`."""

    def step(y: Array, x: Array) -> None:
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        y -= np.log(np.exp(y).sum(axis=1, keepdims=True))

    return _along(x, axis, step)


def softmax_cross_entropy(x: Array, labels: Array) -> tuple[Array, Array]:
    """Losses and probabilities; one exponential per logit, the rest in place."""
    n, classes = x.shape
    valid = (labels >= 0) & (labels < classes)
    picked = np.where(valid, labels, 0)
    p, loss = np.empty((n, classes), x.dtype), np.empty(n, x.dtype)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            shifted = np.subtract(x[part], x[part].max(axis=1, keepdims=True), out=p[part])
            at_label = shifted[np.arange(len(shifted)), picked[part]]
            np.exp(shifted, out=shifted)
            total = shifted.sum(axis=1, keepdims=True)
            np.subtract(np.log(total[:, 0]), at_label, out=loss[part])
            shifted /= total

    share_if_large(work, _parts(n, classes), x.size)
    if not valid.all():
        loss[~valid] = np.nan
    return loss, p


def softmax_cross_entropy_grad(g: Array, p: Array, labels: Array) -> Array:
    """``(p - one_hot(labels)) * g``."""
    out = p * g[:, None]
    rows = np.flatnonzero((labels >= 0) & (labels < p.shape[1]))
    out[rows, labels[rows]] -= g[rows]
    return out


def _exponentials_over_sums(y: Array, x: Array) -> None:
    np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(axis=1, keepdims=True)


def _along(x: Array, axis: int, step: Callable[[Array, Array], None]) -> Array:
    """A new array, of which ``step(y, x)`` computes some rows along ``axis`` after others."""
    moved = np.moveaxis(x, axis, -1)
    length = moved.shape[-1]
    rows = np.ascontiguousarray(moved).reshape(-1, length)
    y = np.empty(rows.shape, x.dtype)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            step(y[part], rows[part])

    share_if_large(work, _parts(len(rows), length), x.size)
    return np.moveaxis(y.reshape(moved.shape), -1, axis)


def _parts(rows: int, length: int) -> list[slice]:
    size = rows * length
    block = BLOCK if size < SHARED else shared_block(size)
    return list(cut(rows, max(1, block // max(1, length))))
