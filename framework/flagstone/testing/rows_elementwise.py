"""Rows of the op table: arithmetic, comparison, elementary functions, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.elementwise import cast
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample

SHAPES = ((4,), (), (1,), (0,), (2, 0), (3, 4), (2, 3, 2))
PAIRS = (
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (3,)), ((1,), (1,)),
    ((0, 3), (3,)), ((1, 2), (0, 1)), ((), ()),
)  # fmt: skip

F4 = np.ones(4, np.float32)
D4 = np.ones(4)
I4 = np.arange(4)
B4 = np.array([True, False, True, True])
NOT_A_TENSOR = Refusal(DTypeError, "expected a Tensor; got list. Wrap it", Raw([1.0]))
NOT_FLOATING = Refusal(DTypeError, "expected a floating-point dtype; got int64. Convert it", I4)
TRUTH = Refusal(DTypeError, "expected numbers; got bool. Convert it", B4)


def unary(
    name: str,
    reference: Callable[..., Any],
    *refusals: Refusal,
    positive: bool = False,
    special: tuple[float, ...] = (),
    **more: Any,
) -> OpRow:
    """A function of one array, smooth at random values, and its values at special ones."""

    def samples(draw: Draw) -> Iterator[Sample]:
        for shape in SHAPES:
            yield Sample(draw.positive(*shape) if positive else draw(*shape))

    def value_samples(draw: Draw) -> Iterator[Sample]:
        if special:
            yield Sample(np.array(special, draw.dtype))

    given: dict[str, Any] = {
        "samples": samples, "value_samples": value_samples, "differentiable": (0,),
        "refusals": (NOT_A_TENSOR, *refusals), **more,
    }  # fmt: skip
    return OpRow(name, getattr(ops, name), reference=reference, **given)


def binary(
    name: str,
    reference: Callable[..., Any],
    *refusals: Refusal,
    positive: bool = False,
    ties: bool = False,
    differentiable: tuple[int, ...] = (0, 1),
    truth: bool = True,
) -> OpRow:
    """A function of two arrays that broadcast, or of an array and a number."""

    def samples(draw: Draw) -> Iterator[Sample]:
        make = draw.positive if positive else draw
        for a, b in PAIRS:
            yield Sample(make(*a), make(*b))
        yield Sample(make(2, 3), 0.7)
        yield Sample(1.3, make(2, 3))
        yield Sample(make(3), 2)

    def value_samples(draw: Draw) -> Iterator[Sample]:
        yield Sample(draw(3), np.float64(0.7))  # must not decide the dtype
        if ties:
            yield Sample(draw.whole(20), draw.whole(20))
            yield Sample(draw.below(3, 9), draw.below(3, 9))
            yield Sample(np.array([np.nan, 1.0, np.inf], draw.dtype), draw(3))

    common = (
        Refusal(DTypeError, f"{name}: expected one dtype; got a float32, b float64", F4, D4),
        Refusal(
            ShapeError, rf"{name}: expected shapes that broadcast .* got a \(4,\), b \(3,\)",
            D4, D4[:3],
        ),
        Refusal(DTypeError, f"{name}: a expected a Tensor; got ndarray", Raw(D4), D4),
        Refusal(DTypeError, f"{name}: b expected a Tensor; got NoneType", D4, None),
        Refusal(DTypeError, f"{name}: a expected a Tensor; got float", 1.0, 2.0),
    )  # fmt: skip
    bools = (Refusal(DTypeError, f"{name}: . expected .*bool", B4, B4),) if truth else ()
    return OpRow(
        name, getattr(ops, name), samples, reference, differentiable, value_samples,
        (*common, *bools, *refusals),
    )  # fmt: skip


def _power(draw: Draw) -> Iterator[Sample]:
    for exponent in (2, 3, 0.5, -1, 0, 1, -0.5):
        yield Sample(draw.positive(2, 3), exponent=exponent)
    for shape in SHAPES:
        yield Sample(draw.positive(*shape), exponent=1.7)


def _clip(draw: Draw) -> Iterator[Sample]:
    for shape in SHAPES:
        yield Sample(draw(*shape), low=-0.5, high=0.7)
    yield Sample(draw(9), low=0.1)
    yield Sample(draw(9), high=0)


def _where(draw: Draw) -> Iterator[Sample]:
    for a, b in PAIRS:
        yield Sample(draw.truth(*np.broadcast_shapes(a, b)), draw(*a), draw(*b))
    yield Sample(draw.truth(3, 1), draw(4), 0.5)
    yield Sample(draw.truth(2), 0, draw(3, 1))


def _astype(dtypes: tuple[str, ...]) -> Callable[[Draw], Iterator[Sample]]:
    def samples(draw: Draw) -> Iterator[Sample]:
        for shape in SHAPES:
            for dtype in dtypes:
                yield Sample(draw(*shape), dtype=dtype)

    return samples


def _with(name: str, *values: float) -> Callable[[Draw], Iterator[Sample]]:
    def samples(draw: Draw) -> Iterator[Sample]:
        for shape in SHAPES:
            yield Sample(draw(*shape))
        for value in values:
            yield Sample(draw(5), **{name: value})

    return samples


def _maxout(draw: Draw) -> Iterator[Sample]:
    for shape, pieces in (((2, 6), 3), ((6,), 2), ((0, 4), 2), ((1, 1), 1), ((2, 3, 4), 4)):
        yield Sample(draw(*shape), pieces=pieces)


def _relu_grad(draw: Draw) -> Iterator[Sample]:
    for shape in SHAPES:
        yield Sample(draw(*shape), draw(*shape))


def _special(draw: Draw) -> Iterator[Sample]:
    yield Sample(np.array([-1000.0, -0.0, 0.0, 1000.0, np.inf, -np.inf, np.nan], draw.dtype))


def _as_dtype(x: Array, dtype: str) -> Array:
    return x.astype(dtype)


TOO_LARGE = Refusal(DTypeError, "b expected a number that uint8 can hold; got 256",
                    I4.astype(np.uint8), 256)  # fmt: skip
TOO_SMALL = Refusal(DTypeError, "b expected a number that uint8 can hold; got -1",
                    I4.astype(np.uint8), -1)  # fmt: skip
FLOAT_NUMBER = Refusal(DTypeError, "b expected a number that int64 can hold; got 0.5", I4, 0.5)
INT_DIVISION = Refusal(DTypeError, "divide: a expected a floating-point dtype; got int64", I4, I4)
FINITE = (-30.0, -1.0, 0.0, 1.0, 30.0)

ROWS = (
    binary("add", np.add, FLOAT_NUMBER, TOO_LARGE, TOO_SMALL),
    binary("subtract", np.subtract, FLOAT_NUMBER, TOO_LARGE),
    binary("multiply", np.multiply, FLOAT_NUMBER, TOO_LARGE),
    binary("divide", np.divide, INT_DIVISION, positive=True),
    binary("maximum", np.maximum, TOO_LARGE, ties=True),
    binary("minimum", np.minimum, TOO_SMALL, ties=True),
    binary("equal", np.equal, TOO_SMALL, ties=True, differentiable=(), truth=False),
    binary("not_equal", np.not_equal, ties=True, differentiable=(), truth=False),
    binary("less", np.less, TOO_LARGE, ties=True, differentiable=()),
    binary("less_equal", np.less_equal, ties=True, differentiable=()),
    binary("greater", np.greater, ties=True, differentiable=()),
    binary("greater_equal", np.greater_equal, ties=True, differentiable=()),
    OpRow(
        "where", ops.where, _where, np.where, (1, 2),
        refusals=(
            Refusal(DTypeError, "where: condition expected a bool tensor.*float64", D4, D4, D4),
            Refusal(DTypeError, "where: condition expected a Tensor; got bool", True, D4, D4),
            Refusal(ShapeError, "where: expected shapes that broadcast", B4[:3], D4, D4),
            Refusal(DTypeError, "where: expected a tensor for a or for b", B4, 1.0, 0.0),
            Refusal(DTypeError, "where: expected one dtype", B4, F4, D4),
        ),
    ),
    unary("negative", np.negative, TRUTH),
    unary("abs", np.abs, TRUTH, special=(0.0, -0.0, np.inf, np.nan)),
    unary("sign", np.sign, TRUTH, special=(0.0, 3.0, -3.0)),
    unary("exp", np.exp, NOT_FLOATING),
    unary("log", np.log, NOT_FLOATING, positive=True),
    unary("log1p", np.log1p, NOT_FLOATING, positive=True, special=(1e-7, 0.0)),
    unary("expm1", np.expm1, NOT_FLOATING, special=(1e-7, 0.0)),
    unary("sqrt", np.sqrt, NOT_FLOATING, positive=True, special=(0.0, 4.0)),
    OpRow(
        "power", ops.power, _power, lambda x, exponent: x ** float(exponent), (0,),
        refusals=(
            Refusal(DTypeError, "power: x expected a floating", I4, exponent=2),
            Refusal(InputError, "power: exponent expected a Python number", D4, exponent="2"),
        ),
    ),
    OpRow(
        "clip", ops.clip, _clip, lambda x, low=None, high=None: np.clip(x, low, high), (0,),
        value_samples=lambda draw: [
            Sample(draw.whole(20), low=-1, high=1), Sample(draw.below(9, 9), low=2, high=5),
            Sample(draw(3), low=np.float64(0.1)), Sample(draw(3), high=np.float32(0.5)),
            Sample(draw(3), low=np.int64(0)), Sample(np.array([np.nan, 2.0], draw.dtype), high=1),
        ],
        refusals=(
            Refusal(InputError, "clip: expected low <= high; got low 1 and high 0", D4, low=1,
                    high=0),
            Refusal(InputError, "clip: expected low <= high; got low nan", D4, low=float("nan")),
            Refusal(DTypeError, "clip: high expected a number that float64 can hold; got '1'", D4,
                    high="1"),
            Refusal(InputError, "clip: expected low, high or both; got neither", D4),
            Refusal(DTypeError, "clip: low expected a number that int64 can hold", I4, low=0.5),
            TRUTH,
        ),
    ),
    OpRow("cast", cast, _astype(("float64",)), _as_dtype, (0,),
          dtypes=("float64",)),
    OpRow(
        "astype", ops.astype, _astype(("int64", "bool", "int8")), _as_dtype,
        refusals=(
            Refusal(DTypeError, "astype: dtype expected one of float32.*; got 'sin'", D4,
                    dtype="sin"),
            Refusal(DTypeError, "astype: dtype expected one of", D4, dtype=float),
            Refusal(DTypeError, "astype: x expected a Tensor; got list", Raw([1]), dtype="int8"),
        ),
    ),
    unary("sigmoid", lambda x: (1 + np.tanh(x / 2)) / 2, NOT_FLOATING, value_samples=_special),
    unary("tanh", lambda x: 1 - 2 / (1 + np.exp(2 * x)), NOT_FLOATING, special=FINITE),
    unary("relu", lambda x: (x + np.abs(x)) / 2, NOT_FLOATING, special=FINITE),
    OpRow("relu_grad", ops.relu_grad, _relu_grad, lambda g, y: g * (y > 0), (0,),
          value_samples=lambda draw: [Sample(draw(9), draw.whole(9, high=1))]),
    OpRow(
        "leaky_relu", ops.leaky_relu, _with("slope", 0.1, 0.0, 1.0, 2),
        lambda x, slope=0.01: np.maximum(x, 0) + slope * np.minimum(x, 0), (0,),
        refusals=(
            NOT_FLOATING,
            *(Refusal(InputError, "leaky_relu: slope expected a number >= 0; got", D4, slope=slope)
              for slope in (-1, "1", None, float("nan"))),
        ),
    ),
    OpRow(
        "elu", ops.elu, _with("alpha", 0.3, 0.0, 2),
        lambda x, alpha=1.0: np.maximum(x, 0) + alpha * (np.exp(np.minimum(x, 0)) - 1), (0,),
        value_samples=lambda draw: [Sample(np.array([-800.0, 0.0, 800.0], draw.dtype))],
        refusals=(
            NOT_FLOATING,
            *(Refusal(InputError, "elu: alpha expected a number >= 0; got", D4, alpha=alpha)
              for alpha in (-1, "1", None, [1])),
        ),
    ),
    unary("softplus", lambda x: np.logaddexp(0, x), NOT_FLOATING,
          special=(-1000.0, -30.0, 0.0, 30.0, 1000.0)),
    OpRow(
        "maxout", ops.maxout, _maxout,
        lambda x, pieces: x.reshape(*x.shape[:-1], -1, pieces).max(-1) if x.size else
        np.zeros((*x.shape[:-1], x.shape[-1] // pieces)), (0,),
        refusals=(
            Refusal(ShapeError, r"maxout: expected a last axis that is a multiple of pieces=3; "
                    r"got \(4,\)", D4, pieces=3),
            Refusal(ShapeError, "maxout: expected a last axis", np.array(1.0), pieces=2),
            Refusal(InputError, "maxout: pieces expected a positive integer; got 0", D4, pieces=0),
            Refusal(DTypeError, "maxout: x expected a Tensor", Raw([1.0]), pieces=1),
        ),
    ),
)  # fmt: skip
