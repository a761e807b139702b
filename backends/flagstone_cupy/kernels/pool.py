"""Maximum and average pooling, and their transposes."""

from __future__ import annotations

import functools
import math
from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import Kernel, family, struct
from flagstone_cupy.launch import MOST_BLOCKS, THREADS, Array, contiguous, empty, launch

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

FLOATS = ("float", "double", "__half", "__nv_bfloat16")
PLACES = ("unsigned char", "int")
MAX_POOL = family("pool.cu", "max_pool", T=FLOATS, I=PLACES)
MAX_POOL_GRAD = family("pool.cu", "max_pool_grad", T=FLOATS, I=PLACES)
MAX_POOL_PICK = family("pool.cu", "max_pool_pick", T=FLOATS, I=PLACES)
AVG_POOL = family("pool.cu", "avg_pool", T=FLOATS)
AVG_POOL_GRAD = family("pool.cu", "avg_pool_grad", T=FLOATS)


@declines
def max_pool(
    x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, activation: str | None = None
) -> Any:
    """See :func:`flagstone.ops.pool.max_pool`; ``activation`` is ``None`` or ``"relu"``."""
    out = _out(x.shape[1:-1], kernel, stride, padding)
    if not _served(x, x.shape[1:-1], out):
        return NotImplemented
    shape = (x.shape[0], *out, x.shape[-1])
    y = empty(shape, x.dtype)
    index = empty(shape, "uint8" if math.prod(kernel) <= 255 else "int32")
    window = _window(x.shape, out, kernel, stride, padding)
    arguments = (contiguous(x), y, index, window, activation == "relu")
    _launch(MAX_POOL[x.dtype, index.dtype], y, arguments)
    return y, index


@declines
def max_pool_grad(
    g: Array, index: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs
) -> Array:
    """See :func:`flagstone.ops.pool.max_pool_grad`."""
    if not _served(g, size, g.shape[1:-1]):
        return NotImplemented
    dx = empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    window = _window(dx.shape, g.shape[1:-1], kernel, stride, padding)
    member = MAX_POOL_GRAD[g.dtype, index.dtype]
    _launch(member, dx, (contiguous(g), contiguous(index), dx, window))
    return dx


@declines
def max_pool_pick(x: Array, index: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs) -> Array:
    """See :func:`flagstone.ops.pool.max_pool_pick`."""
    if not _served(x, x.shape[1:-1], index.shape[1:-1]):
        return NotImplemented
    y = empty(index.shape, x.dtype)
    window = _window(x.shape, index.shape[1:-1], kernel, stride, padding)
    member = MAX_POOL_PICK[x.dtype, index.dtype]
    _launch(member, y, (contiguous(x), contiguous(index), y, window))
    return y


@declines
def avg_pool(
    x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Array:
    """See :func:`flagstone.ops.pool.avg_pool`."""
    out = _out(x.shape[1:-1], kernel, stride, padding)
    if not _served(x, x.shape[1:-1], out):
        return NotImplemented
    y = empty((x.shape[0], *out, x.shape[-1]), x.dtype)
    window = _window(x.shape, out, kernel, stride, padding)
    _launch(AVG_POOL[x.dtype], y, (contiguous(x), y, window, count_include_pad))
    return y


@declines
def avg_pool_grad(
    g: Array, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, count_include_pad: bool
) -> Array:
    """See :func:`flagstone.ops.pool.avg_pool_grad`."""
    if not _served(g, size, g.shape[1:-1]):
        return NotImplemented
    dx = empty((g.shape[0], *size, g.shape[-1]), g.dtype)
    window = _window(dx.shape, g.shape[1:-1], kernel, stride, padding)
    _launch(AVG_POOL_GRAD[g.dtype], dx, (contiguous(g), dx, window, count_include_pad))
    return dx


def _served(a: Array, size: Sizes, out: Sizes) -> bool:
    """Up to three spatial axes, and images whose values a 32-bit number counts."""
    largest = max(math.prod(size), math.prod(out)) * a.shape[-1]
    return a.dtype in AVG_POOL and len(size) <= 3 and largest < 2**31


def _launch(kernel: Kernel, per_value: Array, arguments: tuple[Any, ...]) -> None:
    """A thread for each value of an image of ``per_value``, a row of blocks an image."""
    images = per_value.shape[0]
    blocks = -(-math.prod(per_value.shape[1:]) // THREADS)
    grid = (blocks, min(images, MOST_BLOCKS[1]), 1)
    launch(kernel, grid, (THREADS, 1, 1), 0, arguments)


@functools.lru_cache(maxsize=256)
def _window(shape: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs) -> Any:
    """The struct; axes that are not there come first."""
    ones = (1,) * (3 - len(out))
    low = (0,) * len(ones) + tuple(lo for lo, _ in padding)
    sizes = (ones + tuple(axes) for axes in (shape[1:-1], out, kernel, stride))
    return struct("pool.cu", "Window", *sizes, low, shape[-1], shape[0])


def _out(size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs) -> Sizes:
    axes = zip(size, kernel, stride, padding, strict=True)
    return tuple((n + lo + hi - k) // s + 1 for n, k, s, (lo, hi) in axes)
