"""Rows of the op table: normalisation of each example by its own values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.axis_norm import axis_norm_grad, axis_rms_norm_grad
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import F4

X = np.ones((2, 3, 4))
W4 = np.ones(4)
NO_MEAN = "the mean of nothing is refused"


def _standard(x: Array, axis: tuple[int, ...], eps: float) -> tuple[Array, Array, Array]:
    mean = x.mean(axis, keepdims=True)
    var = (x**2).mean(axis, keepdims=True) - mean**2
    return (x - mean) / (var + eps) ** 0.5, mean, var


def _affine(y: Array, weight: Array | None, bias: Array | None) -> Array:
    return y * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)


def axis_norms(draw: Draw) -> Iterator[Sample]:
    for shape, axis, affine in (
        ((3, 4), (1,), (4,)), ((2, 3, 4), (1, 2), (3, 4)), ((2, 3, 4), (1,), (4,)),
        ((2, 3, 2, 2), (1, 3), (2, 2)), ((1,), (0,), (1,)), ((0, 3), (1,), (3,)),
        ((2, 3), (-1,), (3,)), ((5,), (), (5,)), ((2, 3), (0, 1), (2, 3)),
        ((3, 5, 2, 2), (1, 2), (2,)), ((30, 9, 7, 4, 2), (1, 2, 4), (4, 2)),
    ):  # fmt: skip
        yield Sample(draw(*shape), draw(*affine), draw(*affine), axis=axis, eps=0.1)
    yield Sample(draw(2, 3, 4), None, None, axis=(2,), eps=0.1)
    yield Sample(draw(2, 3, 4), draw(4), None, axis=(1, 2), eps=0.1)
    yield Sample(draw(2, 3, 4), None, draw(4), axis=(2,), eps=0.1)


def _axis_norm(
    x: Array, weight: Any, bias: Any, axis: tuple[int, ...], eps: float
) -> tuple[Array, ...]:
    y, mean, var = _standard(x, axis, eps)
    return _affine(y, weight, bias), mean, var


def _axis_norm_grads(draw: Draw) -> Iterator[Sample]:
    for shape, axis, affine in (
        ((3, 4), (1,), (4,)), ((2, 3, 4), (1, 2), (3, 4)), ((2, 3, 4), (1,), (4,)),
        ((2, 3, 2, 2), (1, 3), (2, 2)), ((2, 3), (-1,), (3,)), ((2, 3), (0, 1), (2, 3)),
        ((700, 6), (1,), (6,)), ((5, 20, 20, 3), (1, 2), (3,)),
        ((30, 9, 7, 4, 8), (1, 2, 4), (4, 8)), ((3, 4), (1,), None), ((4, 5, 3), (1,), None),
        ((2, 3, 4), (1,), (3, 4)), ((3, 4), (1,), ()),
    ):  # fmt: skip
        x = draw(*shape)
        mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
        weight = None if affine is None else draw(*affine)
        yield Sample(draw(*shape), x, mean, var, weight, axis=axis, eps=0.1)


def _axis_norm_grad(
    g: Array, x: Array, mean: Array, var: Array, weight: Any, axis: tuple[int, ...], eps: float
) -> tuple[Array, ...]:
    """By the Jacobian of each group's normalised values, a matrix."""
    scale = 1 / np.sqrt(var + eps)
    normal = (x - mean) * scale
    pulled, through = np.empty_like(x), g * (1.0 if weight is None else weight)
    kept = [a for a in range(x.ndim) if a not in {a % x.ndim for a in axis}]
    for place in np.ndindex(*[x.shape[a] for a in kept]):
        at: list[Any] = [slice(None)] * x.ndim
        for a, i in zip(kept, place, strict=True):
            at[a] = i
        u, v = normal[tuple(at)].ravel(), through[tuple(at)].ravel()
        jacobian = np.eye(len(u)) - 1 / len(u) - np.outer(u, u) / len(u)
        pulled[tuple(at)] = (jacobian @ v).reshape(normal[tuple(at)].shape)
    over = tuple(range(x.ndim - np.ndim(weight))) if weight is not None else None
    return pulled * scale, (g * normal).sum(over), g.sum(over)


def axis_rms_norms(draw: Draw) -> Iterator[Sample]:
    for sample in axis_norms(draw):
        yield Sample(*sample.arrays[:2], **sample.static)


def _axis_rms_norm(x: Array, weight: Any, axis: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    square = (x**2).mean(axis, keepdims=True)
    return _affine(x / (square + eps) ** 0.5, weight, None), square


def _axis_rms_norm_grads(draw: Draw) -> Iterator[Sample]:
    for sample in _axis_norm_grads(draw):
        g, x, _, _, weight = sample.arrays
        square = (x**2).mean(sample.static["axis"], keepdims=True)
        yield Sample(g, x, square, weight, **sample.static)


def _axis_rms_norm_grad(
    g: Array, x: Array, square: Array, weight: Any, axis: tuple[int, ...], eps: float
) -> tuple[Array, ...]:
    """By the quotient rule, y = x w r with r = (mean(x^2) + eps)^(-1/2) and dr = -r^3 x / count."""
    through = g * (1.0 if weight is None else weight)
    root = (square + eps) ** -0.5
    d_root = (through * x).sum(axis, keepdims=True)
    pulled = through * root - d_root * root**3 * x * (square.size / x.size)
    over = tuple(range(x.ndim - np.ndim(weight))) if weight is not None else None
    return pulled, (g * x * root).sum(over)


def _layer_norms(draw: Draw) -> Iterator[Sample]:
    for shape, n in (((3, 4), 1), ((2, 3, 4), 2), ((4,), 1), ((0, 3), 1), ((1, 2, 3, 2), 1)):
        last = shape[len(shape) - n :]
        yield Sample(draw(*shape), last, draw(*last), draw(*last))
        yield Sample(draw(*shape), last)
    yield Sample(draw(2, 3), 3, None, draw(3), eps=0.1)
    yield Sample(draw(2, 1), 1, draw(1), draw(1), eps=0.1)


def _last(shape: Any) -> tuple[int, ...]:
    return tuple(range(-len(np.atleast_1d(shape)), 0))


def _layer_norm(
    x: Array, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    return _affine(_standard(x, _last(shape), eps)[0], weight, bias)


def _rms_norms(draw: Draw) -> Iterator[Sample]:
    for sample in _layer_norms(draw):
        if len(sample.arrays) < 4 or sample.arrays[2] is not None:
            yield Sample(*sample.arrays[:3], **sample.static)
    yield Sample(draw(2, 3), 3, None, 0.2)


def _rms_norm(x: Array, shape: Any, weight: Any = None, eps: float = 0.0) -> Array:
    return _axis_rms_norm(x, weight, _last(shape), eps)[0]


def _group_norms(draw: Draw) -> Iterator[Sample]:
    for shape, groups in (
        ((2, 3, 3, 4), 2), ((2, 5, 6), 3), ((3, 4), 1), ((2, 4), 2), ((1, 3, 2), 2), ((0, 2, 2), 1),
        ((2, 2, 1, 3, 4), 4), ((1, 2), 1),
    ):  # fmt: skip
        c = shape[-1]
        yield Sample(draw(*shape), groups, draw(c), draw(c), eps=0.1)
        yield Sample(draw(*shape), groups, eps=0.1)
    yield Sample(draw(2, 2, 1), 1, draw(1), draw(1), eps=0.1)


def _group_norm(
    x: Array, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Array:
    parts = [
        _standard(part, tuple(range(1, x.ndim)), eps)[0] for part in np.split(x, groups, axis=-1)
    ]
    return _affine(np.concatenate(parts, axis=-1), weight, bias)


def _instance_norms(draw: Draw) -> Iterator[Sample]:
    for shape in ((2, 3, 3, 4), (2, 5, 3), (1, 4, 2), (0, 2, 2), (2, 2, 1, 3, 2), (1, 2, 1)):
        c = shape[-1]
        yield Sample(draw(*shape), draw(c), draw(c), eps=0.1)
        yield Sample(draw(*shape), eps=0.1)


def _instance_norm(x: Array, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Array:
    return _affine(_standard(x, tuple(range(1, x.ndim - 1)), eps)[0], weight, bias)


def _common(name: str, *between: Any) -> tuple[Refusal, ...]:
    """What all four functions refuse; ``between`` stands between x and the weight."""
    return (
        Refusal(DTypeError, f"{name}: x expected a Tensor; got ndarray", Raw(X), *between),
        Refusal(DTypeError, f"{name}: weight expected a Tensor; got list", X, *between, Raw([1.0])),
        Refusal(DTypeError, f"{name}: x expected a floating", X.astype(int), *between),
        Refusal(DTypeError, f"{name}: expected one dtype; got x float64, weight float32", X,
                *between, F4),
        Refusal(ShapeError, rf"{name}: weight expected shape \(4,\).* got \(1, 4\)", X, *between,
                np.ones((1, 4))),
        Refusal(InputError, f"{name}: eps expected a number >= 0; got -1", X, *between, eps=-1),
        Refusal(InputError, f"{name}: eps expected a number >= 0; got '1'", X, *between, eps="1"),
        Refusal(InputError, f"{name}: eps expected a number >= 0", X, *between, eps=float("nan")),
    )  # fmt: skip


ROWS = (
    OpRow(
        "axis_norm", ops.axis_norm, axis_norms, _axis_norm, (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"axis_norm: weight expected the shape of the last axes of x "
                    r"\(2, 3, 4\); got \(3,\)", X, np.ones(3), None, axis=(1,), eps=0.1),
            Refusal(ShapeError, "axis_norm: axis expected a tuple of axes", np.ones((2, 0)), None,
                    None, axis=(1,), eps=0.1),
            Refusal(ShapeError, "axis_norm: axis expected a tuple of axes.*got 1", X, None, None,
                    axis=1, eps=0.1),
            Refusal(InputError, "axis_norm: axis expected integers from -3 to 2", X, None, None,
                    axis=(3,), eps=0.1),
        ),
    ),
    OpRow(
        "axis_norm_grad", axis_norm_grad, _axis_norm_grads, _axis_norm_grad,
        refusals=(
            Refusal(ShapeError, r"axis_norm_grad: expected g of the shape of x \(2, 3, 4\), and "
                    r"mean and var \(2, 3, 1\); got \(2, 3, 4\), \(4,\) and \(4,\)", X, X, W4, W4,
                    None, axis=(2,), eps=0.1),
        ),
        never_empty=NO_MEAN,
        tolerance={"float32": 2e-4, "float64": 1e-10},
    ),
    OpRow(
        "axis_rms_norm", ops.axis_rms_norm, axis_rms_norms, _axis_rms_norm, (0, 1),
        refusals=(
            Refusal(ShapeError, "axis_rms_norm: weight expected the shape of the last axes", X,
                    np.ones((3, 1)), axis=(1,), eps=0.1),
        ),
    ),
    OpRow(
        "axis_rms_norm_grad", axis_rms_norm_grad, _axis_rms_norm_grads, _axis_rms_norm_grad,
        refusals=(
            Refusal(ShapeError, r"axis_rms_norm_grad: expected g of the shape of x "
                    r"\(2, 3, 4\), and square \(2, 3, 1\); got \(2, 3, 4\) and \(4,\)", X, X, W4,
                    None, axis=(2,), eps=0.1),
        ),
        never_empty=NO_MEAN,
        tolerance={"float32": 2e-4, "float64": 1e-10},
    ),
    OpRow(
        "layer_norm", ops.layer_norm, _layer_norms, _layer_norm, (0, 2, 3),
        refusals=(
            *_common("layer_norm", 4),
            Refusal(ShapeError, r"layer_norm: x expected shape \(..., 3, 3\); got \(2, 3, 4\)", X,
                    (3, 3)),
            Refusal(ShapeError, "layer_norm: x expected shape", X, (1, 2, 3, 4)),
            Refusal(ShapeError, "layer_norm: x expected shape .*at least one axis", X, ()),
            Refusal(ShapeError, r"layer_norm: bias expected shape \(4,\); got \(3,\)", X, 4, W4,
                    np.ones(3)),
        ),
    ),
    OpRow(
        "rms_norm", ops.rms_norm, _rms_norms, _rms_norm, (0, 2),
        refusals=(
            *_common("rms_norm", 4),
            Refusal(ShapeError, r"rms_norm: x expected shape \(..., 3\); got \(2, 3, 4\)", X, 3),
        ),
    ),
    OpRow(
        "group_norm", ops.group_norm, _group_norms, _group_norm, (0, 2, 3),
        refusals=(
            *_common("group_norm", 2),
            Refusal(InputError, r"group_norm: num_groups expected a divisor of the 4 channels "
                    r"\(the last axis of x\); got 3", X, 3),
            Refusal(InputError, "group_norm: num_groups expected a positive integer; got 0", X, 0),
            Refusal(ShapeError, r"group_norm: x expected \(n, ..., channels\); got \(4,\)", W4, 2),
            Refusal(ShapeError, "group_norm: expected more than one value per group",
                    np.ones((2, 4)), 4),
            Refusal(ShapeError, "group_norm: bias expected shape", X, 2, W4, np.ones(3)),
        ),
    ),
    OpRow(
        "instance_norm", ops.instance_norm, _instance_norms, _instance_norm, (0, 1, 2),
        refusals=(
            *_common("instance_norm"),
            Refusal(ShapeError, r"instance_norm: x expected \(n, ..., channels\) with more than",
                    np.ones((2, 1, 1, 4))),
            Refusal(ShapeError, "instance_norm: x expected", np.ones((2, 4))),
        ),
    ),
)  # fmt: skip
