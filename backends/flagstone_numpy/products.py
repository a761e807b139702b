"""Matrix products, shared among threads of our own; BLAS is held at one.

A thread of BLAS that has finished its part spins for tens of milliseconds on the core where a
worker is to run next. So no kernel here lets BLAS start its threads: a product that is large enough
for them runs under the hold, and one that is long is cut for :func:`flagstone_numpy.threads.share`,
along the longer axis of the result, or, where that is short, along the axis that is summed over.
Cuts depend on shapes alone, so results are the same bits for any number of threads.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from flagstone_numpy.threads import blas, share

Array = npt.NDArray[Any]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
ALONE = 1 << 18
"""Multiply-adds up to which OpenBLAS takes one thread whatever it is set to (its
``SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD``)."""
ALONE_VECTOR = 9216
"""The same for a matrix times a vector, and for the product of two vectors."""
PIECE = 1 << 25
"""Multiply-adds in a piece of a product at least, some 300 us: in each a factor is packed anew, and
a worker takes 10 to 60 us to wake."""
PIECE_VECTOR = 1 << 20
"""The same for a matrix times a vector, which reads each number of the matrix once."""
SMALL = 1_000_000
"""Multiply-adds up to which OpenBLAS takes its path for small matrices, which packs nothing. One
thread does 136 Gflop/s there with 32 and 64 channels, 80 in large products (``python
asv_bench/blas_paths.py``), and two threads do not disturb each other."""
FEWEST = 48
"""Rows of which a small product is faster than a part of a large one."""
MOST_ROWS = 1024
"""Of a small product, so that it stays in the first-level cache."""
MOST_PIECES = 16
LEAST_LENGTH = 128
"""Of a piece, along the axis that is cut: what is not cut is packed anew for each."""
GRAIN = 16
"""Pieces start at multiples of it, where BLAS's own tiles start."""


def is_small(a: Any, b: Any) -> bool:
    """Whether BLAS computes ``a @ b`` with one thread of its own accord."""
    work: int = a.size * b.shape[-1]
    if work < ALONE_VECTOR:
        return True
    return work <= ALONE and len(a.shape) > 1 < b.shape[-1] and a.shape[-2] > 1


def product(a: Array, b: Array) -> Array:
    """``a @ b``; ``dot`` gives the bits of ``matmul`` in half its time for two matrices without
    gaps and of more than one value."""
    y: Array
    if not is_small(a, b):
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        y = np.empty((*leading, *a.shape[-2:-1], b.shape[-1]), a.dtype)
        into(y, a, b)
    elif a.ndim == b.ndim == 2 and a.size > 1 < b.size and a.flags.forc and b.flags.forc:
        y = a.dot(b)
    else:
        y = np.matmul(a, b)
    return y


def into(out: Array, a: Array, b: Array) -> None:
    """Write ``a @ b`` to ``out``, long products in pieces."""
    if is_small(a, b):
        np.matmul(a, b, out)
        return
    if a.ndim == 1:
        a, out = a[None], out[..., None, :]
    if len(out) == len(a) == len(b) == 1 and out.ndim == a.ndim == b.ndim == 3:
        a, b, out = a[0], b[0], out[0]
    elif a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous and out.flags.c_contiguous:
        a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
    if not blas.works:  # its threads are all there are
        np.matmul(a, b, out)
    elif out.ndim > 2:
        _share_stacked(out, a, b)
    else:
        _share_one(out, a, b)


def _share_one(out: Array, a: Array, b: Array) -> None:
    (m, n), k = out.shape, a.shape[1]
    along, summed = cuts(m, n, k)
    if max(along, summed) < 2:
        with blas:
            np.matmul(a, b, out)
    elif summed:
        parts = np.empty((summed, m, n), out.dtype)

        def add(mine: Iterator[tuple[Array, slice]]) -> None:
            for part, at in mine:
                np.matmul(a[:, at], b[at], part)

        share(add, list(zip(parts, cut(k, summed), strict=True)))
        np.add.reduce(parts, axis=0, out=out)
    else:
        is_tall = m >= n

        def work(mine: Iterator[slice]) -> None:
            for at in mine:
                if is_tall:
                    np.matmul(a[at], b, out[at])
                else:
                    np.matmul(a, b[:, at], out[:, at])

        share(work, cut(max(m, n), along))


def cuts(m: int, n: int, k: int) -> tuple[int, int]:
    """Into how many pieces a product (m, k) @ (k, n) is cut: along the longer axis of the result,
    and, where that is short, along the axis that is summed over. Below 2 it is done whole."""
    count = pieces(m * n * k, min(m, n) == 1)
    along = min(count, max(m, n) // LEAST_LENGTH)
    return along, min(count, k // (2 * LEAST_LENGTH)) if along < 2 else 0


def _share_stacked(out: Array, a: Array, b: Array) -> None:
    """Whole products among threads, cut along the first axis."""
    length, work = len(out), out.size * a.shape[-1]
    lead = out.ndim - 2

    def part(x: Array, at: slice) -> Array:
        return x[at] if x.ndim == lead + 2 and len(x) == length else x

    def run(mine: Iterator[slice]) -> None:
        for at in mine:
            np.matmul(part(a, at), part(b, at), out[at])

    count = min(length, pieces(work, min(out.shape[-2:]) == 1))
    share(run, [slice(length * i // count, length * (i + 1) // count) for i in range(count)])


def pieces(work: int, is_vector: bool = False) -> int:
    """Into how many pieces a product of so many multiply-adds is cut, at most."""
    count = work // (PIECE_VECTOR if is_vector else PIECE)
    return max(1, min(MOST_PIECES, count + count % 2 if count > 1 else count))


def cut(length: int, count: int) -> list[slice]:
    """``range(length)`` in ``count`` nearly equal pieces that start at multiples of ``GRAIN``."""
    ends = [length * i // (count * GRAIN) * GRAIN for i in range(count)] + [length]
    return [slice(first, stop) for first, stop in itertools.pairwise(ends)]


def batches(count: int, length: int, others: int) -> int:
    """Into how many equal products to cut one along an axis of ``count * length``, ``count`` of
    which lie apart anyway, where the other two axes have ``others`` numbers together.

    The least number of them that are :data:`SMALL` each; 1 where that would take too short ones.
    They are done in one call, as a stack.
    """
    most = min(SMALL // others, MOST_ROWS)
    if most < FEWEST:
        return 1
    least = max(1, -(-count * length // most))
    return next((b for b in range(least, count + 1) if count % b == 0), count)


def alone(size: int) -> AbstractContextManager[object]:
    """What holds BLAS at one thread, where products with vectors read so many numbers."""
    return contextlib.nullcontext() if size < ALONE_VECTOR else blas


def held(kernel: Kernel) -> Kernel:
    """Decorator: a kernel of several products with vectors, large if its first argument is."""

    @functools.wraps(kernel)
    def run(x: Array, *arguments: Any, **static: Any) -> Any:
        with alone(x.size):
            return kernel(x, *arguments, **static)

    return run  # type: ignore[return-value]  # it has the kernel's signature
