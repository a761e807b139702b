"""What decision 17 and the sizes of blocks and products rest on, measured.

    python asv_bench/blas_paths.py

prints how fast one thread of BLAS does 16 products of (tiles, c) by (c, k), by tiles; what a stack
of small products gains where sums are long; how long one Python thread and two take for NumPy's
convolution of 100 images, by the size of its blocks; how long workers of ours and threads of BLAS
take for a product; and what a thread of BLAS that has finished leaves of its core to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from flagstone_numpy import products as shared
from flagstone_numpy import threads
from flagstone_numpy.kernels import winograd
from flagstone_numpy.kernels.conv import conv
from flagstone_numpy.threads import blas

SAME = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def shortest(run: Callable[[], object], repeats: int = 40) -> float:
    """Seconds of the fastest of ``repeats`` runs, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def use(number: int) -> None:
    """Let kernels use so many threads."""
    threads._settings = number, number  # what FLAGSTONE_NUM_THREADS does when it is read


def small_products() -> None:
    """Print the speed of products as Winograd's kernel asks for them."""
    print("| c, k | tiles | multiply-adds | Gflop/s | with the second factor transposed |")
    print("|---|---|---|---|---|")
    for c, k in ((32, 64), (64, 128), (256, 256)):
        for tiles in (64, 120, 240, 480, 1600):
            rows = np.ones((16, tiles, c), np.float32)
            weights, turned = np.ones((16, c, k), np.float32), np.ones((16, k, c), np.float32)
            out = np.empty((16, tiles, k), np.float32)
            speeds = [
                32e-9 * tiles * c * k / shortest(partial(np.matmul, rows, f, out))
                for f in (weights, turned.swapaxes(1, 2))
            ]
            print(f"| {c}, {k} | {tiles} | {tiles * c * k} | {speeds[0]:.0f} | {speeds[1]:.0f} |")


def long_sums() -> None:
    """Print the time of a product with long sums, whole and as a stack of small ones."""
    g, x = np.ones((4, 19_600, 32), np.float32), np.ones((4, 10, 19_600), np.float32)
    print("\n| 4 times 10 x 19600 x 32 | one thread, ms | two, ms |")
    print("|---|---|---|")
    for count in (1, 20):
        stack = x.reshape(4, 10, count, -1).swapaxes(1, 2), g.reshape(4, count, -1, 32)
        out = np.empty((4, count, 10, 32), np.float32)

        def work(
            mine: Iterator[int], a: np.ndarray = stack[0], b: np.ndarray = stack[1],
            out: np.ndarray = out,
        ) -> None:  # fmt: skip
            for i in mine:
                np.matmul(a[i], b[i], out=out[i])

        found = []
        for number in (1, 2):
            use(number)
            found.append(shortest(partial(threads.share, work, range(4))) * 1e3)
        what = "whole" if count == 1 else f"{count} products each"
        print(f"| {what} | {found[0]:.2f} | {found[1]:.2f} |")


def blocks() -> None:
    """Print what a second Python thread gains, by how long NumPy's calls are."""
    print("\n| blocks of, MB | one thread, ms | two, ms |")
    print("|---|---|---|")
    x, w = np.ones((100, 14, 14, 32), np.float32), np.ones((64, 3, 3, 32), np.float32)
    usual = winograd.BLOCK_BYTES
    for size in (3 << 18, 3 << 19, 3 << 20, 3 << 21):
        winograd.BLOCK_BYTES = size
        found = []
        for number in (1, 2):
            use(number)
            found.append(shortest(partial(conv, x, w, **SAME)) * 1e3)
        print(f"| {size / 2**20} | {found[0]:.1f} | {found[1]:.1f} |")
    winograd.BLOCK_BYTES = usual


def long_products() -> None:
    """Print the times of a product on one thread, on two of ours and on two of BLAS."""
    print("\n| product | one thread, us | two of ours | two of BLAS |")
    print("|---|---|---|---|")
    for m, k, n in ((100, 256, 256), (100, 784, 256), (100, 2048, 625), (1568, 512, 512)):
        a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        out = np.empty((m, n), np.float32)
        found = []
        for number in (1, 2):
            use(number)
            found.append(shortest(partial(shared.into, out, a, b)))
        found.append(shortest(partial(np.matmul, a, b, out)))
        print(f"| {m} x {k} x {n} | {' | '.join(f'{1e6 * t:.0f}' for t in found)} |")


def spinning() -> None:
    """Print how long shared work takes alone, and right after a product on two threads of BLAS."""
    a = np.ones((400, 400), np.float32)
    data = np.ones((2, 1 << 20), np.float32)

    def work(mine: Iterator[int]) -> None:
        for i in mine:
            for _ in range(60):
                np.add(data[i], 1, out=data[i])

    def after_blas() -> float:
        np.matmul(a, a)
        start = time.perf_counter()
        threads.share(work, range(2))
        return time.perf_counter() - start

    use(2)
    time.sleep(0.2)  # BLAS's threads spin for some 30 ms after what was measured before
    alone = shortest(partial(threads.share, work, range(2)), 10)
    beside = float(np.median([after_blas() for _ in range(20)]))
    print(f"\ntwo halves of some work, each on a worker: {alone * 1e3:.1f} ms, "
          f"right after BLAS used two threads {beside * 1e3:.1f} ms")  # fmt: skip


if __name__ == "__main__":
    threads.configure()
    with blas:  # one thread
        small_products()
    long_sums()
    blocks()
    long_products()
    spinning()
