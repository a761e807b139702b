"""Rows of the op table: sums of products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

D23 = np.ones((2, 3))


def _weight_grad(draw: Draw) -> Iterator[Sample]:
    for lead, out, features in (
        ((2,), 4, 3), ((), 2, 3), ((2, 3), 4, 2), ((1,), 1, 1), ((0,), 2, 3), ((2,), 0, 3),
        ((2, 0), 3, 2), ((3, 1, 2), 2, 2),
    ):  # fmt: skip
        yield Sample(draw(*lead, out), draw(*lead, features))


def _outer_products(g: Array, x: Array) -> Array:
    """Row by row."""
    out = np.zeros((g.shape[-1], x.shape[-1]))
    for row in np.ndindex(g.shape[:-1]):
        out += np.outer(g[row], x[row])
    return out


ROWS = (
    OpRow(
        "linear_weight_grad", ops.linear_weight_grad, _weight_grad, _outer_products, (0, 1),
        refusals=(
            Refusal(ShapeError, r"linear_weight_grad: expected g \(..., out\) and x \(..., in\) "
                    r"that differ in the last axis only; got \(2, 3\) and \(4,\)", D23, D4),
            Refusal(ShapeError, "linear_weight_grad: expected g", D23, D23.T),
            Refusal(ShapeError, "linear_weight_grad: expected g", np.array(1.0), np.array(1.0)),
            Refusal(DTypeError, "linear_weight_grad: g expected a floating", I4, D4),
            Refusal(DTypeError, "linear_weight_grad: expected one dtype; got g float32", F4, D4),
            Refusal(DTypeError, "linear_weight_grad: x expected a Tensor; got float", D4, 1.0),
        ),
    ),
)  # fmt: skip
