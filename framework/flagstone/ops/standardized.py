"""A batch on its way from the data to a first layer that standardises, as one op."""

from __future__ import annotations

import math
from typing import Any

from flagstone.errors import DTypeError, ShapeError
from flagstone.ops.checks import floating, same_dtype
from flagstone.ops.door import op
from flagstone.ops.pixels import pick_pixels, require_numbers


@op(differentiable=False)
def standardized(
    xp: Any, x: Any, mean: Any, inverse_scale: Any, index: Any = None, rows: Any = None,
    columns: Any = None,
) -> Any:  # fmt: skip
    """``(x - mean) * inverse_scale`` of the examples that ``index`` picks, whose pixels are read by
    number; the same bits as the ops one after another.

    Args:
        x: (examples, ...) of the dtype of ``mean``, or of integers, which become floats.
        mean: floating, of the shape of the last axes of ``x``.
        inverse_scale: like ``mean``.
        index: integers (n,), or ``None`` for all examples as they lie; see :func:`take_rows`.
        rows: int64 (n, new h) of images (examples, h, w, channels); a number outside [0, h) reads
            0, as in :func:`pick_pixels`. ``None`` for the rows as they lie.
        columns: int64 (n, new w), likewise.

    Returns:
        (n, ...), of the dtype of ``mean``.

    Raises:
        ShapeError: the statistics have not the shape of an example's last axes, an example has no
            values, or rows and columns are given for what is no images.
        DTypeError: a dtype is not what it should be.
    """
    if index is not None:
        x = xp.take(x, xp.astype(index, xp.int64, copy=False), axis=0)
    x = xp.astype(x, mean.dtype, copy=False)
    if rows is not None or columns is not None:
        rows, columns = (
            xp.broadcast_to(xp.arange(length, dtype=xp.int64), (x.shape[0], length))
            if numbers is None else numbers
            for numbers, length in zip((rows, columns), x.shape[1:3], strict=True)
        )  # fmt: skip
        x = pick_pixels.generic(xp, x, rows, columns)
    return (x - mean) * inverse_scale


@standardized.check
def _(
    x: Any, mean: Any, inverse_scale: Any, index: Any = None, rows: Any = None, columns: Any = None
) -> None:
    floating("standardized", mean=mean)
    same_dtype("standardized", mean=mean, inverse_scale=inverse_scale)
    if not x.ndim or math.prod(x.shape[1:]) == 0:
        raise ShapeError(f"standardized: x expected examples of some values; got shape {x.shape}")
    if mean.shape != inverse_scale.shape or x.shape[max(x.ndim - mean.ndim, 1) :] != mean.shape:
        raise ShapeError(
            "standardized: mean and inverse_scale expected the shape of an example's last axes; "
            f"got x {x.shape}, mean {mean.shape}, inverse_scale {inverse_scale.shape}"
        )
    if x.dtype_name != mean.dtype_name and "int" not in x.dtype_name:
        raise DTypeError(
            f"standardized: x expected {mean.dtype_name} or integers; got {x.dtype_name}"
        )
    if index is not None and (index.ndim != 1 or "int" not in index.dtype_name):
        raise DTypeError(
            "standardized: index expected a 1-d integer tensor; got "
            f"{index.dtype_name} of shape {index.shape}"
        )
    moved = {k: v for k, v in (("rows", rows), ("columns", columns)) if v is not None}
    if moved and x.ndim != 4:
        raise ShapeError(
            f"standardized: x expected images (examples, h, w, channels); got {x.shape}"
        )
    require_numbers("standardized", x.shape[0] if index is None else index.shape[0], **moved)
