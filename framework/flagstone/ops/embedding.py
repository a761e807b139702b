"""Rows of a table for numbers of any shape."""

from __future__ import annotations

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.checks import is_integer, tensors
from flagstone.ops.comparison import equal
from flagstone.ops.elementwise import where
from flagstone.ops.shape import reshape, taken
from flagstone.tensors import Tensor


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row ``index[...]`` of ``weight`` for every number.

    Args:
        index: (...), integers in [0, n). They are looked at where that does not wait for a device;
            see :func:`take`.
        weight: (n, d).
        padding_idx: a row that no gradient reaches; negative ones count from the end.

    Returns:
        (..., d).

    Raises:
        DTypeError: ``index`` is not of integers.
        ShapeError: ``weight`` has not two axes.
        InputError: there is no row ``padding_idx``, or a number that was looked at is out of range.
    """
    tensors("embedding", index=index, weight=weight)
    if "int" not in index.dtype_name:
        raise DTypeError(f"embedding: index expected integers; got {index.dtype_name}")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight expected shape (n, d); got {weight.shape}")
    n, d = weight.shape
    if padding_idx is not None:
        if not is_integer(padding_idx):
            raise InputError(f"embedding: padding_idx expected an integer; got {padding_idx!r}")
        if not -n <= padding_idx < n:
            raise InputError(
                f"embedding: padding_idx expected a row from {-n} to {n - 1}; got {padding_idx}"
            )
    flat = reshape(index, (index.size,))
    rows = taken("embedding", weight, flat, 0)  # (m, d)
    if padding_idx is not None:
        is_padding = equal(reshape(flat, (index.size, 1)), int(padding_idx) % n)
        rows = where(is_padding, rows.detach(), rows)
    return reshape(rows, (*index.shape, d))
