"""The outer product."""

from __future__ import annotations

from flagstone.errors import ShapeError
from flagstone.ops.checks import numeric, same_dtype, tensors
from flagstone.ops.shape import reshape
from flagstone.tensors import Tensor


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Every product of a number of ``a`` and one of ``b``: (n,), (m,) -> (n, m).

    Raises:
        ShapeError: an argument is not 1-d.
        DTypeError: the dtypes differ, or are bool.
    """
    tensors("outer", a=a, b=b)
    numeric("outer", a=a, b=b)
    same_dtype("outer", a=a, b=b)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer: expected two 1-d tensors; got shapes {a.shape} and {b.shape}")
    return reshape(a, (a.size, 1)) * b
