"""Where the time of an uncaptured step of linear regression on five points goes.

    OPENBLAS_NUM_THREADS=1 python asv_bench/small_step.py

What each part adds to a step that ends with it, beside what its kernels add to a row of kernels.
Parts run one after the other, as in a step: alone each takes less, for the code and the data of the
others then leave the caches to it.
"""

from __future__ import annotations

import itertools
import timeit
from collections.abc import Callable

import numpy as np

import flagstone as fs
from flagstone import losses, nn, ops, optim

CALLS, ROUNDS = 100, 300


def shortest(runs: list[Callable[[], object]]) -> list[float]:
    """Microseconds of each, in turns short enough to fit between two other programs."""
    best = [float("inf")] * len(runs)
    for _ in range(ROUNDS):
        for i, run in enumerate(runs):
            best[i] = min(best[i], timeit.timeit(run, number=CALLS) / CALLS * 1e6)
    return best


def main() -> None:
    x = fs.tensor(np.arange(1, 6, dtype=np.float32)[:, None], device="cpu")
    y = fs.tensor(np.array([[3], [1], [2], [5], [4]], np.float32), device="cpu")
    layer = nn.Linear(1, 1)
    layer.initialize(0, device="cpu")
    optimizer = optim.SGD(layer, 0.01)
    table = x.backend.table

    def forward() -> object:
        optimizer.zero_grad()
        return layer(x)

    def loss() -> object:
        optimizer.zero_grad()
        return losses.mse(layer(x), y)

    def backward() -> None:
        optimizer.zero_grad()
        losses.mse(layer(x), y).backward()

    def step() -> None:
        optimizer.zero_grad()
        losses.mse(layer(x), y).backward()
        optimizer.step()

    for _ in range(10):
        step()
    flat, w, b = optimizer.flat, layer.weight, layer.bias
    assert flat.gradients is not None
    assert b is not None
    assert w.gradient is not None
    assert b.gradient is not None
    inputs, target, one = x.array, y.array, optimizer._one.array
    p, g, lr = flat.values.array, flat.gradients.array, optimizer._lr.array
    to_w, to_b = w.gradient.array, b.gradient.array
    linear, error, scale, weight_grad, total, assign, descend = (
        table[op]
        for op in (
            ops.linear, ops.squared_error, ops.scale_by, ops.linear_weight_grad, ops.sum,
            ops.assign, ops.sgd_update,
        )
    )  # fmt: skip

    def kernels_of_loss() -> object:
        return error(linear(inputs, w.array, b.array), target, factor=0.2)

    def kernels_of_backward() -> None:
        _, difference = error(linear(inputs, w.array, b.array), target, factor=0.2)
        gradient = scale(difference, one, factor=0.4)
        assign(to_w, weight_grad(gradient, inputs))
        assign(to_b, total(gradient, axis=0))

    def kernels_of_step() -> None:
        kernels_of_backward()
        descend(p, g, None, lr, one, momentum=0.0, nesterov=False, weight_decay=0.0)

    wholes = shortest([optimizer.zero_grad, forward, loss, backward, step])
    kernels = shortest([
        lambda: None, lambda: linear(inputs, w.array, b.array), kernels_of_loss,
        kernels_of_backward, kernels_of_step,
    ])  # fmt: skip
    parts = ("optimizer.zero_grad", "layer(x)", "losses.mse", "backward", "optimizer.step")
    print("| part | us | its kernels, us |\n|---|---|---|")
    for name, whole, kernel in zip(parts, _steps(wholes), _steps(kernels), strict=True):
        print(f"| {name} | {whole:.1f} | {kernel:.1f} |")
    print(f"| all | {wholes[-1]:.1f} | {kernels[-1]:.1f} |")


def _steps(sums: list[float]) -> list[float]:
    """The differences of each from the one before."""
    return [sums[0], *(b - a for a, b in itertools.pairwise(sums))]


if __name__ == "__main__":
    main()
