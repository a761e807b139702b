"""Rows of the op table: the copy in 16 bits, and the scale of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

SIZES = (7, 1, 0, 3000)
F0, D0 = np.ones((), np.float32), np.ones(())


def _lower(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        yield Sample(draw(size), draw(size))


def _gradients(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        g = draw(size)
        yield Sample(g, draw.positive(), draw.positive())
        if size:
            for bad in (np.inf, -np.inf, np.nan):
                broken = g.copy()
                broken[size * 2 // 3] = bad
                yield Sample(broken, draw.positive(), draw.positive())


def _factor(g: Array, scale: Array, loss_scale: Array) -> Any:
    return scale / loss_scale if np.isfinite(g).all() else np.full((), np.nan)


def _scales(draw: Draw) -> Iterator[Sample]:
    largest = float(np.finfo(draw.dtype).max)
    for scale, steps, factor in (
        (1024.0, 0, 1.0), (1024.0, 2, 0.5), (1024.0, 1, np.nan), (largest, 2, 1.0), (1, 2, np.nan),
    ):  # fmt: skip
        values = (np.asarray(a, draw.dtype) for a in (scale, steps, factor))
        yield Sample(*values, growth=4.0, backoff=0.25, interval=3)


def _adapted(
    loss_scale: Array, steps: Array, factor: Array, *, growth: float, backoff: float, interval: int
) -> Any:
    """The branches of ``_amp_update_scale_`` in PyTorch."""
    if np.isnan(factor):
        return loss_scale * backoff, np.zeros(())
    if steps + 1 < interval:
        return loss_scale, steps + 1
    grown = loss_scale * growth
    limit = np.finfo("float32" if loss_scale < 1e39 else "float64").max
    return grown if grown <= limit else loss_scale, np.zeros(())


def _undo(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for factor in (1.0, np.nan):
            yield Sample(draw(size), draw(size), np.asarray(factor, draw.dtype))


ROWS = (
    OpRow(
        "lower", ops.lower, _lower,
        lambda out, x: x,
        refusals=(Refusal(DTypeError, "lower: out expected a floating", I4, F4),),
    ),
    OpRow(
        "gradient_factor", ops.gradient_factor, _gradients, _factor,
        refusals=(
            Refusal(DTypeError, "gradient_factor: expected one dtype", D4, F0, D0),
            Refusal(DTypeError, "gradient_factor: g expected a floating", I4, F0, F0),
        ),
    ),
    OpRow(
        "adapt_loss_scale", ops.adapt_loss_scale, _scales, _adapted,
        refusals=(
            Refusal(ShapeError, "adapt_loss_scale: expected one shape", F0, F4, F0,
                    growth=2.0, backoff=0.5, interval=2),
        ),
        never_empty="a scale is one number",
    ),
    OpRow(
        "undo", ops.undo, _undo,
        lambda out, before, factor: before if np.isnan(factor) else out,
        refusals=(Refusal(ShapeError, "undo: expected one shape", D4, np.ones(3), D0),),
    ),
)  # fmt: skip
