"""Picking values by numbers that lie in a tensor, and adding values up where numbers say."""

from __future__ import annotations

from typing import Any

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.checks import floating, indices, is_integer, one_axis, out_of_range, tensors
from flagstone.ops.door import op
from flagstone.tensors import Tensor


@op
def take_along(xp: Any, x: Any, index: Any, *, axis: int) -> Any:
    """The op behind :func:`gather`."""
    return xp.take_along_axis(x, xp.astype(index, xp.int64, copy=False), axis=axis)


@take_along.pullback
def _(dy: Tensor, x_shape: Any, index: Tensor, axis: int) -> Any:
    return (scatter_add(dy, index, axis=axis, size=x_shape[axis]), None)


def gather(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """The values of ``x`` at the places along ``axis`` that ``index`` says.

    For axis 1 of three: ``y[i, j, k] = x[i, index[i, j, k], k]``, as ``torch.gather`` and
    ``numpy.take_along_axis``.

    Args:
        x: a tensor.
        index: integers in [0, x.shape[axis]); shaped like ``x`` but for the length of ``axis``.
            They are looked at where that does not wait for a device; see :func:`take`.
        axis: along which axis.

    Returns:
        Shape ``index.shape``.

    Raises:
        DTypeError: ``index`` is not of integers.
        ShapeError: ``index`` has other axes than ``x``, or other lengths of them.
        InputError: ``axis`` does not exist, or a number that was looked at is out of range.
    """
    tensors("gather", x=x, index=index)
    a = one_axis("gather", axis, x.ndim)
    _fits("gather", "x", x, index, a)
    indices("gather", index, x.shape[a])
    try:
        out: Tensor = take_along(x, index, axis=a)
    except IndexError:
        raise out_of_range("gather", index, x.shape[a]) from None
    return out


@op
def scatter_add(xp: Any, g: Any, index: Any, *, axis: int, size: int) -> Any:
    """Zeros with the values of ``g`` added at the places along ``axis`` that ``index`` says.

    The transpose of :func:`gather`: for axis 1 of three, ``y[i, index[i, j, k], k] += g[i, j, k]``.
    PyTorch's ``x.scatter_add(axis, index, g)`` is ``x + scatter_add(g, index, axis=axis,
    size=x.shape[axis])``. Here places are compared with all numbers of ``range(size)``.

    Args:
        g: a floating tensor.
        index: integers in [0, size), of the shape of ``g``; what has another number is left out,
            on every device (PyTorch refuses it).
        axis: along which axis.
        size: how long that axis is in the result.

    Raises:
        DTypeError: ``g`` is not floating, or ``index`` not of integers.
        ShapeError: ``index`` has another shape than ``g``.
        InputError: ``axis`` does not exist, or ``size`` is no integer >= 0.
    """
    a = axis % g.ndim
    last = (*range(a), *range(a + 1, g.ndim), a)
    values = xp.permute_dims(g, last)[..., None, :]  # (..., 1, m)
    places = xp.permute_dims(xp.astype(index, xp.int64, copy=False), last)[..., :, None]
    chosen = xp.astype(places == xp.arange(size, dtype=xp.int64), g.dtype)  # (..., m, size)
    out = xp.matmul(values, chosen)[..., 0, :]
    return xp.permute_dims(out, (*range(a), g.ndim - 1, *range(a, g.ndim - 1)))


@scatter_add.check
def _(g: Any, index: Any, *, axis: int, size: int) -> None:
    floating("scatter_add", g=g)
    a = one_axis("scatter_add", axis, g.ndim)
    _fits("scatter_add", "g", g, index, a)
    if index.shape != g.shape:
        raise ShapeError(
            f"scatter_add: index expected shape {g.shape}, as g has; got {index.shape}"
        )
    if not is_integer(size) or size < 0:
        raise InputError(f"scatter_add: size expected an integer >= 0; got {size!r}")


@scatter_add.pullback
def _(dy: Tensor, index: Tensor, axis: int) -> Any:
    return (take_along(dy, index, axis=axis % dy.ndim), None)


def _fits(op: str, name: str, x: Any, index: Any, axis: int) -> None:
    if "int" not in index.dtype_name:
        raise DTypeError(f"{op}: index expected an integer tensor; got {index.dtype_name}")
    given, shape = index.shape, x.shape
    same = len(given) == len(shape) and all(given[a] == n for a, n in enumerate(shape) if a != axis)
    if not same:
        raise ShapeError(
            f"{op}: index expected the shape of {name}, {shape}, but for axis {axis}; got {given}"
        )
