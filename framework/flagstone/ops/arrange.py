"""Putting tensors side by side, apart, in reverse, and repeating or padding them."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import axes, one_axis, same_dtype, tensors
from flagstone.ops.door import op
from flagstone.ops.reduction import broadcast_to
from flagstone.ops.shape import basic_index, concatenate, reshape, scatter_index
from flagstone.tensors import Tensor

PAD_MODES = ("zero", "reflect", "edge")


def squeeze(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """``x`` without axes of length 1: those of ``axis``, or all of them.

    Raises:
        ShapeError: an axis of ``axis`` has another length (PyTorch would leave it).
        InputError: an axis does not exist or is named twice.
    """
    tensors("squeeze", x=x)
    shape = x.shape
    if axis is None:
        return reshape(x, tuple(n for n in shape if n != 1))
    gone = axes("squeeze", axis, x.ndim)
    if any(shape[a] != 1 for a in gone):
        raise ShapeError(f"squeeze: axis {axis} expected length 1; got shape {shape}")
    return reshape(x, tuple(n for a, n in enumerate(shape) if a not in gone))


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """``x`` with an axis of length 1 that will be axis ``axis``.

    Raises:
        InputError: ``axis`` is no integer from ``-ndim - 1`` to ``ndim``.
    """
    tensors("unsqueeze", x=x)
    a = one_axis("unsqueeze", axis, x.ndim + 1)
    return reshape(x, (*x.shape[:a], 1, *x.shape[a:]))


@op
def stack(xp: Any, *xs: Any, axis: int = 0) -> Any:
    """Tensors of one shape along a new axis, which will be axis ``axis``.

    Raises:
        ShapeError: their shapes differ.
        InputError: ``axis`` is no integer from ``-ndim - 1`` to ``ndim``.
        DTypeError: their dtypes differ, or there are none.
    """
    return xp.stack(xs, axis=axis)


@stack.check
def _(*xs: Any, axis: int = 0) -> None:
    same_dtype("stack", **{f"xs[{i}]": x for i, x in enumerate(xs)})
    shape = xs[0].shape
    one_axis("stack", axis, len(shape) + 1)
    if any(x.shape != shape for x in xs):
        raise ShapeError(f"stack: expected equal shapes; got {', '.join(str(x.shape) for x in xs)}")


@stack.pullback
def _(dy: Tensor, axis: int, need: Any) -> Any:
    parts = unstack(dy, axis=axis)
    return tuple(part if needed else None for part, needed in zip(parts, need, strict=True))


@op
def unstack(xp: Any, x: Any, *, axis: int = 0) -> Any:
    """Views of ``x`` along ``axis``, without that axis: the opposite of :func:`stack`.

    Raises:
        ShapeError: ``axis`` has length 0.
        InputError: ``axis`` is not one axis of ``x``.
    """
    before = (slice(None),) * (axis % x.ndim)
    after = (slice(None),) * (x.ndim - 1 - len(before))
    return tuple(x[(*before, i, *after)] for i in range(x.shape[axis]))


@unstack.check
def _(x: Any, *, axis: int = 0) -> None:
    a = one_axis("unstack", axis, x.ndim)
    if not x.shape[a]:
        raise ShapeError(f"unstack: axis {axis} expected at least one part; got shape {x.shape}")


@unstack.pullback
def _(dys: Any, axis: int) -> Any:
    like = next(d for d in dys if d is not None)
    return stack(*[_zeros(like, like.shape) if d is None else d for d in dys], axis=axis)


@op
def split_at(xp: Any, x: Any, *, lengths: tuple[int, ...], axis: int) -> Any:
    """The op behind :func:`split`, for lengths that add up; views."""
    before = (slice(None),) * axis
    after = (slice(None),) * (x.ndim - 1 - axis)
    stops = [builtins.sum(lengths[: i + 1]) for i in range(len(lengths))]
    return tuple(
        x[(*before, slice(stop - n, stop), *after)] for n, stop in zip(lengths, stops, strict=True)
    )


@split_at.pullback
def _(dys: Any, lengths: tuple[int, ...], axis: int) -> Any:
    like = next(d for d in dys if d is not None)
    lead, rest = like.shape[:axis], like.shape[axis + 1 :]
    parts = [
        _zeros(like, (*lead, n, *rest)) if d is None else d
        for d, n in zip(dys, lengths, strict=True)
    ]
    return concatenate(*parts, axis=axis)


def split(x: Tensor, parts: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """``x`` cut along ``axis``: the opposite of :func:`concatenate`.

    Args:
        x: a tensor.
        parts: how many parts of equal length (PyTorch's ``chunk``), or the length of each part.
        axis: which axis.

    Raises:
        InputError: ``parts`` is no positive integer or lengths that add up to the axis's, or
            ``axis`` does not exist.
    """
    tensors("split", x=x)
    a = one_axis("split", axis, x.ndim)
    n = x.shape[a]
    if isinstance(parts, int) and not isinstance(parts, bool):
        if parts < 1 or n % parts:
            raise InputError(
                f"split: parts expected a divisor of {n}, the length of axis {axis}; got {parts}"
            )
        lengths = (n // parts,) * parts
    else:
        lengths = _integers("split", "parts", parts)
        if not lengths or any(m < 0 for m in lengths) or builtins.sum(lengths) != n:
            raise InputError(
                f"split: parts expected lengths >= 0 that add up to {n}, the length of axis "
                f"{axis}; got {parts!r}"
            )
    out: tuple[Tensor, ...] = split_at(x, lengths=lengths, axis=a)
    return out


@op
def reverse(xp: Any, x: Any, *, axis: tuple[int, ...]) -> Any:
    """The op behind :func:`flip`."""
    return xp.flip(x, axis=axis)


@reverse.pullback
def _(dy: Tensor, axis: tuple[int, ...]) -> Any:
    return reverse(dy, axis=axis)


def flip(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """``x`` backwards along ``axis``: one, several, or all of them.

    Raises:
        InputError: an axis does not exist or is named twice.
    """
    tensors("flip", x=x)
    out: Tensor = reverse(x, axis=axes("flip", axis, x.ndim))
    return out


def pad(x: Tensor, padding: Sequence[Sequence[int]], mode: str = "zero") -> Tensor:
    """``x`` with values before and after it along its axes.

    Args:
        x: a tensor.
        padding: for each axis how many (before, after), >= 0; to cut values off, use a slice.
        mode: what the values are. ``"zero"``: 0. ``"edge"``: the first and the last one.
            ``"reflect"``: those next to the edge, mirrored, without the edge itself; at most
            length - 1 of them, as in PyTorch.

    Raises:
        InputError: another mode, ``padding`` is not such pairs, or more is to be reflected or
            repeated than there is.
    """
    tensors("pad", x=x)
    if mode not in PAD_MODES:
        raise InputError(f"pad: mode expected 'zero', 'reflect' or 'edge'; got {mode!r}")
    pairs = _pairs(x, padding)
    if mode == "zero":
        if not any(before or after for before, after in pairs):
            return x
        shape = tuple(b + n + a for (b, a), n in zip(pairs, x.shape, strict=True))
        inner = tuple(slice(b, b + n) for (b, _), n in zip(pairs, x.shape, strict=True))
        out: Tensor = scatter_index(x, shape=shape, index=inner)
        return out
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            x = _extended(x, axis, before, after, mode)
    return x


def _extended(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    n = x.shape[axis]
    if n == 0 or (mode == "reflect" and max(before, after) >= n):
        raise InputError(
            f"pad: padding of axis {axis} expected at most {max(n - 1, 0)} values to reflect; "
            f"got {(before, after)} for shape {x.shape}"
            if mode == "reflect"
            else f"pad: axis {axis} expected an edge to repeat; got shape {x.shape}"
        )

    def piece(start: int, stop: int | None, step: int, count: int) -> Tensor:
        index = [slice(None)] * x.ndim
        index[axis] = slice(start, stop, step)
        part: Tensor = basic_index(x, index=tuple(index))
        return broadcast_to(part, (*x.shape[:axis], count, *x.shape[axis + 1 :]))

    parts = [x]
    if before:
        reflected = mode == "reflect"
        parts.insert(0, piece(before, 0, -1, before) if reflected else piece(0, 1, 1, before))
    if after:
        stop = n - 2 - after
        parts.append(
            piece(n - 2, stop if stop >= 0 else None, -1, after)
            if mode == "reflect"
            else piece(n - 1, n, 1, after)
        )
    out: Tensor = concatenate(*parts, axis=axis)
    return out


def repeat(x: Tensor, repeats: int, axis: int) -> Tensor:
    """Every value of ``axis`` ``repeats`` times in a row: ``numpy.repeat``.

    Raises:
        InputError: ``repeats`` is no integer >= 0, or ``axis`` does not exist.
    """
    tensors("repeat", x=x)
    a = one_axis("repeat", axis, x.ndim)
    (times,) = _counts("repeat", "repeats", (repeats,))
    shape = x.shape
    wide = broadcast_to(unsqueeze(x, a + 1), (*shape[: a + 1], times, *shape[a + 1 :]))
    return reshape(wide, (*shape[:a], shape[a] * times, *shape[a + 1 :]))


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """``x`` as a whole, ``repeats[i]`` times along axis ``i``: ``numpy.tile``.

    Raises:
        InputError: ``repeats`` is not one integer >= 0 for each axis.
    """
    tensors("tile", x=x)
    times = _counts("tile", "repeats", repeats)
    if len(times) != x.ndim:
        raise InputError(f"tile: repeats expected {x.ndim} integers, one per axis; got {repeats!r}")
    apart = reshape(x, tuple(m for n in x.shape for m in (1, n)))
    wide = tuple(m for t, n in zip(times, x.shape, strict=True) for m in (t, n))
    together = tuple(t * n for t, n in zip(times, x.shape, strict=True))
    return reshape(broadcast_to(apart, wide), together)


def _zeros(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return Tensor(like.backend.xp.zeros(shape, dtype=like.dtype), like.backend)


def _pairs(x: Tensor, padding: Any) -> list[tuple[int, ...]]:
    try:
        pairs = [_integers("pad", "padding", pair) for pair in padding]
    except (TypeError, InputError):
        pairs = []
    if len(pairs) != x.ndim or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise InputError(
            f"pad: padding expected {x.ndim} pairs (before, after) >= 0, one per axis; "
            f"got {padding!r}"
        )
    return pairs


def _counts(op: str, name: str, given: Any) -> tuple[int, ...]:
    numbers = _integers(op, name, given)
    if any(n < 0 for n in numbers):
        raise InputError(f"{op}: {name} expected integers >= 0; got {given!r}")
    return numbers


def _integers(op: str, name: str, given: Any) -> tuple[int, ...]:
    try:
        if any(isinstance(n, bool) for n in given):
            raise TypeError
        return tuple(operator.index(n) for n in given)
    except TypeError:
        raise InputError(f"{op}: {name} expected integers; got {given!r}") from None
