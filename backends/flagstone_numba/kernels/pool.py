"""Max pooling and its transpose, compiled, images shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import Traits, declines
from flagstone_numba.kernels.planes import Geometry, as_planes
from flagstone_numba.loading import loops
from flagstone_numpy.kernels import pool as numpys
from flagstone_numpy.kernels.pool import reaches_all
from flagstone_numpy.kernels.windows import Array, Pairs, Sizes, Window
from flagstone_numpy.threads import Turns, share_turns

PIECE = 1 << 17
"""Numbers of input in a piece of work: some 50 us."""


def max_pool_into(
    out: tuple[Array, Array], x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs,
    relu: bool = False,
) -> None:  # fmt: skip
    """Write what :func:`max_pool` gives, activated if asked for, to ``out``."""
    if x.ndim <= 4 and loops("pool") is not None:
        pooled(x, kernel, stride, padding, relu, out)
    else:
        y, index = numpys.max_pool(x, kernel=kernel, stride=stride, padding=padding)
        np.copyto(out[0], np.maximum(y, 0) if relu else y)
        np.copyto(out[1], index)


@declines
@Traits(into=max_pool_into)
def max_pool(x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """See :func:`flagstone_numpy.kernels.pool.max_pool`; three spatial axes are left to it."""
    if x.ndim > 4 or loops("pool") is None:
        return NotImplemented
    return pooled(x, kernel, stride, padding)


def pooled(
    x: Array, kernel: Sizes, stride: Sizes, padding: Pairs, relu: bool = False,
    out: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Maxima, activated if asked for, and their taps' numbers, of one or two spatial axes."""
    window = Window(kernel, stride, padding, (1,) * len(kernel))
    geometry = Geometry.of(window)
    if out is None:
        y = np.empty((x.shape[0], *window.positions(x.shape[1:-1]), x.shape[-1]), x.dtype)
        out = y, np.empty(y.shape, np.uint8 if window.taps <= 255 else np.int32)
    seen, best, chosen = (as_planes(a) for a in (x, *out))
    kernel_, nothing = np.array(geometry.kernel, np.int64), x.dtype.type(-np.inf)
    each, run = _each(seen), loops("pool").max_pool

    def work(turns: Turns) -> None:
        run(turns, each, seen, kernel_, geometry.stride, geometry.low, nothing, relu, best, chosen)

    share_turns(work, -(-len(seen) // each))
    return out


def _max_pool_grad_into(
    out: Array, g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes,
    padding: Pairs,
) -> None:  # fmt: skip
    if g.ndim <= 4 and loops("pool") is not None:
        _give(g, index, kernel, stride, padding, out)
    else:
        how: dict[str, Any] = {"size": size, "kernel": kernel, "stride": stride}
        np.copyto(out, numpys.max_pool_grad(g, index, padding=padding, **how))


@declines
@Traits(into=_max_pool_grad_into)
def max_pool_grad(
    g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Any:
    """See :func:`flagstone_numpy.kernels.pool.max_pool_grad`."""
    if g.ndim > 4 or loops("pool") is None:
        return NotImplemented
    dx = np.empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    _give(g, index, kernel, stride, padding, dx)
    return dx


def _give(g: Array, index: Array, kernel: Sizes, stride: Sizes, padding: Pairs, dx: Array) -> None:
    window = Window(kernel, stride, padding, (1,) * len(kernel))
    geometry = Geometry.of(window)
    adds = any(k > s for k, s in zip(kernel, stride, strict=True))
    covers = not adds and reaches_all(window, dx.shape[1:-1], g.shape[1:-1])
    given, chosen, into = as_planes(g), as_planes(index), as_planes(dx)
    kernel_ = np.array(geometry.kernel, np.int64)
    each, run = _each(into), loops("pool").max_pool_grad

    def work(turns: Turns) -> None:
        run(turns, each, given, chosen, kernel_, geometry.stride, geometry.low, adds, covers, into)

    share_turns(work, -(-len(into) // each))


def _each(images: Array) -> int:
    """How many images a piece of work has."""
    return max(1, PIECE // max(1, images[:1].size))
