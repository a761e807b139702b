"""Each pass of the CPU's convolutions beside PyTorch's, one thread of both, in processor time.

    python asv_bench/conv_passes.py [--repeats 25]

For the shapes of ``asv_bench/peers.py`` it prints the shortest time of the forward pass and of the
gradients of weights and input: with the extra ``fast``, the same with ``precision="fast"`` (4x4
outputs a tile), NumPy's kernels, PyTorch's faster layout, then how many Gflop/s of the plain
convolution ours and PyTorch's are, and ours over PyTorch's. Time is the calling thread's, so other
jobs on the machine count little.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from peers import CONVOLUTIONS, LAYOUTS

from flagstone_numba.kernels import conv as compiled
from flagstone_numpy import threads
from flagstone_numpy.kernels import conv as plain

Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=25)
    repeats = parser.parse_args().repeats
    os.environ["FLAGSTONE_NUM_THREADS"] = "1"
    threads.configure()
    torch.set_num_threads(1)
    heads = ("what", "fast, ms", "4x4 tiles, ms", "NumPy, ms", "PyTorch, ms", "Gflop/s")
    print(f"| {' | '.join(heads)} | PyTorch's | fast / PyTorch |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in CONVOLUTIONS:
        for name, ours, theirs in passes(*shape):
            times = shortest([*ours, *theirs], repeats)
            n, c, side, k, kernel = shape
            work = 2e-6 * n * side * side * k * c * kernel * kernel
            peer = min(times[3:])
            what = f"{n} x {c} x {side}², {k} of {kernel}² {name}"
            figures = [f"{t:.2f}" for t in (*times[:3], peer)]
            figures += [f"{work / times[0]:.0f}", f"{work / peer:.0f}", f"{times[0] / peer:.2f}"]
            print(f"| {what} | {' | '.join(figures)} |", flush=True)


def passes(
    n: int, c: int, side: int, k: int, kernel: int
) -> list[tuple[str, list[Run], list[Run]]]:
    """Name, our three ways and PyTorch's two layouts, of each pass; images have no gradient."""
    rng = np.random.default_rng(0)
    half = kernel // 2
    x = rng.standard_normal((n, side, side, c), dtype=np.float32)
    w = rng.standard_normal((k, kernel, kernel, c), dtype=np.float32)
    g = rng.standard_normal((n, side, side, k), dtype=np.float32)
    b = np.zeros(k, np.float32)
    how: dict[str, Any] = {
        "stride": (1, 1),
        "padding": ((half, half),) * 2,
        "dilation": (1, 1),
        "groups": 1,
    }
    ways: list[tuple[Any, str]] = [(compiled, "exact"), (compiled, "fast"), (plain, "exact")]
    square = (kernel, kernel)
    forward: list[Run] = [partial(m.conv, x, w, b, precision=p, **how) for m, p in ways]
    weights: list[Run] = [
        partial(m.conv_weight_grad, g, x, kernel=square, precision=p, **how) for m, p in ways
    ]
    inputs: list[Run] = [
        partial(m.conv_input_grad, g, w, size=(side, side), precision=p, **how) for m, p in ways
    ]
    sides = [_torch_passes(x, w, b, g, half, layout) for layout in LAYOUTS]
    found = [
        ("forward", forward, [side[0] for side in sides]),
        ("weights", weights, [side[1] for side in sides]),
    ]
    return [*found, ("input", inputs, [side[2] for side in sides])] if c >= 4 else found


def _torch_passes(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    g: np.ndarray,
    half: int,
    layout: torch.memory_format,
) -> tuple[Run, Run, Run]:
    px, pw, pg = (
        torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, w, g)
    )
    pb = torch.from_numpy(b)

    def backward(mask: list[bool]) -> object:
        where = ([len(w)], [1, 1], [half, half], [1, 1], False, [0, 0], 1)
        return torch.ops.aten.convolution_backward(pg, px, pw, *where, mask)

    def forward() -> object:
        with torch.inference_mode():
            return torch.nn.functional.conv2d(px, pw, pb, padding=half)

    return (
        forward,
        lambda: backward([False, True, False]),
        lambda: backward([True, False, False]),
    )


def shortest(runs: Sequence[Run], repeats: int) -> list[float]:
    """The least milliseconds of this thread's processor time that each took, in turn."""
    best = [float("inf")] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            start = time.thread_time()
            run()
            best[i] = min(best[i], (time.thread_time() - start) * 1e3)
    return best


if __name__ == "__main__":
    main()
