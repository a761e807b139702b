"""Rows of the op table: what writes to arrays, and optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4, NOT_FLOATING

D23 = np.ones((2, 3))
SIZES = (7, 1, 0, 20000)  # the last is longer than a block of the NumPy kernels


def _pairs(draw: Draw, **static: Any) -> Iterator[Sample]:
    for shape in ((3, 4), (), (1,), (0,)):
        yield Sample(draw(*shape), draw(*shape), **static)


def _assign(draw: Draw) -> Iterator[Sample]:
    yield from _pairs(draw)
    yield Sample(draw(3), 0.0)
    yield Sample(draw.below(9, 3), 2)


def _assigned(out: Array, x: Any) -> Array:
    return np.full_like(out, x) if isinstance(x, (int, float)) else x


def _sgd(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for momentum, nesterov, decay in (
            (0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.1), (0.0, False, 0.2),
        ):  # fmt: skip
            velocity = draw(size) if momentum else None
            yield Sample(
                draw(size), draw(size), velocity, draw.positive(), draw.positive(),
                momentum=momentum, nesterov=nesterov, weight_decay=decay,
            )  # fmt: skip
            velocity = draw(size) if momentum else None
            yield Sample(
                draw(size), draw(size), velocity, draw.positive(), draw.positive(),
                draw.positive(size), draw.positive(size), momentum=momentum, nesterov=nesterov,
                weight_decay=decay,
            )  # fmt: skip
        for steps in (0, 1, 5):
            yield Sample(
                draw(size), draw(size), draw(size), draw.positive(), draw.positive(), None, None,
                np.asarray(steps, draw.dtype), momentum=0.9, nesterov=False, weight_decay=0.1,
                dampening=0.4,
            )  # fmt: skip


def _sgd_reference(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array, rates: Any = None,
    decays: Any = None, t: Any = None, *, momentum: float, nesterov: bool, weight_decay: float,
    dampening: float = 0.0,
) -> Any:  # fmt: skip
    rate = lr if rates is None else lr * rates
    g = scale * g + (weight_decay if decays is None else decays) * p
    if velocity is None:
        return p - rate * g
    if t is not None:
        v = momentum * velocity + (1 - dampening if t else 1) * g
        return p - rate * v, v, t + 1
    v = momentum * velocity + g
    return p - rate * (g + momentum * v if nesterov else v), v


def _adam(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for beta1, beta2, decay, decoupled, steps in (
            (0.9, 0.999, 0.0, False, 0), (0.9, 0.99, 0.1, False, 1), (0.9, 0.99, 0.1, True, 7),
            (0.0, 0.9, 0.0, False, 2), (0.5, 0.0, 0.0, True, 3),
        ):  # fmt: skip
            yield Sample(
                draw(size), draw(size), draw(size), draw.positive(size),
                np.asarray(steps, draw.dtype), draw.positive(), draw.positive(), beta1=beta1,
                beta2=beta2, eps=1e-4, weight_decay=decay, decoupled=decoupled,
            )  # fmt: skip
        for rates, decays, decoupled in (
            (draw.positive(size), None, False), (None, draw.positive(size), False),
            (draw.positive(size), None, True), (draw.positive(size), draw.positive(size), True),
        ):  # fmt: skip
            yield Sample(
                draw(size), draw(size), draw(size), draw.positive(size),
                np.asarray(3, draw.dtype), draw.positive(), draw.positive(), rates, decays,
                beta1=0.9, beta2=0.99, eps=1e-4, weight_decay=0.2, decoupled=decoupled,
            )  # fmt: skip


def _adam_reference(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array, rates: Any = None,
    decays: Any = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
    decoupled: bool,
) -> Any:  # fmt: skip
    t = t + 1
    g = scale * g
    lr = lr if rates is None else lr * rates
    decay = weight_decay if decays is None else decays
    if decoupled:
        p = p * (1 - lr * decay)
    else:
        g = g + decay * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, t


def _euclidean(draw: Draw) -> Iterator[Sample]:
    for shape in ((7,), (3, 4), (), (1,), (0,)):
        yield Sample(draw(*shape))


def _unlike(name: str) -> tuple[Refusal, ...]:
    return (
        Refusal(ShapeError, rf"{name}: expected one shape; got out \(4,\), x \(3,\)", D4, D4[:3]),
        Refusal(DTypeError, f"{name}: expected one dtype; got out float64, x float32", D4, F4),
    )


SCALAR = np.array(0.1)
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
ADAM = {"beta1": 0.9, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.0, "decoupled": False}

ROWS = (
    OpRow("assign", ops.assign, _assign, _assigned,
          refusals=(*_unlike("assign"),
                    Refusal(DTypeError, "assign: x expected a number that int64", I4, 0.5))),
    OpRow("accumulate", ops.accumulate, _pairs, np.add,
          refusals=(*_unlike("accumulate"),
                    Refusal(DTypeError, "accumulate: x expected a Tensor; got int", D4, 1))),
    OpRow("interpolate", ops.interpolate, lambda draw: _pairs(draw, weight=0.1),
          lambda out, x, weight: out + weight * (x - out),
          refusals=(
              Refusal(ShapeError, "interpolate: expected one shape", D4, D4[:3], weight=0.1),
              Refusal(DTypeError, "interpolate: out expected a floating", I4, I4, weight=0.1),
          )),
    OpRow(
        "sgd_update", ops.sgd_update, _sgd, _sgd_reference, left_out_by="scale",
        refusals=(
            Refusal(InputError, "sgd_update: expected velocity with momentum and None without; "
                    "got momentum 0.9 and velocity None", D4, D4, None, SCALAR, SCALAR, **SGD),
            Refusal(ShapeError, r"sgd_update: expected one shape; got p \(4,\), g \(3,\)", D4,
                    D4[:3], D4, SCALAR, SCALAR, **SGD),
            Refusal(ShapeError, r"sgd_update: lr expected shape \(\); got \(4,\)", D4, D4, D4, D4,
                    SCALAR, **SGD),
            Refusal(ShapeError, "sgd_update: p expected one axis", D23, D23, D23, SCALAR, SCALAR,
                    **SGD),
            Refusal(DTypeError, "sgd_update: lr expected a Tensor; got float", D4, D4, D4, 0.1,
                    SCALAR, **SGD),
        ),
    ),
    OpRow(
        "adam_update", ops.adam_update, _adam, _adam_reference, left_out_by="scale",
        refusals=(
            Refusal(ShapeError, "adam_update: expected one shape", D4, D4, D4[:3], D4, SCALAR,
                    SCALAR, SCALAR, **ADAM),
            Refusal(DTypeError, "adam_update: expected one dtype", D4, D4, D4, D4,
                    SCALAR.astype(np.float32), SCALAR, SCALAR, **ADAM),
        ),
        tolerance={"float32": 1e-4, "float64": 1e-10},
    ),
    OpRow("norm", ops.norm, _euclidean, lambda x: np.sqrt(np.sum(np.square(x))),
          refusals=(NOT_FLOATING,)),
)  # fmt: skip
