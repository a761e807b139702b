"""Rows of the op table: a batch made of the data in one op."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

BYTES = np.zeros((5, 2, 3, 4), np.uint8)
R23 = np.zeros((2, 3), np.int64)


def _data(draw: Draw, *shape: int) -> Iterator[Array]:
    yield draw(*shape)
    yield draw.below(256, *shape, dtype="uint8")
    yield draw.below(1000, *shape, dtype="int64")


def _batches(draw: Draw) -> Iterator[Sample]:
    for shape, last in (((6, 5), 1), ((4, 3, 2, 3), 1), ((3, 2, 2, 1), 3), ((1, 1), 1), ((7,), 0)):
        statistics = shape[len(shape) - last :]
        for x in _data(draw, *shape):
            mean, inverse = draw(*statistics), draw.positive(*statistics)
            yield Sample(x, mean, inverse)
            for count in (9, 1, 0):
                yield Sample(x, mean, inverse, draw.below(shape[0], count))
            yield Sample(x, mean, inverse, draw.below(shape[0], 3, dtype="int32"))
    for x in _data(draw, 4, 5, 3, 2):
        mean, inverse = draw(2), draw.positive(2)
        for n, index in ((6, draw.below(4, 6)), (4, None), (0, draw.below(4, 0))):
            rows, columns = draw.rng.integers(-2, 7, (n, 4)), draw.rng.integers(-2, 5, (n, 6))
            yield Sample(x, mean, inverse, index, rows, columns)
            yield Sample(x, mean, inverse, index, rows)
            yield Sample(x, mean, inverse, index, None, columns)


def _batch(
    x: Array, mean: Array, inverse_scale: Array, index: Any = None, rows: Any = None,
    columns: Any = None,
) -> Array:  # fmt: skip
    x = (x if index is None else x[index]).astype(np.float64)
    if rows is not None or columns is not None:
        n, h, w, channels = x.shape
        tall = np.tile(np.arange(h), (n, 1)) if rows is None else rows
        wide = np.tile(np.arange(w), (n, 1)) if columns is None else columns
        moved = np.zeros((n, tall.shape[1], wide.shape[1], channels))
        for e, i, j in np.ndindex(moved.shape[:3]):
            if 0 <= tall[e, i] < h and 0 <= wide[e, j] < w:
                moved[e, i, j] = x[e, tall[e, i], wide[e, j]]
        x = moved
    return (x - mean) * inverse_scale


ROWS = (
    OpRow(
        "standardized", ops.standardized, _batches, _batch,
        refusals=(
            Refusal(DTypeError, "standardized: mean expected a floating-point dtype", D4, I4, I4),
            Refusal(DTypeError, "standardized: expected one dtype; got mean float64", D4, D4, F4),
            Refusal(DTypeError, "standardized: x expected float64 or integers; got float32", F4,
                    np.ones(()), np.ones(())),
            Refusal(ShapeError, r"expected the shape of an example's last axes; got x \(5, 2, 3",
                    BYTES, np.ones(3), np.ones(3)),
            Refusal(ShapeError, r"expected the shape of an example's last axes; .* mean \(4,\)", D4,
                    D4, D4),
            Refusal(ShapeError, r"x expected examples of some values; got shape \(2, 0\)",
                    np.ones((2, 0)), np.ones(0), np.ones(0)),
            Refusal(DTypeError, "standardized: index expected a 1-d integer tensor", BYTES, D4, D4,
                    D4),
            Refusal(ShapeError, r"x expected images \(examples, h, w, channels\); got \(2, 3\)",
                    R23, np.ones(3), np.ones(3), None, R23),
            Refusal(ShapeError, r"rows expected numbers for 5 examples, \(5, m\); got \(2, 3\)",
                    BYTES, D4, D4, None, R23),
            Refusal(DTypeError, "standardized: columns expected int64; got float64", BYTES, D4, D4,
                    None, None, np.ones((5, 2))),
        ),
    ),
)  # fmt: skip
