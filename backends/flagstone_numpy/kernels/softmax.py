"""The softmax family, in blocks that stay in the cache.

Along a short last axis NumPy reduces row by row, some 50 ns each. So short rows are turned: the
numbers of a block stand in columns while they are computed with, and all calls are long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone.backend import Traits
from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block
from flagstone_numpy.scratch import scratch

Array = np.ndarray
BLOCK = 16384
"""Numbers in a block: several float32 streams of 64 kB lie in a second-level cache."""
SHORT = 48
"""Numbers, at most, in a row that is turned."""
_sum: Any = np.add.reduce  # its types want keepdims to be a literal; the arrays' methods ask Python
_max: Any = np.maximum.reduce


def softmax_into(out: Array, x: Array, *, axis: int = -1) -> None:
    """Write :func:`softmax` to ``out``, which may be ``x``."""
    _along(x, axis, _softmax, out)


@Traits(into=softmax_into, over=(0,))
def softmax(x: Array, *, axis: int = -1) -> Array:
    """See :func:`flagstone.ops.activation.softmax`."""
    return _along(x, axis, _softmax)


def log_softmax_into(out: Array, x: Array, *, axis: int = -1) -> None:
    """Write :func:`log_softmax` to ``out``, which may be ``x``."""
    _along(x, axis, _log_softmax, out)


@Traits(into=log_softmax_into, over=(0,))
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """See :func:`flagstone.ops.activation.log_softmax`."""
    return _along(x, axis, _log_softmax)


def _softmax(y: Array, x: Array, axis: int) -> None:
    np.subtract(x, _largest(x, axis), y)
    np.exp(y, y)
    y /= _total(y, axis)


def _log_softmax(y: Array, x: Array, axis: int) -> None:
    np.subtract(x, _largest(x, axis), y)
    y -= np.log(_total(np.exp(y), axis))


def _largest(x: Array, axis: int) -> Array:
    largest: Array = _max(x, axis, None, None, True)
    return largest


def _total(x: Array, axis: int) -> Array:
    total: Array = _sum(x, axis, None, None, True)
    return total


def _along(
    x: Array, axis: int, step: Callable[[Array, Array, int], None], out: Array | None = None
) -> Array:
    """An array, of which ``step(y, x, axis)`` computes some rows along ``axis`` after others."""
    is_last = axis in (-1, x.ndim - 1)
    moved = x if is_last else np.moveaxis(x, axis, -1)
    length = moved.shape[-1]
    rows = np.ascontiguousarray(moved).reshape(-1, length)
    target = out if out is not None and is_last and out.flags.c_contiguous else None
    y = np.empty(rows.shape, x.dtype) if target is None else target.reshape(-1, length)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            if length > SHORT:
                step(y[part], rows[part], 1)
            else:
                turned = _turned(rows[part])
                step(turned, turned, 0)
                np.copyto(y[part], turned.T)

    share_if_large(work, _parts(len(rows), length), x.size)
    made = y.reshape(moved.shape)
    if not is_last:
        made = np.moveaxis(made, -1, axis)
    if out is not None and target is None:
        np.copyto(out, made)
    return made


def softmax_cross_entropy_into(out: tuple[Array, Array], x: Array, labels: Array) -> None:
    """Write :func:`softmax_cross_entropy` to ``out``."""
    losses, p = out
    n, classes = x.shape
    valid = _valid(labels, classes)
    picked = labels if valid is None else np.where(valid, labels, 0)
    step = _losses if classes > SHORT else _losses_of_short

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            step(losses[part], p[part], x[part], picked[part])

    if x.size <= BLOCK:
        step(losses, p, x, picked)
    else:
        share_if_large(work, _parts(n, classes), x.size)
    if valid is not None:
        losses[~valid] = np.nan


@Traits(into=softmax_cross_entropy_into)
def softmax_cross_entropy(x: Array, labels: Array) -> tuple[Array, Array]:
    """Losses and probabilities; one exponential per logit, the rest in place."""
    out = np.empty(len(x), x.dtype), np.empty(x.shape, x.dtype)
    softmax_cross_entropy_into(out, x, labels)
    return out


def _losses(losses: Array, p: Array, x: Array, labels: Array) -> None:
    np.subtract(x, _largest(x, 1), p)
    at_label = p[np.arange(len(p)), labels]
    np.exp(p, p)
    total = _total(p, 1)
    np.subtract(np.log(total[:, 0]), at_label, losses)
    p /= total


def _losses_of_short(losses: Array, p: Array, x: Array, labels: Array) -> None:
    turned = _turned(x)
    turned -= _largest(turned, 0)
    at_label = turned[labels, np.arange(len(labels))]
    np.exp(turned, turned)
    total = _total(turned, 0)
    turned /= total
    np.copyto(p, turned.T)
    np.subtract(np.log(total[0]), at_label, losses)


def softmax_cross_entropy_grad_into(out: Array, g: Array, p: Array, labels: Array) -> None:
    """Write :func:`softmax_cross_entropy_grad` to ``out``."""
    n, classes = p.shape
    valid = _valid(labels, classes)

    def work(mine: Iterator[slice]) -> None:
        for part in mine:
            target, less, chosen = out[part], g[part], labels[part]
            np.multiply(p[part], less[:, None], target)
            places = np.arange(0, target.size, classes)
            places += chosen
            if valid is not None:
                places, less = places[valid[part]], less[valid[part]]
            flat = target.reshape(-1)
            flat[places] -= less

    share_if_large(work, _parts(n, classes) if p.size >= SHARED else [slice(n)], p.size)


@Traits(into=softmax_cross_entropy_grad_into)
def softmax_cross_entropy_grad(g: Array, p: Array, labels: Array) -> Array:
    """``(p - one_hot(labels)) * g``."""
    out = np.empty(p.shape, p.dtype)
    softmax_cross_entropy_grad_into(out, g, p, labels)
    return out


def _valid(labels: Array, classes: int) -> Array | None:
    """Which labels are classes; ``None`` if all are."""
    valid: Array = labels.view(f"u{labels.itemsize}") < classes  # negative ones are large then
    return None if valid.all() else valid


def _turned(rows: Array) -> Array:
    """A copy in scratch memory whose columns are the rows."""
    turned = scratch("half", rows.shape[::-1], rows.dtype)
    np.copyto(turned, rows.T)
    return turned


def _parts(rows: int, length: int) -> Iterator[slice]:
    size = rows * length
    block = BLOCK if size < SHARED else shared_block(size)
    return cut(rows, max(1, block // max(1, length)))
