"""Times of our matrix products beside cuBLAS's, called through PyTorch, on one card.

The three products of a linear layer (forward ``x @ w.T``, input gradient ``g @ w``, weight gradient
``g.T @ x``) at the sizes of the course's networks and at three square ones that are limited by
arithmetic. Measured as ``conv.py`` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from card.conv import ALL, PRECISIONS
from card.timing import CALLS, Pair, Rows, allow_tf32, shared, warm_up

# name, rows, inputs, outputs
SIZES = [
    (f"{name} at {rows}", rows, inputs, outputs)
    for rows in (100, 1024)
    for name, inputs, outputs in (
        ("softmax 784-10", 784, 10),
        ("mlp 784-256", 784, 256),
        ("mlp 256-256", 256, 256),
        ("deep 512-512", 512, 512),
        ("cnn 2048-625", 2048, 625),
    )
] + [(f"square {n}", n, n, n) for n in (1024, 2048, 4096)]


def run(output: Path, names: Sequence[str] = (), repeats: int = 15) -> dict[str, float]:
    """Measure the sizes whose names begin as one of ``names``, or all; rows go to ``output``.

    Returns:
        Precision -> geometric mean of the ratios.
    """
    table = Rows(output)
    warm_up()
    table.print_header("cuBLAS")
    for name, rows, inputs, outputs in SIZES:
        if names and not name.startswith(tuple(names)):
            continue
        for precision in PRECISIONS:
            for which in ALL:
                sides = pair(rows, inputs, outputs, precision, which)
                work = 2.0 * rows * inputs * outputs
                table.compare(name, (precision, which), sides, work, repeats)
    return table.means()


def pair(rows: int, inputs: int, outputs: int, precision: str, which: str) -> Pair:
    """Both sides' call of the product on the i-th set of arrays; they share their memory."""
    import torch

    from flagstone_cupy.kernels import gemm

    allow_tf32(precision == "tf32")
    dtype = getattr(torch, precision, torch.float32)
    sets = CALLS if rows < 2048 else 2

    def make(*shape: int) -> list[Any]:
        return [torch.randn(shape, device="cuda").to(dtype) for _ in range(sets)]

    x, w, g = make(rows, inputs), make(outputs, inputs), make(rows, outputs)
    cx, cw, cg = shared(x), shared(w), shared(g)
    how: Any = {"precision": "tf32" if precision == "tf32" else "exact"}

    def theirs(i: int) -> Any:
        i %= sets
        if which == "forward":
            return x[i] @ w[i].T
        return g[i] @ w[i] if which == "input_grad" else g[i].T @ x[i]

    def ours(i: int) -> Any:
        i %= sets
        if which == "forward":
            return gemm.linear(cx[i], cw[i], **how)
        if which == "input_grad":
            return gemm.batched_matmul(cg[i], cw[i], **how)
        return gemm.linear_weight_grad(cg[i], cx[i], **how)

    return theirs, ours
