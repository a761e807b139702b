"""Rows of the op table: reductions, broadcasting, shapes, picking values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.reduction import expand
from flagstone.ops.shape import (
    add_rows,
    basic_index,
    permute_dims,
    reshape_to,
    scatter_index,
    take_rows,
)  # fmt: skip
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import B4, D4, F4, I4, NOT_A_TENSOR, NOT_FLOATING

D23 = np.ones((2, 3))
BAD_AXES = (
    Refusal(InputError, "axis expected integers from -2 to 1 .*; got 2", D23, axis=2),
    Refusal(InputError, "axis expected integers", D23, axis=0.0),
    Refusal(InputError, "axis expected integers", D23, axis=True),
    Refusal(
        InputError, r"axis expected integers .* several as a tuple,.*; got \[0\]", D23, axis=[0]
    ),
    Refusal(InputError, "axis expected none for a tensor of 0 axes; got 0", np.array(1.0), axis=0),
    Refusal(InputError, "axis expected each axis once", D23, axis=(0, -2)),
)
FLAG = tuple(
    Refusal(InputError, "keepdims expected True or False; got", D23, axis=0, keepdims=value)
    for value in (1, None, "yes", (True,))
)
EMPTY_REFUSED = Refusal(InputError, "expected at least one value", np.ones((2, 0)), axis=1)
ONE_AXIS = (
    Refusal(InputError, "axis expected one integer; got None", D23, axis=None),
    Refusal(InputError, r"axis expected one integer; got \(0,\)", D23, axis=(0,)),
    Refusal(InputError, "axis expected integers from -2 to 1", D23, axis=-3),
)


def reduction(
    name: str,
    reference: Callable[..., Any],
    *refusals: Refusal,
    value_samples: Callable[[Draw], Any] = lambda _: (),
    empty: bool = False,
) -> OpRow:
    """A function over all axes, one, or several, which may be kept."""

    def samples(draw: Draw) -> Iterator[Sample]:
        for axis in (None, 0, -1, (0, 2), (1,), ()):
            for keepdims in (False, True):
                yield Sample(draw(2, 3, 4), axis=axis, keepdims=keepdims)
        yield Sample(draw())
        yield Sample(draw(1))
        yield Sample(draw(2, 3))
        yield Sample(draw(0, 3), axis=1)
        if empty:
            yield Sample(draw(0))
            yield Sample(draw(0, 3), axis=0)

    return OpRow(
        name, getattr(ops, name), samples, reference, (0,), value_samples,
        (NOT_A_TENSOR, *BAD_AXES, *FLAG, *refusals),
    )  # fmt: skip


def _ties(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw.whole(4, 9), axis=1)
    yield Sample(draw.below(5, 4, 9), axis=0)
    yield Sample(np.array([[1.0, np.nan], [np.inf, -np.inf]], draw.dtype), axis=1)


def _integers(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw.truth(3, 4), axis=1)
    yield Sample(np.full(300, 255, np.uint8))  # 76500: more than a uint8 can hold
    yield Sample(np.full(3, 2**31 - 1, np.int32))


def _argmax(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((3, 4), 1), ((3, 4), 0), ((5,), -1), ((1,), 0), ((0, 3), 1)):
        yield Sample(draw(*shape), axis=axis)
    yield Sample(draw.whole(4, 9), axis=1)  # the first of equal ones


def _softmax_axes(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (
        ((3, 4), -1), ((3, 4), 0), ((2, 3, 4), 1), ((5,), 0), ((1, 1), 1), ((0, 3), 1), ((1,), -1),
    ):  # fmt: skip
        yield Sample(draw(*shape), axis=axis)


def _huge(draw: Draw) -> Iterator[Sample]:
    yield Sample(np.array([[1000.0, 0.0, -1000.0], [-1000.0, -1000.0, -1001.0]], draw.dtype))
    yield Sample(np.array([[-np.inf, 0.0, 1.0]], draw.dtype))
    yield Sample(draw(50, 700))  # more than a block of the NumPy kernels


def _logsumexp(x: Array, axis: int = -1, keepdims: bool = False) -> Array:
    out = np.asarray(np.logaddexp.reduce(x, axis=axis))
    return np.expand_dims(out, axis) if keepdims else out


def _var(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 3, 4))
    yield Sample(draw(2, 3, 4), axis=(0, 2), correction=1)
    yield Sample(draw(5, 3), axis=0, keepdims=True)
    yield Sample(draw(0, 3), axis=1)
    yield Sample(draw(1))
    yield Sample(draw(3, 2), axis=-1, correction=0.5)


def _variance(x: Array, axis: Any = None, correction: float = 0, keepdims: bool = False) -> Array:
    return np.asarray(np.var(x, axis=axis, ddof=correction, keepdims=keepdims))


def _expand(draw: Draw) -> Iterator[Sample]:
    for shape, wider in (
        ((3,), (2, 3)), ((2, 1, 3), (4, 2, 5, 3)), ((), (2,)), ((1,), (0,)), ((1,), (1, 1)),
        ((0, 1), (0, 3)),
    ):  # fmt: skip
        yield Sample(draw(*shape), shape=wider)


def _sum_to(draw: Draw) -> Iterator[Sample]:
    for shape, narrower in (
        ((2, 3), (3,)), ((4, 2, 5, 3), (2, 1, 3)), ((2,), ()), ((0, 3), (3,)), ((1, 1), (1,)),
        ((0,), (1,)), ((2, 3), (2, 3)),
    ):  # fmt: skip
        yield Sample(draw(*shape), shape=narrower)


def _summed(x: Array, shape: tuple[int, ...]) -> Array:
    """Add every value where broadcasting takes it from: the definition of the transpose."""
    out = np.zeros(shape)
    place = np.broadcast_to(np.arange(out.size).reshape(shape), x.shape)
    np.add.at(out.reshape(-1), place.reshape(-1), x.reshape(-1))
    return out


def _reshape(draw: Draw) -> Iterator[Sample]:
    for shape, other in (
        ((2, 6), (3, 4)), ((2, 6), (12,)), ((), (1, 1)), ((0, 3), (3, 0)), ((1,), ()),
        ((2, 3, 4), (4, 6)),
    ):  # fmt: skip
        yield Sample(draw(*shape), shape=other)


def _permute(draw: Draw) -> Iterator[Sample]:
    for shape, axes in (
        ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((0, 2), (1, 0)), ((1,), (0,)), ((), ()),
    ):  # fmt: skip
        yield Sample(draw(*shape), axes=axes)


def _concatenate(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 3), draw(1, 3), draw(4, 3))
    yield Sample(draw(2, 3), draw(2, 1), axis=-1)
    yield Sample(draw(0, 3), draw(2, 3))
    yield Sample(draw(1))
    yield Sample(draw(2, 2, 2), draw(2, 3, 2), axis=1)


INDICES: tuple[tuple[tuple[int, ...], tuple[Any, ...]], ...] = (
    ((4, 5), (slice(1, 3), 2)),
    ((4, 5), (slice(None, None, -2), slice(None))),
    ((4, 5), (-1, slice(3, 0, -1))),
    ((2, 3, 4), (slice(None), None, 1, slice(0, 4, 2))),
    ((3,), (slice(0, 0),)),
    ((1,), (0,)),
    ((0, 2), (slice(None), 1)),
    ((), (None, ...)),
)


def _index(draw: Draw) -> Iterator[Sample]:
    for shape, index in INDICES:
        yield Sample(draw(*shape), index=index)


def _scatter(draw: Draw) -> Iterator[Sample]:
    for shape, index in INDICES:
        yield Sample(draw(*np.zeros(shape)[index].shape), shape=shape, index=index)


def _scattered(g: Array, shape: tuple[int, ...], index: Any) -> Array:
    out = np.zeros(int(np.prod(shape)))
    out[np.arange(out.size).reshape(shape)[index].reshape(-1)] = g.reshape(-1)
    return out.reshape(shape)


def _getitem(draw: Draw) -> Iterator[Sample]:
    yield from _index(draw)
    for index in (
        0,
        -2,
        slice(1, 99),
        slice(-99, -1),
        slice(9, 5),
        ...,
        None,
        (..., 1),
        (0, ...),
        (slice(None, None, -1), ..., None),
        np.int64(1),
        slice(np.int64(1), None),
    ):
        yield Sample(draw(3, 4), index=index)


def _take(draw: Draw) -> Iterator[Sample]:
    for shape, m, dtype in (
        ((5, 3), 7, "int64"), ((5,), 3, "int32"), ((4, 2, 3), 2, "uint8"), ((5, 3), 0, "int64"),
        ((1, 1), 1, "int64"), ((3, 0), 2, "int64"), ((3, 2), 2, "uint64"),
    ):  # fmt: skip
        yield Sample(draw(*shape), draw.below(shape[0], m, dtype=dtype))


def _take_along_axes(draw: Draw) -> Iterator[Sample]:
    for shape, axis, at in (
        ((3, 4, 2), 1, (5,)), ((3, 4), -1, (2, 3)), ((2, 3, 4), 2, ()), ((4,), 0, (2, 2)),
        ((3, 2, 2), 0, (1, 2)), ((2, 3), 1, (0, 2)),
    ):  # fmt: skip
        yield Sample(draw(*shape), draw.below(shape[axis], *at), axis=axis)


def _rows(draw: Draw) -> Iterator[Sample]:
    for shape, rows, dtype in (
        ((7, 3), 4, "int64"), ((5,), 3, "int32"), ((3, 2, 2), 5, "uint8"), ((0, 3), 2, "int64"),
        ((1, 1), 1, "int64"), ((4, 2), 300, "uint8"), ((2, 0), 3, "int64"), ((3, 1), 2, "uint64"),
    ):  # fmt: skip
        yield Sample(draw(*shape), draw.below(min(rows, 9), shape[0], dtype=dtype), rows=rows)


def _added(g: Array, index: Array, rows: int) -> Array:
    out = np.zeros((rows, *g.shape[1:]))
    for row, values in zip(index, g, strict=True):
        out[int(row)] += values
    return out


def _count(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 3, 4))
    yield Sample(draw(0, 2))
    yield Sample(draw(1))


INDEX_REFUSED = (
    Refusal(InputError, r"x\[...\]: expected a number from -2 to 1 for axis 0", D23, index=2),
    Refusal(InputError, r"x\[...\]: expected at most 2 integers or slices", D23, index=(0, 0, 0)),
    Refusal(InputError, r"x\[...\]: expected at most 2", D23, index=(..., ...)),
    Refusal(InputError, r"x\[...\]: expected at most 2", D23, index=[0, 1]),
    Refusal(InputError, r"x\[...\]: expected at most 2", D23, index=True),
    Refusal(InputError, r"x\[...\]: expected at most 2", D23, index=slice(None, None, 0)),
    Refusal(InputError, r"x\[...\]: expected at most 2", D23, index=1.5),
    Refusal(DTypeError, r"x\[...\]: x expected a Tensor", Raw([1.0]), index=0),
)

ROWS = (
    reduction("sum", lambda x, axis=None, keepdims=False: np.sum(x, axis, keepdims=keepdims),
              value_samples=_integers, empty=True),
    reduction("mean", lambda x, axis=None, keepdims=False: np.mean(x, axis, keepdims=keepdims),
              EMPTY_REFUSED, NOT_FLOATING),
    reduction("max", lambda x, axis=None, keepdims=False: np.max(x, axis, keepdims=keepdims),
              EMPTY_REFUSED, Refusal(DTypeError, "max: x expected numbers; got bool", B4),
              value_samples=_ties),
    reduction("min", lambda x, axis=None, keepdims=False: np.min(x, axis, keepdims=keepdims),
              EMPTY_REFUSED, Refusal(DTypeError, "min: x expected numbers; got bool", B4),
              value_samples=_ties),
    OpRow(
        "var", ops.var, _var, _variance, (0,),
        refusals=(
            Refusal(InputError, "var: expected more than correction=1 values; got 1", D4[:1],
                    correction=1),
            *(Refusal(InputError, "var: correction expected a number; got", D4, correction=value)
              for value in (None, "1", [1], True)),
            *FLAG,
            Refusal(DTypeError, "var: x expected a floating", I4),
            NOT_A_TENSOR,
        ),
    ),
    OpRow("argmax", ops.argmax, _argmax, lambda x, axis: np.argmax(x, axis),
          refusals=(*ONE_AXIS, EMPTY_REFUSED)),
    OpRow("softmax", ops.softmax, _softmax_axes,
          lambda x, axis=-1: np.exp(x - _logsumexp(x, axis, True)), (0,), _huge,
          (*ONE_AXIS, EMPTY_REFUSED, Refusal(DTypeError, "softmax: x expected a floating", I4))),
    OpRow("log_softmax", ops.log_softmax, _softmax_axes,
          lambda x, axis=-1: x - _logsumexp(x, axis, True), (0,), _huge,
          (*ONE_AXIS, EMPTY_REFUSED)),
    OpRow("logsumexp", ops.logsumexp, _softmax_axes, _logsumexp, (0,),
          lambda draw: [*_huge(draw), Sample(draw(2, 3), axis=0, keepdims=True),
                        Sample(np.full((1, 2), -np.inf, draw.dtype))],
          (*ONE_AXIS, *FLAG, EMPTY_REFUSED)),
    OpRow("expand", expand, _expand, np.broadcast_to, (0,),
          refusals=(Refusal(ShapeError, r"broadcast_to: expected a shape that \(4,\) broadcasts "
                            r"to; got \(3,\)", D4, shape=(3,)),)),
    OpRow("broadcast_to", ops.broadcast_to, _expand, np.broadcast_to, (0,),
          refusals=(
              Refusal(ShapeError, "broadcast_to: expected a shape", D23, shape=(3,)),
              *(Refusal(InputError, "broadcast_to: shape expected a tuple of integers >= 0; got",
                        D23, shape=shape) for shape in (None, 2, (2.0, 3), (-2, 2, 3), "ab")),
          )),
    OpRow("sum_to", ops.sum_to, _sum_to, _summed, (0,),
          refusals=(Refusal(ShapeError, r"sum_to: expected a shape that broadcasts to \(2, 3\)",
                            D23, shape=(2,)),)),
    OpRow("reshape_to", reshape_to, _reshape, lambda x, shape: x.reshape(shape), (0,)),
    OpRow(
        "reshape", lambda x, shape: ops.reshape(x, shape), _reshape,
        lambda x, shape: x.reshape(shape), (0,),
        lambda draw: [Sample(draw(2, 6), shape=(3, -1)), Sample(draw(0, 6), shape=(-1, 3)),
                      Sample(draw(2, 2), shape=[4]), Sample(draw(4), shape=(np.int64(2), 2))],
        (
            Refusal(ShapeError, r"reshape: expected a shape of 6 values, as \(2, 3\) has; "
                    r"got \(4, -1\)", D23, shape=(4, -1)),
            Refusal(ShapeError, "reshape: expected a shape of 6 values", D23, shape=(-1, -1)),
            Refusal(ShapeError, "reshape: expected a shape of 6 values", D23, shape=(-2, -3)),
            *(Refusal(InputError, "reshape: expected integers for lengths", D23, shape=shape)
              for shape in ((2.0, 3), (True, 6), (None, 6))),
            Refusal(DTypeError, "reshape: x expected a Tensor", Raw(D23), shape=(6,)),
        ),
    ),
    OpRow("flatten", ops.flatten, _count, lambda x: x.reshape(len(x), int(np.prod(x.shape[1:]))),
          (0,), refusals=(
              Refusal(ShapeError, "flatten: expected at least 1 axes", np.array(1.0)),
              *(Refusal(InputError, "flatten: start expected an integer >= -2 for shape", D23,
                        start=start) for start in (None, "1", 1.5, True, -3)),
              NOT_A_TENSOR)),
    OpRow("permute_dims", permute_dims, _permute, lambda x, axes: np.transpose(x, axes), (0,)),
    OpRow(
        "transpose", lambda x, axes: ops.transpose(x, *axes), _permute,
        lambda x, axes: np.transpose(x, axes or None), (0,),
        lambda draw: [Sample(draw(2, 3, 4), axes=()), Sample(draw(2, 3, 4), axes=(-1, 0, 1))],
        (
            Refusal(InputError, "transpose: expected each of 2 axes once", D23, axes=(0,)),
            Refusal(InputError, "transpose: axis expected each axis once", D23, axes=(0, 0)),
        ),
    ),
    OpRow(
        "concatenate", ops.concatenate, _concatenate,
        lambda *xs, axis=0: np.concatenate(xs, axis), (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"concatenate: expected shapes that differ in axis 0 only; "
                    r"got \(2, 3\), \(4,\)", D23, D4),
            Refusal(ShapeError, "concatenate: expected shapes", D23, D23[:, :2]),
            Refusal(DTypeError, r"concatenate: expected one dtype; got xs\[0\] float64", D4, F4),
            Refusal(DTypeError, "concatenate: xs expected a Tensor; got float", D4, 1.0),
            Refusal(DTypeError, "concatenate: xs expected a Tensor; got NoneType"),
            Refusal(InputError, "axis expected none for a tensor of 0 axes; got 0", np.array(1.0)),
        ),
    ),
    OpRow("basic_index", basic_index, _index, lambda x, index: x[index], (0,)),
    OpRow("scatter_index", scatter_index, _scatter, _scattered, (0,)),
    OpRow("getitem", ops.getitem, _getitem, lambda x, index: np.asarray(x[index]), (0,),
          refusals=INDEX_REFUSED),
    OpRow(
        "take_rows", take_rows, _take, lambda x, index: x[index.astype(int)], (0,),
        refusals=(
            Refusal(DTypeError, r"take_rows: .* 1-d integer tensor; got int64 of shape \(2, 2\)",
                    D4, I4.reshape(2, 2)),
            Refusal(ShapeError, "take_rows: x expected at least one axis", np.array(1.0), I4),
        ),
    ),
    OpRow(
        "take", ops.take, lambda draw: [*_take(draw), *_take_along_axes(draw)],
        lambda x, index, axis=0: np.take(x, index.astype(int), axis), (0,),
        refusals=(
            Refusal(DTypeError, "take: index expected an integer tensor; got float64", D4, D4),
            Refusal(DTypeError, "take: index expected a Tensor; got int", D4, 1),
            Refusal(ShapeError, "take: x expected at least one axis", np.array(1.0), I4),
            Refusal(InputError, "take: axis expected integers from -1 to 0", D4, I4, axis=1),
        ),
    ),
    OpRow("add_rows", add_rows, _rows, _added, (0,)),
)  # fmt: skip
