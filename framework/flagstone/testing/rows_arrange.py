"""Rows of the op table: stacking, splitting, padding, repeating, gathering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.arrange import reverse, split_at
from flagstone.ops.gathering import take_along
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4, NOT_A_TENSOR

D23 = np.ones((2, 3))
I23 = np.zeros((2, 3), np.int64)


def _squeeze(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (
        ((2, 1, 3), 1), ((1, 2, 1), None), ((1, 2, 1), (0, -1)), ((1, 1), 0), ((0, 1), 1),
        ((2,), ()),
    ):  # fmt: skip
        yield Sample(draw(*shape), axis=axis)


def _unsqueeze(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((2, 3), 0), ((2, 3), 2), ((2, 3), -2), ((), -1), ((0, 2), 1), ((1,), 1)):
        yield Sample(draw(*shape), axis=axis)


def _stack(draw: Draw) -> Iterator[Sample]:
    for shape, count, axis in (
        ((2, 3), 3, 0), ((2, 3), 2, 1), ((2, 3), 2, -1), ((), 3, 0), ((0, 2), 2, 2), ((1,), 1, 0),
    ):  # fmt: skip
        yield Sample(*[draw(*shape) for _ in range(count)], axis=axis)


def _unstack(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((2, 3), 0), ((2, 3, 2), 1), ((2, 3), -1), ((0, 2), 1), ((1,), 0)):
        yield Sample(draw(*shape), axis=axis)


CUTS: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...] = (
    ((6, 2), (1, 3, 2), 0), ((2, 4), (2, 2), 1), ((3, 2, 2), (0, 2), 2), ((0, 3), (1, 2), 1),
    ((1,), (1,), 0), ((4,), (0, 4, 0), 0),
)  # fmt: skip


def _split_at(draw: Draw) -> Iterator[Sample]:
    for shape, lengths, axis in CUTS:
        yield Sample(draw(*shape), lengths=lengths, axis=axis)


def _cut(x: Array, lengths: tuple[int, ...], axis: int) -> tuple[Array, ...]:
    return tuple(np.split(x, np.cumsum(lengths)[:-1], axis))


def _split(draw: Draw) -> Iterator[Sample]:
    for shape, lengths, axis in CUTS:
        yield Sample(draw(*shape), parts=lengths, axis=axis - len(shape))
    yield Sample(draw(6, 2), parts=3)
    yield Sample(draw(2, 4), parts=4, axis=1)


def _split_reference(x: Array, parts: Any, axis: int = 0) -> tuple[Array, ...]:
    where = parts if isinstance(parts, int) else np.cumsum(parts)[:-1]
    return tuple(np.split(x, where, axis))


def _reverse(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (
        ((2, 3), (0,)),
        ((2, 3, 2), (0, 2)),
        ((0, 2), (1,)),
        ((1,), (0,)),
        ((), ()),
    ):
        yield Sample(draw(*shape), axis=axis)


def _flip(draw: Draw) -> Iterator[Sample]:
    yield from _reverse(draw)
    yield Sample(draw(2, 3))
    yield Sample(draw(2, 3), axis=-1)


def _pad(draw: Draw) -> Iterator[Sample]:
    for shape, padding in (
        ((3, 4), ((1, 2), (2, 3))), ((2, 3, 2), ((0, 0), (2, 0), (0, 1))), ((4,), ((0, 3),)),
        ((3,), ((0, 0),)),
    ):  # fmt: skip
        for mode in ("zero", "reflect", "edge"):
            yield Sample(draw(*shape), padding=padding, mode=mode)
    for mode in ("zero", "edge"):
        yield Sample(draw(1), padding=((2, 3),), mode=mode)
    yield Sample(draw(0, 2), padding=((0, 0), (1, 1)), mode="reflect")
    yield Sample(draw(0, 2), padding=((1, 0), (0, 1)))


def _padded(x: Array, padding: Any, mode: str = "zero") -> Array:
    kinds: dict[str, Any] = {"zero": "constant", "reflect": "reflect", "edge": "edge"}
    return np.asarray(np.pad(x, padding, mode=kinds[mode]))


def _repeat(draw: Draw) -> Iterator[Sample]:
    for shape, repeats, axis in (
        ((2, 3), 2, 0), ((2, 3), 3, -1), ((0, 2), 2, 0), ((1,), 1, 0), ((2, 2), 0, 1),
    ):  # fmt: skip
        yield Sample(draw(*shape), repeats=repeats, axis=axis)


def _tile(draw: Draw) -> Iterator[Sample]:
    for shape, repeats in (
        ((2, 3), (2, 1)), ((2, 3), (1, 3)), ((0, 2), (2, 2)), ((1,), (4,)), ((), ()),
        ((2, 2), (0, 1)),
    ):  # fmt: skip
        yield Sample(draw(*shape), repeats=repeats)


ALONG: tuple[tuple[tuple[int, ...], int, int, str], ...] = (
    ((3, 4), 1, 6, "int64"), ((3, 4), 0, 2, "int32"), ((2, 3, 2), 1, 4, "uint8"),
    ((5,), 0, 3, "int64"), ((1, 1), 1, 1, "int64"), ((2, 3), 1, 0, "int64"),
    ((0, 3), 1, 2, "uint64"),
)  # fmt: skip


def _gather(draw: Draw) -> Iterator[Sample]:
    for shape, axis, m, dtype in ALONG:
        at = (*shape[:axis], m, *shape[axis + 1 :])
        yield Sample(draw(*shape), draw.below(shape[axis], *at, dtype=dtype), axis=axis)


def _gathered(x: Array, index: Array, axis: int) -> Array:
    """One value after another."""
    out = np.zeros(index.shape)
    for place in np.ndindex(index.shape):
        source = list(place)
        source[axis] = int(index[place])
        out[place] = x[tuple(source)]
    return out


def _scatter_add(draw: Draw) -> Iterator[Sample]:
    for shape, axis, m, dtype in ALONG:
        at = (*shape[:axis], m, *shape[axis + 1 :])
        index = draw.below(shape[axis], *at, dtype=dtype)
        yield Sample(draw(*at), index, axis=axis, size=shape[axis])


def _added(g: Array, index: Array, axis: int, size: int) -> Array:
    """One value after another."""
    shape = list(g.shape)
    shape[axis] = size
    out = np.zeros(shape)
    for place in np.ndindex(g.shape):
        target = list(place)
        target[axis] = int(index[place])
        out[tuple(target)] += g[place]
    return out


ROWS = (
    OpRow(
        "squeeze", ops.squeeze, _squeeze, lambda x, axis: np.squeeze(x, axis), (0,),
        refusals=(
            Refusal(ShapeError, r"squeeze: axis 1 expected length 1; got shape \(2, 3\)", D23,
                    axis=1),
            Refusal(InputError, "squeeze: axis expected integers from -2 to 1", D23, axis=2),
            NOT_A_TENSOR,
        ),
    ),
    OpRow(
        "unsqueeze", ops.unsqueeze, _unsqueeze, lambda x, axis: np.expand_dims(x, axis), (0,),
        refusals=(
            Refusal(InputError, "unsqueeze: axis expected integers from -3 to 2", D23, axis=3),
            Refusal(DTypeError, "unsqueeze: x expected a Tensor", Raw([1.0]), axis=0),
        ),
    ),
    OpRow(
        "stack", ops.stack, _stack, lambda *xs, axis=0: np.stack(xs, axis), (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"stack: expected equal shapes; got \(2, 3\), \(4,\)", D23, D4),
            Refusal(DTypeError, r"stack: expected one dtype; got xs\[0\] float64, xs\[1\] float32",
                    D4, F4),
            Refusal(InputError, "stack: axis expected integers from -2 to 1", D4, D4, axis=2),
            Refusal(DTypeError, "stack: xs expected a Tensor; got float", D4, 1.0),
            Refusal(DTypeError, "stack: xs expected a Tensor; got NoneType"),
        ),
    ),
    OpRow(
        "unstack", ops.unstack, _unstack,
        lambda x, axis=0: tuple(np.take(x, i, axis) for i in range(x.shape[axis])), (0,),
        refusals=(
            Refusal(ShapeError, r"unstack: axis 1 expected at least one part; got shape \(2, 0\)",
                    np.ones((2, 0)), axis=1),
            Refusal(InputError, "unstack: axis expected integers from -2 to 1", D23, axis=2),
            NOT_A_TENSOR,
        ),
    ),
    OpRow("split_at", split_at, _split_at, _cut, (0,)),
    OpRow(
        "split", ops.split, _split, _split_reference, (0,),
        refusals=(
            Refusal(InputError, "split: parts expected a divisor of 3, the length of axis 1; got 2",
                    D23, parts=2, axis=1),
            Refusal(InputError, "split: parts expected a divisor", D4, parts=0),
            Refusal(InputError, r"split: parts expected lengths >= 0 that add up to 4, .* "
                    r"got \(1, 2\)", D4, parts=(1, 2)),
            Refusal(InputError, "split: parts expected lengths >= 0", D4, parts=(5, -1)),
            Refusal(InputError, "split: parts expected lengths >= 0", np.ones(0), parts=()),
            Refusal(InputError, "split: parts expected integers; got 2.0", D4, parts=2.0),
            Refusal(InputError, "split: parts expected integers", D4, parts=True),
            Refusal(InputError, "split: axis expected", D4, parts=2, axis=1),
        ),
    ),
    OpRow("reverse", reverse, _reverse, lambda x, axis: np.flip(x, axis), (0,)),
    OpRow(
        "flip", ops.flip, _flip, lambda x, axis=None: np.flip(x, axis), (0,),
        refusals=(
            Refusal(InputError, "flip: axis expected integers from -2 to 1", D23, axis=2),
            Refusal(InputError, "flip: axis expected each axis once", D23, axis=(0, -2)),
            NOT_A_TENSOR,
        ),
    ),
    OpRow(
        "pad", ops.pad, _pad, _padded, (0,),
        refusals=(
            Refusal(InputError, r"pad: mode expected 'zero', 'reflect' or 'edge'; got 'wrap'", D4,
                    padding=((1, 1),), mode="wrap"),
            Refusal(InputError, r"pad: padding expected 2 pairs \(before, after\) >= 0", D23,
                    padding=((1, 1),)),
            Refusal(InputError, "pad: padding expected 1 pairs", D4, padding=((-1, 1),)),
            Refusal(InputError, "pad: padding expected 1 pairs", D4, padding=((1, 1, 1),)),
            Refusal(InputError, "pad: padding expected 1 pairs", D4, padding=1),
            Refusal(InputError, "pad: padding expected 1 pairs", D4, padding=((0.5, 1),)),
            Refusal(InputError, "pad: padding of axis 0 expected at most 3 values to reflect", D4,
                    padding=((0, 4),), mode="reflect"),
            Refusal(InputError, "pad: axis 0 expected an edge to repeat", np.ones(0),
                    padding=((0, 1),), mode="edge"),
        ),
    ),
    OpRow(
        "repeat", ops.repeat, _repeat, lambda x, repeats, axis: np.repeat(x, repeats, axis), (0,),
        refusals=(
            Refusal(InputError, "repeat: repeats expected integers >= 0", D4, repeats=-1, axis=0),
            Refusal(InputError, "repeat: repeats expected integers", D4, repeats=1.5, axis=0),
            Refusal(InputError, "repeat: axis expected", D4, repeats=1, axis=1),
        ),
    ),
    OpRow(
        "tile", ops.tile, _tile, lambda x, repeats: np.tile(x, repeats), (0,),
        refusals=(
            Refusal(InputError, "tile: repeats expected 2 integers, one per axis", D23,
                    repeats=(2,)),
            Refusal(InputError, "tile: repeats expected integers >= 0", D4, repeats=(-1,)),
            Refusal(InputError, "tile: repeats expected integers; got 2", D4, repeats=2),
        ),
    ),
    OpRow("take_along", take_along, _gather, _gathered, (0,)),
    OpRow(
        "gather", ops.gather, _gather, _gathered, (0,),
        refusals=(
            Refusal(DTypeError, "gather: index expected an integer tensor; got float64", D4, D4,
                    axis=0),
            Refusal(ShapeError, r"gather: index expected the shape of x, \(2, 3\), but for axis 1; "
                    r"got \(4,\)", D23, I4, axis=1),
            Refusal(ShapeError, "gather: index expected the shape of x", D23, I23[:1], axis=1),
            Refusal(InputError, "gather: axis expected one integer; got None", D23, I23, axis=None),
            Refusal(DTypeError, "gather: index expected a Tensor; got int", D4, 1, axis=0),
        ),
    ),
    OpRow(
        "scatter_add", ops.scatter_add, _scatter_add, _added, (0,),
        refusals=(
            Refusal(DTypeError, "scatter_add: index expected an integer tensor; got float64", D4,
                    D4, axis=0, size=4),
            Refusal(DTypeError, "scatter_add: g expected a floating", I4, I4, axis=0, size=4),
            Refusal(ShapeError, r"scatter_add: index expected shape \(4,\), as g has; got \(2,\)",
                    D4, I4[:2], axis=0, size=4),
            Refusal(InputError, "scatter_add: size expected an integer >= 0; got -1", D4, I4,
                    axis=0, size=-1),
            Refusal(InputError, "scatter_add: axis expected", D4, I4, axis=1, size=4),
        ),
    ),
)  # fmt: skip
