"""CPU time of normalisation, forward and back, beside PyTorch's, on one thread.

    FLAGSTONE_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python asv_bench/norm_table.py

Shortest of 15 runs of each in turn, in ms of the thread's own time, which other jobs on the machine
do not add to: the generic form, NumPy's kernels, the compiled ones, PyTorch (NCHW).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from flagstone.ops import axis_norm
from flagstone.ops.axis_norm import axis_norm_grad
from flagstone.ops.norm import batch_norm, batch_norm_grad
from flagstone_numba.kernels import batch_norm as compiled_batch
from flagstone_numba.kernels import norm as compiled
from flagstone_numpy.kernels import axis_norm as numpys
from flagstone_numpy.kernels import norm as numpys_batch

# what, shape, axes of the statistics, shape of the parameters
CASES = (
    ("layer norm, 4096 x 512", (4096, 512), (1,), (512,)),
    ("layer norm, 8192 x 64", (8192, 64), (1,), (64,)),
    ("instance norm, 32 x 28\u00b2 x 64", (32, 28, 28, 64), (1, 2), (64,)),
    ("instance norm, 64 x 7\u00b2 x 128", (64, 7, 7, 128), (1, 2), (128,)),
    ("group norm, 32 x 28\u00b2 x 8 groups of 8", (32, 28, 28, 8, 8), (1, 2, 4), (8, 8)),
    ("batch norm, 100 x 28\u00b2 x 32", (100, 28, 28, 32), (0, 1, 2), (32,)),
    ("batch norm, 100 x 7\u00b2 x 128", (100, 7, 7, 128), (0, 1, 2), (128,)),
)
EXAMPLES = (
    (partial(axis_norm.generic, np), partial(axis_norm_grad.generic, np)),
    (numpys.axis_norm, numpys.axis_norm_grad),
    (compiled.axis_norm, compiled.axis_norm_grad),
)
BATCHES = (
    (partial(batch_norm.generic, np), partial(batch_norm_grad.generic, np)),
    (numpys_batch.batch_norm, numpys_batch.batch_norm_grad),
    (compiled_batch.batch_norm, compiled_batch.batch_norm_grad),
)


def main() -> None:
    torch.set_num_threads(1)
    print(
        "| what | generic, ms | NumPy | compiled | PyTorch | NumPy / PyTorch | compiled / PyTorch |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        row(*case)


def row(
    name: str, shape: tuple[int, ...], axis: tuple[int, ...], parameters: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, *shape), dtype=np.float32)
    w, b = rng.standard_normal((2, *parameters), dtype=np.float32)
    over_batch = 0 in axis
    how: dict[str, Any] = {"eps": 1e-5} if over_batch else {"axis": axis, "eps": 1e-5}
    sides = BATCHES if over_batch else EXAMPLES
    _, mean, var = sides[1][0](x, w, b, **how)

    def pair(forward: Callable, back: Callable) -> Callable:
        def run() -> None:
            forward(x, w, b, **how)
            back(g, x, mean, var, w, **how)

        return run

    times = shortest([*(pair(*side) for side in sides), theirs(name, x, g, w, b)])
    cells = [f"{t:.2f}" for t in (*times, times[1] / times[3], times[2] / times[3])]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def theirs(name: str, x: np.ndarray, g: np.ndarray, w: np.ndarray, b: np.ndarray) -> Callable:
    def channels_first(a: np.ndarray) -> torch.Tensor:
        flat = a.reshape(*a.shape[:3], -1) if a.ndim > 2 else a
        return torch.tensor(np.ascontiguousarray(np.moveaxis(flat, -1, 1)))

    leaves = [
        t.requires_grad_() for t in (channels_first(x), *map(torch.tensor, (w.ravel(), b.ravel())))
    ]
    given, f = channels_first(g), torch.nn.functional

    def run() -> object:
        if name.startswith("layer"):
            y = f.layer_norm(leaves[0], w.shape, leaves[1], leaves[2])
        elif name.startswith("instance"):
            y = f.instance_norm(leaves[0], None, None, leaves[1], leaves[2])
        elif name.startswith("batch"):
            y = f.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
        else:
            y = f.group_norm(leaves[0], w.shape[0], leaves[1], leaves[2])
        return torch.autograd.grad(y, leaves, given)

    return run


def shortest(runs: Sequence[Callable]) -> list[float]:
    """Milliseconds of each."""
    times = [float("inf")] * len(runs)
    for _ in range(15):
        for i, run in enumerate(runs):
            start = time.thread_time()
            run()
            times[i] = min(times[i], (time.thread_time() - start) * 1e3)
    return times


if __name__ == "__main__":
    main()
