"""Rows of the op table: products, losses, normalisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.linalg import batched_matmul
from flagstone.ops.norm import batch_norm_grad
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

D23, D32 = np.ones((2, 3)), np.ones((3, 2))


def _batched(draw: Draw) -> Iterator[Sample]:
    for a, b in (
        ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 2)),
        ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 0, 3), (2, 3, 4)),
    ):  # fmt: skip
        yield Sample(draw(*a), draw(*b))


def _matmul(draw: Draw) -> Iterator[Sample]:
    yield from _batched(draw)
    for a, b in (((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)),
                 ((3,), (4, 3, 2))):  # fmt: skip
        yield Sample(draw(*a), draw(*b))


def _linear(draw: Draw) -> Iterator[Sample]:
    for x, w in (((2, 3), (4, 3)), ((3,), (2, 3)), ((2, 2, 3), (4, 3)), ((1, 1), (1, 1)),
                 ((0, 3), (2, 3)), ((2, 0), (3, 0))):  # fmt: skip
        yield Sample(draw(*x), draw(*w), draw(w[0]))
        yield Sample(draw(*x), draw(*w))


def _linear_reference(x: Array, w: Array, b: Array | None = None) -> Array:
    return np.einsum("...i,oi->...o", x, w) + (0.0 if b is None else b)


def _logits(draw: Draw) -> Iterator[Sample]:
    for n, classes, dtype in ((4, 3, "int64"), (1, 1, "int64"), (0, 3, "int32"), (3, 5, "uint8")):
        yield Sample(draw(n, classes), draw.below(classes, n, dtype=dtype))


def _hard_logits(draw: Draw) -> Iterator[Sample]:
    yield Sample(np.array([[1000.0, 0.0], [-1000.0, 1000.0]], draw.dtype), np.array([0, 0]))
    yield Sample(draw(3, 2), np.array([2, -1, 1]))  # the first two lie outside: NaN
    yield Sample(draw(2, 300), np.array([3, 250], np.uint8))
    yield Sample(draw(50, 700), draw.below(700, 50))  # more than a block of the NumPy kernels


def _cross_entropy(x: Array, labels: Array) -> tuple[Array, Array]:
    p = np.array([np.exp(row - np.logaddexp.reduce(row)) for row in x]).reshape(x.shape)
    losses = [
        np.logaddexp.reduce(row) - row[label] if 0 <= label < len(row) else np.nan
        for row, label in zip(x, labels.astype(int), strict=True)
    ]
    return np.array(losses, float), p


def _cross_entropy_grad(draw: Draw) -> Iterator[Sample]:
    for n, classes in ((4, 3), (1, 1), (0, 2)):
        p = draw.positive(n, classes)
        yield Sample(draw(n), p / p.sum(1, keepdims=True), draw.below(classes, n))


def _one_less(g: Array, p: Array, labels: Array) -> Array:
    out = p.copy()
    for row, label in enumerate(labels):
        out[row, label] -= 1.0
    return out * g[:, None]


def _logistic(draw: Draw) -> Iterator[Sample]:
    for shape in ((5,), (2, 3), (), (1,), (0,)):
        yield Sample(draw(*shape), np.asarray(draw.rng.uniform(0, 1, shape), draw.dtype))


def _hard_logistic(draw: Draw) -> Iterator[Sample]:
    x = np.array([-1000.0, 1000.0, 0.0, 1000.0], draw.dtype)
    yield Sample(x, np.array([0.0, 1.0, 0.5, 0.0], draw.dtype))


def _logistic_reference(x: Array, target: Array) -> Array:
    return np.asarray(target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x))


def _norms(draw: Draw) -> Iterator[Sample]:
    for shape in ((6, 3), (2, 3, 2, 4), (2, 2), (3, 1), (1, 2, 1)):
        c = shape[-1]
        yield Sample(draw(*shape), draw(c), draw(c), eps=0.1)


def _many_rows(draw: Draw) -> Iterator[Sample]:
    """More than a block of the NumPy kernels; rows in twos, and by themselves."""
    for shape in ((3001, 6), (64, 16, 16, 4)):
        yield Sample(draw(*shape), draw(shape[-1]), draw(shape[-1]), eps=0.1)


def _normalised(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    rows = x.reshape(-1, x.shape[-1])
    var = np.mean(rows**2, 0) - np.mean(rows, 0) ** 2
    return (x - rows.mean(0)) / (var + eps) ** 0.5 * weight + bias, rows.mean(0), var


def _norm_gradients(draw: Draw) -> Iterator[Sample]:
    for shape in ((5, 4), (2, 3, 4, 2), (4, 1), (7, 3), (3001, 6), (64, 16, 16, 4)):
        x, c = draw(*shape), shape[-1]
        flat = x.reshape(-1, c)
        yield Sample(draw(*shape), x, flat.mean(0), flat.var(0), draw(c), eps=0.1)
    one = draw(1, 1)
    yield Sample(draw(1, 1), one, one[0], 0 * one[0], draw(1), eps=0.1)


def _norm_gradient(
    g: Array, x: Array, mean: Array, var: Array, weight: Array, eps: float
) -> tuple[Array, ...]:
    """By the Jacobian of one channel's normalised values, a matrix."""
    rows, gradients = x.reshape(-1, x.shape[-1]), g.reshape(-1, x.shape[-1])
    n, scale = len(rows), 1 / np.sqrt(var + eps)
    normal = (rows - mean) * scale
    d_x = np.empty_like(rows)
    for c in range(x.shape[-1]):
        u = normal[:, c]
        pulled = gradients[:, c] - gradients[:, c].mean() - u * (u @ gradients[:, c]) / n
        d_x[:, c] = weight[c] * scale[c] * pulled
    return d_x.reshape(x.shape), (gradients * normal).sum(0), gradients.sum(0)


ROWS = (
    OpRow("batched_matmul", batched_matmul, _batched, np.matmul, (0, 1)),
    OpRow(
        "matmul", ops.matmul, _matmul, np.matmul, (0, 1),
        refusals=(
            Refusal(ShapeError, r"matmul: expected the last axis of a to equal the last but one "
                    r"of b; got \(2, 3\) and \(2, 3\)", D23, D23),
            Refusal(ShapeError, "matmul: expected the last axis", np.array(1.0), D4),
            Refusal(ShapeError, "matmul: expected leading axes that broadcast",
                    np.ones((2, 2, 3)), np.ones((3, 3, 2))),
            Refusal(DTypeError, "matmul: expected one dtype", D4, F4),
            Refusal(DTypeError, "matmul: a expected a floating", I4, I4),
            Refusal(DTypeError, "matmul: b expected a Tensor; got float", D23, 2.0),
        ),
    ),
    OpRow(
        "linear", ops.linear, _linear, _linear_reference, (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"linear: weight expects 2 features \(its last axis\); got x of "
                    r"shape \(2, 3\)", D23, np.ones((4, 2))),
            Refusal(ShapeError, r"linear: weight expected shape \(out, in\); got \(3,\)", D23,
                    np.ones(3)),
            Refusal(ShapeError, r"linear: bias expected shape \(2,\); got \(1,\)", D23, D23,
                    np.ones(1)),
            Refusal(ShapeError, "linear: weight expects", np.array(1.0), D23),
            Refusal(DTypeError, "linear: x expected a floating", I4, D4.reshape(1, 4)),
            Refusal(DTypeError, "linear: w expected a Tensor; got float", D23, 1.0),
            Refusal(DTypeError, "linear: expected one dtype", D4, F4.reshape(1, 4)),
        ),
    ),
    OpRow(
        "softmax_cross_entropy", ops.softmax_cross_entropy, _logits, _cross_entropy, (0,),
        _hard_logits,
        (
            Refusal(ShapeError, r"softmax_cross_entropy: x expected \(n, classes\); got \(4,\)",
                    D4, I4),
            Refusal(ShapeError, r"labels expected shape \(2,\); got \(4,\)", D23, I4),
            Refusal(DTypeError, "labels expected integers; got float64", D23, D4[:2]),
            Refusal(DTypeError, "x expected a floating", I4.reshape(2, 2), I4[:2]),
            Refusal(DTypeError, "labels expected a Tensor; got ndarray", D23, Raw(I4[:2])),
        ),
    ),
    OpRow("softmax_cross_entropy_grad", ops.softmax_cross_entropy_grad, _cross_entropy_grad,
          _one_less, (0, 1)),
    OpRow(
        "binary_cross_entropy_with_logits", ops.binary_cross_entropy_with_logits, _logistic,
        _logistic_reference, (0, 1), _hard_logistic,
        (
            Refusal(ShapeError, r"target expected shape \(4,\); got \(4, 1\)", D4,
                    D4.reshape(4, 1)),
            Refusal(DTypeError, "target expected a floating-point dtype; got int64", D4, I4),
            Refusal(DTypeError, "expected one dtype", D4, F4),
            Refusal(DTypeError, "target expected a Tensor; got int", D4, 1),
        ),
    ),
    OpRow(
        "batch_norm", ops.batch_norm, _norms, _normalised, (0, 1, 2), _many_rows,
        refusals=(
            Refusal(ShapeError, r"batch_norm: expected x \(..., 4\) .* got x \(2, 3\)", D23, D4,
                    D4, eps=0.1),
            Refusal(ShapeError, "batch_norm: expected x", D4, D4, D4, eps=0.1),
            *(
                Refusal(ShapeError, "batch_norm: expected channels of more than one value",
                        np.ones((*shape, 4)), D4, D4, eps=0.1)
                for shape in ((0,), (1,), (1, 1))
            ),
            *(
                Refusal(InputError, "batch_norm: eps expected a number > 0; got", np.ones((2, 4)),
                        D4, D4, eps=eps)
                for eps in (0, -1.0, None, "1", float("nan"), True)
            ),
            Refusal(DTypeError, "batch_norm: expected one dtype", np.ones((2, 4)), F4, F4,
                    eps=0.1),
        ),
        never_empty="the mean of nothing is refused",
    ),
    OpRow(
        "batch_norm_grad", batch_norm_grad, _norm_gradients, _norm_gradient,
        refusals=(
            Refusal(ShapeError, r"batch_norm_grad: expected g and x of one shape \(..., c\); got "
                    r"\(4,\) and \(2, 4\)", D4, np.ones((2, 4)), D4, D4, D4, eps=0.1),
            Refusal(ShapeError, r"batch_norm_grad: var expected shape \(4,\); got \(3,\)",
                    np.ones((2, 4)), np.ones((2, 4)), D4, D4[:3], D4, eps=0.1),
            Refusal(DTypeError, "batch_norm_grad: expected one dtype", np.ones((2, 4)),
                    np.ones((2, 4)), F4, F4, F4, eps=0.1),
        ),
        never_empty="the mean of nothing is refused",
        tolerance={"float32": 2e-4, "float64": 1e-10},
    ),
)  # fmt: skip
