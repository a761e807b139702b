"""What decision 17 and the blocks of Winograd's products rest on: BLAS and Python's lock, measured.

    python asv_bench/blas_paths.py

prints how fast one thread of BLAS does 16 products of (tiles, c) by (c, k), by tiles, and how long
one Python thread, and each of two at once, takes for the NumPy kernel's convolution of 50 images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np

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


def products() -> None:
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


def python_threads() -> None:
    """Print what a second Python thread does to convolutions of NumPy calls."""
    inputs = [np.ones((50, 14, 14, 32), np.float32) for _ in range(2)]
    weights = np.ones((64, 3, 3, 32), np.float32)

    def work(x: np.ndarray) -> None:
        for _ in range(10):
            conv(x, weights, **SAME)

    def both() -> None:
        workers = [threading.Thread(target=work, args=(x,)) for x in inputs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    alone, together = (shortest(run, 5) * 100 for run in (lambda: work(inputs[0]), both))
    print(f"\na convolution of 50 images: {alone:.1f} ms on one Python thread, ", end="")
    print(f"{together:.1f} ms on each of two at once")


if __name__ == "__main__":
    with blas:  # one thread
        products()
        python_threads()
