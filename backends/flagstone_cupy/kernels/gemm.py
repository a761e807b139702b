"""Matrix products on the convolution's kernels: no library is called, so a step can be captured.

| product | as | kernels |
|---|---|---|
| A @ B.T | a convolution of one tap | conv_forward, tensor_forward |
| A @ B | an input gradient of one tap | conv_input_grad, tensor_input_grad |
| A.T @ B | a weight gradient of one tap | conv_weight_grad, tensor_weight_grad |

Which of them serves depends on how the operands lie in memory: a transposed view is read as it is.
"""

from __future__ import annotations

import math

from flagstone_cupy.kernels.products import check_precision, gather, weight_product
from flagstone_cupy.kernels.window import POINTS, Layout
from flagstone_cupy.launch import Array, contiguous, copy, empty

Sizes = tuple[int, int, int, int]  # batch, m, n and k of (batch, m, k) @ (batch, k, n)


def linear(
    x: Array, w: Array, b: Array | None = None, *, precision: str = "exact",
    activation: str | None = None,
) -> Array:  # fmt: skip
    """See :func:`flagstone.ops.linalg.linear`.

    Arguments:
        precision: ``"exact"``, or ``"tf32"``: products of float32 may be rounded to 10 bits.
        activation: ``None`` or ``"relu"``, of the result.
    """
    check_precision("linear", precision)
    x, w, b = contiguous(x), contiguous(w), None if b is None else contiguous(b)
    n, k = w.shape
    y = empty((*x.shape[:-1], n), x.dtype)
    _rows_by_rows("linear", x, w, b, y, (1, math.prod(x.shape[:-1]), n, k), precision, activation)
    return y


def linear_weight_grad(g: Array, x: Array, *, precision: str = "exact") -> Array:
    """See :func:`flagstone.ops.linalg.linear_weight_grad`."""
    check_precision("linear_weight_grad", precision)
    g, x = contiguous(g), contiguous(x)
    rows, n, k = math.prod(x.shape[:-1]), g.shape[-1], x.shape[-1]
    dw = empty((n, k), g.dtype)
    _columns_by_columns("linear_weight_grad", g, x, dw, (1, n, k, rows), precision)
    return dw


def batched_matmul(a: Array, b: Array, *, precision: str = "exact") -> Array:
    """See :func:`flagstone.ops.linalg.batched_matmul`."""
    check_precision("matmul", precision)
    lead = _broadcast(a.shape[:-2], b.shape[:-2])
    batch, m, k, n = math.prod(lead), a.shape[-2], a.shape[-1], b.shape[-1]
    a_across, b_across = _is_transposed(a), not _is_transposed(b)
    if a_across and not b_across:  # A.T @ B.T: no kernel reads both so
        a, a_across = contiguous(a), False
    a = _matrices(a, a_across, lead)
    b = _matrices(b, not b_across, lead)
    y = empty((*lead, m, n), a.dtype)
    shared = b.ndim == 2  # one matrix for all
    if not a_across and shared and a.ndim > 2:
        batch, m = 1, batch * m  # one tall product
    if not a_across and b_across:
        _rows_by_columns("matmul", a, b, y, (batch, m, n, k), precision)
    elif not a_across:
        _rows_by_rows("matmul", a, b, None, y, (batch, m, n, k), precision, None)
    else:
        _columns_by_columns("matmul", a, b, y, (batch, m, n, k), precision)
    return y


def _rows_by_rows(
    name: str, a: Array, b: Array, bias: Array | None, y: Array, sizes: Sizes, precision: str,
    activation: str | None,
) -> None:  # fmt: skip
    """y[m, n] = sum over k of a[m, k] * b[n, k]."""
    batch, m, n, k = sizes
    x, w = (k, _step(a, m * k)), (k, k, _step(b, n * k))
    layout = Layout(name, POINTS, m, k, n, batch, x, w, (n, m * n))
    gather(layout, a, b, bias, y, across=False, precision=precision, activation=activation)


def _rows_by_columns(name: str, a: Array, b: Array, y: Array, sizes: Sizes, precision: str) -> None:
    """y[m, n] = sum over k of a[m, k] * b[k, n]."""
    batch, m, n, k = sizes
    x, w = (k, _step(a, m * k)), (n, n, _step(b, k * n))
    layout = Layout(name, POINTS, m, k, n, batch, x, w, (n, m * n))
    gather(layout, a, b, None, y, across=True, precision=precision)


def _columns_by_columns(
    name: str, a: Array, b: Array, y: Array, sizes: Sizes, precision: str
) -> None:
    """y[m, n] = sum over k of a[k, m] * b[k, n]."""
    batch, m, n, k = sizes
    x, w = (n, _step(b, k * n)), (n, n, m * n)
    layout = Layout(name, POINTS, k, n, m, batch, x, w, (m, _step(a, k * m)))
    weight_product(layout, a, b, y, None, precision=precision)


def _step(a: Array, size: int) -> int:
    """From one matrix of a batch to the next: 0 if there is but one."""
    return size if a.size > size else 0


def _is_transposed(a: Array) -> bool:
    """Whether its columns, and not its rows, lie in one piece."""
    *_, rows, columns = a.strides
    return bool(rows == a.itemsize and columns > rows and not a.flags.c_contiguous)


def _matrices(a: Array, transposed: bool, lead: tuple[int, ...]) -> Array:
    """``a`` as the kernels read it, transposed or not: one matrix, or one for each of ``lead``."""
    if transposed:
        a = a.swapaxes(-1, -2)
    if math.prod(a.shape[:-2]) == 1:
        return contiguous(a).reshape(a.shape[-2:])
    if a.shape[:-2] == lead:
        return contiguous(a)
    whole = empty((*lead, *a.shape[-2:]), a.dtype)
    copy(whole, a)
    return whole


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The leading axes of a product."""
    longest = max(len(a), len(b))
    left, right = (1,) * (longest - len(a)) + a, (1,) * (longest - len(b)) + b
    return tuple(m if n == 1 else n for m, n in zip(left, right, strict=True))
