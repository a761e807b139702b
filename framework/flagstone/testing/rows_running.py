"""Rows of the op table: products, running sums, outer products, rows by number, whole channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import B4, D4, F4, I4, NOT_A_TENSOR, NOT_FLOATING, unary
from flagstone.testing.rows_shape import D23, ONE_AXIS, reduction

COUNTER = np.array([3, 1], np.uint64)
KEY = (7, 11)


def _products(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw.whole(6, 5, high=2), axis=1)  # zeros, of which some rows have several
    yield Sample(draw.below(4, 3, 4), axis=0)
    yield Sample(draw.below(3, 5, dtype="uint8"))
    yield Sample(draw.truth(3, 2), axis=1)


def _product(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return np.asarray(np.prod(x, axis=axis, keepdims=keepdims))


def _running(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((5,), 0), ((2, 3, 4), 1), ((3, 8), -1), ((1,), 0), ((0, 3), 0),
                        ((2, 0), 0), ((9, 1), -2)):  # fmt: skip
        for reverse in (False, True):
            yield Sample(draw(*shape), axis=axis, reverse=reverse)


def _running_integers(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw.below(9, 3, 7, dtype="int32"), axis=1)
    yield Sample(draw.below(250, 7, dtype="uint8"), axis=0)
    yield Sample(draw.truth(6), axis=0, reverse=True)


def _cumsum(x: Array, axis: int, reverse: bool = False) -> Array:
    return np.asarray(np.flip(np.cumsum(np.flip(x, axis), axis), axis) if reverse else
                      np.cumsum(x, axis))  # fmt: skip


def _outer(draw: Draw) -> Iterator[Sample]:
    for n, m in ((3, 4), (1, 1), (0, 2), (5, 1)):
        yield Sample(draw(n), draw(m))


def _embeddings(draw: Draw) -> Iterator[Sample]:
    for shape in ((4,), (2, 3), (), (1,), (0,), (2, 1, 2)):
        yield Sample(draw.below(5, *shape), draw(5, 3))
    yield Sample(draw.below(5, 2, 2, dtype="uint8"), draw(5, 1))
    yield Sample(np.array([0, 0, 2, 0]), draw(3, 2))


def _padded(draw: Draw) -> Iterator[Sample]:  # what no gradient reaches moves the output all the
    yield Sample(np.array([0, 2, 1, 2]), draw(3, 2), 2)  # same: tests/framework/nn/test_embedding
    yield Sample(np.array([[0, 2], [1, 2]]), draw(3, 2), -1)


def _channels(draw: Draw) -> Iterator[Sample]:
    for shape in ((3, 4, 5), (2, 2, 3, 7), (1, 1, 1), (0, 2, 3), (2, 0, 3)):
        yield Sample(draw(*shape), 0.4, COUNTER, KEY)
    yield Sample(draw(2, 3, 4), 0.0, COUNTER, KEY)


def _channel_dropout(x: Array, p: float, counter: Array, key: tuple[int, int]) -> Array:
    n, c = x.shape[0], x.shape[-1]
    if not p:
        return x
    words = np.random.Philox(
        key=np.array(key, np.uint64), counter=[0, *map(int, counter), 0]
    ).random_raw(4 * n * -(-c // 16))  # fmt: skip
    lanes = np.asarray(words, "<u8").view("<u2").reshape(n, 16 * -(-c // 16))[:, :c]
    limit = round((1 - p) * 65536)
    middle = (1,) * (x.ndim - 2)
    return np.where((lanes < limit).reshape(n, *middle, c), x * (65536 / limit), 0.0)


ROWS = (
    unary("rsqrt", lambda x: x**-0.5, NOT_FLOATING, positive=True, special=(4.0, 0.25, np.inf)),
    reduction("prod", _product, NOT_A_TENSOR, value_samples=_products, empty=True),
    OpRow(
        "cumsum", ops.cumsum, _running, _cumsum, (0,), _running_integers,
        (*ONE_AXIS, NOT_A_TENSOR),
    ),
    OpRow(
        "outer", ops.outer, _outer, np.outer, (0, 1),
        value_samples=lambda draw: [Sample(draw.below(9, 3), draw.below(9, 2))],
        refusals=(
            Refusal(ShapeError, r"outer: expected two 1-d tensors; got shapes \(2, 3\) and \(4,\)",
                    D23, D4),
            Refusal(DTypeError, "outer: expected one dtype", D4, F4),
            Refusal(DTypeError, "outer: b expected a Tensor; got float", D4, 2.0),
            Refusal(DTypeError, "expected numbers; got bool", B4, B4),
        ),
    ),
    OpRow(
        "embedding", ops.embedding, _embeddings, lambda index, weight, padding_idx=None:
        weight[index], (1,), _padded,
        (
            Refusal(DTypeError, "embedding: index expected integers; got float64", D4, D23),
            Refusal(DTypeError, "embedding: index expected a Tensor; got list", Raw([1]), D23),
            Refusal(ShapeError, r"embedding: weight expected shape \(n, d\); got \(4,\)", I4, D4),
            Refusal(InputError, "embedding: padding_idx expected a row from -2 to 1; got 2", I4,
                    D23, 2),
            Refusal(InputError, "embedding: padding_idx expected an integer; got True", I4, D23,
                    True),
            Refusal(InputError, "index", np.array([5]), np.ones((1, 2))),
        ),
    ),
    OpRow(
        "channel_dropout", ops.channel_dropout, _channels, _channel_dropout, (0,),
        refusals=(
            Refusal(ShapeError, r"channel_dropout: x expected shape \(n, ..., channels\); got "
                    r"\(2, 3\)", D23, 0.5, COUNTER, KEY),
            Refusal(InputError, r"dropout: p expected a probability in \[0, 1\); got 1.0",
                    np.ones((1, 2, 3)), 1.0, COUNTER, KEY),
            Refusal(DTypeError, "channel_dropout: x expected a floating", np.ones((1, 2, 3), int),
                    0.5, COUNTER, KEY),
        ),
    ),
)  # fmt: skip
