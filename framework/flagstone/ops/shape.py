"""Rearranging and picking values: nothing here computes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.checks import (
    axes,
    indices,
    is_integer,
    one_axis,
    out_of_range,
    same_dtype,
    tensors,
)
from flagstone.ops.door import op
from flagstone.tensors import Tensor


@op
def reshape_to(xp: Any, x: Any, *, shape: tuple[int, ...]) -> Any:
    """The op behind :func:`reshape`, for a complete shape."""
    return xp.reshape(x, shape)


@reshape_to.pullback
def _(dy: Tensor, x_shape: Any) -> Any:
    return reshape(dy, x_shape)


def reshape(x: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """The values of ``x`` in row-major order with another shape.

    Args:
        x: a tensor.
        shape: the new lengths, one of which may be -1 (what is left over).

    Raises:
        ShapeError: the number of values differs.
        InputError: a length is no integer.
    """
    tensors("reshape", x=x)
    given: Any = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    try:
        if True in given and any(n is True for n in given):  # equal to 1
            raise TypeError
        lengths = tuple([operator.index(n) for n in given])
    except (TypeError, ValueError):
        raise InputError(f"reshape: expected integers for lengths; got {given!r}") from None
    old = x.shape
    if lengths == old:
        return x
    if -1 in lengths:
        known = -math.prod(lengths)
        if known > 0 and lengths.count(-1) == 1 and x.size % known == 0:
            lengths = tuple(x.size // known if n == -1 else n for n in lengths)
    if any(n < 0 for n in lengths) or math.prod(lengths) != math.prod(old):
        raise ShapeError(f"reshape: expected a shape of {x.size} values, as {old} has; got {given}")
    out: Tensor = reshape_to(x, shape=lengths)
    return out


def flatten(x: Tensor, start: int = 1) -> Tensor:
    """``x`` with the axes from ``start`` on merged into one.

    Args:
        x: a tensor of at least ``start`` axes; without more it gets one of length 1.
        start: the first axis of those; a negative one counts from the end.

    Raises:
        ShapeError: ``x`` has less than ``start`` axes.
        InputError: ``start`` is no integer, or lies before the first axis.
    """
    tensors("flatten", x=x)
    if not is_integer(start) or start < -x.ndim:
        raise InputError(
            f"flatten: start expected an integer >= {-x.ndim} for shape {x.shape}; got {start!r}"
        )
    if x.ndim < start:
        raise ShapeError(f"flatten: expected at least {start} axes; got shape {x.shape}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start:])))


@op
def permute_dims(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    """The op behind :func:`transpose`: output axis ``i`` is input axis ``axes[i]``."""
    return xp.permute_dims(x, axes)


@permute_dims.pullback
def _(dy: Tensor, axes: tuple[int, ...]) -> Any:
    return permute_dims(dy, axes=tuple(axes.index(i) for i in range(len(axes))))


def transpose(x: Tensor, *order: int | Sequence[int]) -> Tensor:
    """``x`` with its axes in another order, one by one or as a tuple; reversed by default.

    Raises:
        InputError: ``order`` does not name every axis once.
    """
    tensors("transpose", x=x)
    given: Any = order
    if len(order) == 1 and isinstance(order[0], (tuple, list)):
        given = tuple(order[0])
    wanted = given or tuple(reversed(range(x.ndim)))
    if axes("transpose", wanted, x.ndim) != tuple(range(x.ndim)):
        raise InputError(f"transpose: expected each of {x.ndim} axes once; got {given}")
    out: Tensor = permute_dims(x, axes=tuple(a % x.ndim for a in wanted))
    return out


@op
def concatenate(xp: Any, *xs: Any, axis: int = 0) -> Any:
    """The tensors one after another along ``axis``.

    Raises:
        ShapeError: their shapes differ in another axis.
        InputError: ``axis`` is not one of their axes.
        DTypeError: their dtypes differ, or there are none.
    """
    return xp.concat(xs, axis=axis)


@concatenate.check
def _(*xs: Any, axis: int = 0) -> None:
    same_dtype("concatenate", **{f"xs[{i}]": x for i, x in enumerate(xs)})
    a = one_axis("concatenate", axis, xs[0].ndim)
    rest = [x.shape[:a] + x.shape[a + 1 :] for x in xs]
    if any(x.ndim != xs[0].ndim for x in xs) or any(r != rest[0] for r in rest):
        raise ShapeError(
            f"concatenate: expected shapes that differ in axis {axis} only; "
            f"got {', '.join(str(x.shape) for x in xs)}"
        )


@concatenate.pullback
def _(dy: Tensor, xs_shape: Any, axis: int, need: Any) -> Any:
    axis %= dy.ndim
    out, start = [], 0
    for shape, needed in zip(xs_shape, need, strict=True):
        stop = start + shape[axis]
        part = (slice(None),) * axis + (slice(start, stop),)
        out.append(getitem(dy, part) if needed else None)
        start = stop
    return tuple(out)


@op
def basic_index(xp: Any, x: Any, *, index: tuple[Any, ...]) -> Any:
    """The op behind ``x[index]``: integers, slices, ``None`` and ``...``; a view."""
    return x[index]


@basic_index.pullback
def _(dy: Tensor, x_shape: Any, index: Any) -> Any:
    return scatter_index(dy, shape=x_shape, index=index)


@op
def scatter_index(xp: Any, g: Any, *, shape: tuple[int, ...], index: tuple[Any, ...]) -> Any:
    """Zeros of ``shape`` with ``g`` at ``index``: the transpose of :func:`basic_index`."""
    out = xp.zeros(shape, dtype=g.dtype)
    place = tuple([part for part in index if part is not None])  # None is for reading only
    out[place] = xp.reshape(g, out[place].shape)
    return out


@scatter_index.pullback
def _(dy: Tensor, index: Any) -> Any:
    return basic_index(dy, index=index)


def getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]`` for integers, slices, ``None``, ``...``, or one integer tensor among slices.

    An integer tensor of any shape picks along its axis, as :func:`take` does, and its own axes take
    that axis's place: ``x[:, index]``, ``x[..., index]``. Its numbers count from the start only;
    integers and slices count from the end where they are negative, and steps may be.

    Raises:
        InputError: another kind of index, too many of them, an integer beside a tensor (NumPy would
            reorder axes), or one out of range; of a tensor as :func:`take` says.
        DTypeError: a tensor that is not of integers: what a mask picks has no shape known before.
    """
    tensors("x[...]", x=x)
    parts = index if isinstance(index, tuple) else (index,)
    for at, part in enumerate(parts):
        if isinstance(part, Tensor):
            return _picked(x, parts, at)
    out: Tensor = basic_index(x, index=_resolved(x, index))
    return out


def _picked(x: Tensor, parts: tuple[Any, ...], at: int) -> Tensor:
    """``x[parts]`` where ``parts[at]`` is a tensor."""
    others = (*parts[:at], *parts[at + 1 :])
    if not all(isinstance(part, slice) or part is None or part is ... for part in others):
        raise _bad_index(x, parts if others else parts[0])
    free = x.ndim - 1 - sum(isinstance(part, slice) for part in others)
    axis = sum(free if part is ... else 1 for part in parts[:at])
    if any(part is not ... and part != slice(None) for part in others):
        rest = (*parts[:at], slice(None), *parts[at + 1 :])
        x = basic_index(x, index=_resolved(x, rest))
    elif free < 0 or sum(part is ... for part in others) > 1:
        raise _bad_index(x, parts)
    return taken("x[...]", x, parts[at], axis)


def _resolved(x: Tensor, index: Any) -> tuple[Any, ...]:
    """``index`` with every axis named and every bound inside of it: all that the standard defines
    (numpy allows more)."""
    parts = index if isinstance(index, tuple) else (index,)
    free = x.ndim - sum(part is not None and part is not ... for part in parts)
    dots = sum(part is ... for part in parts)
    if free < 0 or dots > 1:
        raise _bad_index(x, index)
    out: list[Any] = []
    axis = 0
    for part in parts if dots else (*parts, ...):
        if part is None:
            out.append(None)
        elif part is ...:
            out.extend([slice(None)] * free)
            axis += free
        else:
            out.append(_within(x, axis, part, index))
            axis += 1
    return tuple(out) if x.ndim else (*out, ...)


def _within(x: Tensor, axis: int, part: Any, index: Any) -> int | slice:
    n = x.shape[axis]
    try:
        if isinstance(part, slice):
            start, stop, step = part.indices(n)
            if not range(start, stop, step):
                return slice(0, 0)
            return slice(start, None if stop < 0 else stop, step)
        number = operator.index(part)
    except (TypeError, ValueError):
        raise _bad_index(x, index) from None
    if isinstance(part, bool):
        raise _bad_index(x, index)
    if not -n <= number < n:
        raise InputError(
            f"x[...]: expected a number from {-n} to {n - 1} for axis {axis} of shape {x.shape}; "
            f"got {number}"
        )
    return number


def _bad_index(x: Tensor, index: Any) -> InputError:
    def shown(part: Any) -> str:
        return f"a tensor of shape {part.shape}" if isinstance(part, Tensor) else repr(part)

    given = f"({', '.join(map(shown, index))})" if isinstance(index, tuple) else shown(index)
    return InputError(
        f"x[...]: expected at most {x.ndim} integers or slices, None, ... or one integer tensor "
        f"among slices for shape {x.shape}; got {given}"
    )


@op
def take_rows(xp: Any, x: Any, index: Any) -> Any:
    """The op behind :func:`take`, for rows and a 1-d index."""
    return xp.take(x, xp.astype(index, xp.int64, copy=False), axis=0)


@take_rows.check
def _(x: Any, index: Any) -> None:
    if index.ndim != 1 or "int" not in index.dtype_name:
        raise DTypeError(
            "take_rows: index expected a 1-d integer tensor; got "
            f"{index.dtype_name} of shape {index.shape}"
        )
    if not x.ndim:
        raise ShapeError("take_rows: x expected at least one axis; got a scalar")


@take_rows.pullback
def _(dy: Tensor, x_shape: Any, index: Tensor) -> Any:
    return (add_rows(dy, index, rows=x_shape[0]), None)


@op
def add_rows(xp: Any, g: Any, index: Any, *, rows: int) -> Any:
    """Row ``r`` of the result is the sum of the rows of ``g`` whose index is ``r``."""
    flat = xp.reshape(g, (g.shape[0], math.prod(g.shape[1:])))  # (m, f)
    number = xp.reshape(xp.arange(rows, dtype=xp.int64), (rows, 1))
    index = xp.reshape(xp.astype(index, xp.int64), (1, index.shape[0]))
    chosen = xp.astype(number == index, g.dtype)  # (rows, m)
    return xp.reshape(xp.matmul(chosen, flat), (rows, *g.shape[1:]))


@add_rows.pullback
def _(dy: Tensor, index: Tensor) -> Any:
    return (take_rows(dy, index), None)


def take(x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """The parts of ``x`` along ``axis`` by number: ``numpy.take``, without negative numbers.

    Args:
        x: at least one axis.
        index: integers in [0, x.shape[axis]), any shape. They are looked at where that is at no
            cost, as on the CPU; on a card, which would have to be waited for in the middle of a
            step, a number out of range gives NaN.
        axis: along which axis.

    Returns:
        The shape of ``x`` with that of ``index`` in place of ``axis``: rows of (n, ...) by (m,)
        integers are (m, ...).

    Raises:
        DTypeError: ``index`` is not of integers.
        ShapeError: ``x`` is a scalar.
        InputError: ``axis`` does not exist, or a number that was looked at is out of range.
    """
    tensors("take", x=x, index=index)
    return taken("take", x, index, axis)


def taken(op: str, x: Tensor, index: Tensor, axis: int) -> Tensor:
    """:func:`take`, for the function that errors name."""
    if not x.ndim:
        raise ShapeError(f"{op}: x expected at least one axis; got a scalar")
    a = one_axis(op, axis, x.ndim)
    indices(op, index, x.shape[a])
    first = x if a == 0 else permute_dims(x, axes=(a, *range(a), *range(a + 1, x.ndim)))
    try:
        out: Tensor = take_rows(first, reshape(index, (index.size,)))
    except IndexError:
        raise out_of_range(op, index, x.shape[a]) from None
    if a:
        out = permute_dims(out, axes=(*range(1, a + 1), 0, *range(a + 1, x.ndim)))
    return reshape(out, (*x.shape[:a], *index.shape, *x.shape[a + 1 :]))
