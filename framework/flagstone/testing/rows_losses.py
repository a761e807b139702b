"""Rows of the op table: losses that are summed over a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

SHAPES = ((5,), (2, 3), (), (1, 1), (0,), (40, 30))  # the last for NumPy's longer sums


def _pairs(draw: Draw) -> Iterator[Sample]:
    for shape, factor in zip(SHAPES, (1.0, 0.2, 1.0, 3.0, 0.5, 0.001), strict=True):
        target = np.asarray(draw.rng.uniform(0, 1, shape), draw.dtype)
        yield Sample(draw(*shape), target, factor=factor)


def _far_logits(draw: Draw) -> Iterator[Sample]:
    x = np.array([-1000.0, 1000.0, 0.0, 1000.0], draw.dtype)
    yield Sample(x, np.array([0.0, 1.0, 0.5, 0.0], draw.dtype), factor=0.5)


def _squared(x: Array, target: Array, *, factor: float) -> tuple[Array, Array]:
    return np.asarray(factor * np.sum((x - target) ** 2)), x - target


def _logistic(x: Array, target: Array, *, factor: float) -> tuple[Array, Array]:
    losses = target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x)
    return np.asarray(factor * np.sum(losses)), 0.5 * (1 + np.tanh(x / 2)) - target


def _factors(draw: Draw) -> Iterator[Sample]:
    for shape in SHAPES:
        yield Sample(draw(*shape), draw(), factor=0.3)


def _refusals(name: str) -> tuple[Refusal, ...]:
    return (
        Refusal(ShapeError, rf"{name}: target expected shape \(4,\); got \(4, 1\)", D4,
                D4.reshape(4, 1), factor=1.0),
        Refusal(DTypeError, f"{name}: target expected a floating-point dtype; got int64", D4, I4,
                factor=1.0),
        Refusal(DTypeError, f"{name}: expected one dtype", D4, F4, factor=1.0),
        Refusal(DTypeError, f"{name}: target expected a Tensor; got int", D4, 1, factor=1.0),
    )  # fmt: skip


ROWS = (
    OpRow("squared_error", ops.squared_error, _pairs, _squared, (0, 1),
          refusals=_refusals("squared_error")),
    OpRow("logistic_error", ops.logistic_error, _pairs, _logistic, (0, 1), _far_logits,
          _refusals("logistic_error")),
    OpRow(
        "scale_by", ops.scale_by, _factors,
        lambda x, by, *, factor: np.asarray(x * (by * factor)), (0, 1),
        refusals=(
            Refusal(ShapeError, r"scale_by: by expected shape \(\); got \(4,\)", D4, D4,
                    factor=1.0),
            Refusal(DTypeError, "scale_by: x expected a floating", I4, np.ones(()), factor=1.0),
            Refusal(DTypeError, "scale_by: expected one dtype", D4, np.ones((), np.float32),
                    factor=1.0),
            Refusal(DTypeError, "scale_by: by expected a Tensor; got float", D4, 2.0, factor=1.0),
        ),
    ),
)  # fmt: skip
