"""Where the time of an uncaptured step of linear regression on five points goes.

    OPENBLAS_NUM_THREADS=1 python asv_bench/small_step.py

The shortest time of each part by itself, beside that of the NumPy calls within it. A part that runs
between others takes longer than alone, for they share the processor's caches; so the whole step is
more than their sum.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.tape import no_grad


def shortest(run: Callable[[], object]) -> float:
    """Microseconds, of bursts short enough to fit between two other programs."""
    return min(timeit.repeat(run, number=5, repeat=3000)) / 5 * 1e6


def main() -> None:
    x = fs.tensor(np.arange(1, 6, dtype=np.float32)[:, None], device="cpu")
    y = fs.tensor(np.array([[3], [1], [2], [5], [4]], np.float32), device="cpu")
    layer = nn.Linear(1, 1)
    layer.initialize(0, device="cpu")
    optimizer = optim.SGD(layer, 0.01)
    table = x.backend.table

    def step() -> None:
        optimizer.zero_grad()
        losses.mse(layer(x), y).backward()
        optimizer.step()

    for _ in range(3):
        step()
    out = layer(x)
    loss = losses.mse(out, y)
    g, one = out.detach(), loss.detach()
    flat, w, b = optimizer.flat, layer.weight, layer.bias
    assert flat.gradients is not None
    assert b is not None
    p, of_p, lr = flat.values.array, flat.gradients.array, optimizer._lr.array
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    linear, error = table[ops.linear], table[ops.squared_error]
    weight_grad, total, descend = (
        table[op] for op in (ops.linear_weight_grad, ops.sum, ops.sgd_update)
    )
    rows: list[tuple[str, Callable[[], object], Callable[[], object] | None]] = [
        ("layer(x)", lambda: layer(x), lambda: linear(x.array, w.array, b.array)),
        ("losses.mse", lambda: losses.mse(out, y),
         lambda: error(out.array, y.array, factor=0.2)),
        ("its gradient", lambda: ops.scale_by(g, one, factor=0.4),
         lambda: table[ops.scale_by](g.array, one.array, factor=0.4)),
        ("the weight's gradient", lambda: ops.linear_weight_grad(g, x),
         lambda: weight_grad(g.array, x.array)),
        ("the bias's gradient", lambda: ops.sum(g, axis=0), lambda: total(g.array, axis=0)),
        ("optimizer.step", optimizer.step,
         lambda: descend(p, of_p, None, lr, lr, **plain)),
    ]  # fmt: skip
    print("| part | us | its kernel, us |\n|---|---|---|")
    print(f"| the step | {shortest(step):.1f} | |")
    with no_grad():
        backward = shortest(lambda: loss.backward(retain_graph=True))
    print(f"| loss.backward, onto gradients that are there | {backward:.1f} | |")
    for name, whole, kernel in rows:
        alone = "" if kernel is None else f"{shortest(kernel):.2f}"
        print(f"| {name} | {shortest(whole):.2f} | {alone} |")


if __name__ == "__main__":
    main()
