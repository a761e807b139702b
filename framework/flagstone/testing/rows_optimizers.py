"""Rows of the op table: optimizers beyond SGD and Adam, and what goes around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing import update_references as reference
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4

D23, D32 = np.ones((2, 3)), np.ones((3, 2))
SCALAR = np.asarray(0.1)
SIZES = (7, 1, 0)


def _samples(
    states: str, scalars: str, *statics: dict[str, Any], rates: bool = True
) -> Callable[[Draw], Iterator[Sample]]:
    """Samples of an update: p, g, then for each letter of ``states`` an array like them (``+`` of
    positive values, ``-`` of any), for each of ``scalars`` a number (``t`` a count of steps)."""

    def samples(draw: Draw) -> Iterator[Sample]:
        for number, static in enumerate(statics):
            for size in SIZES:
                for own_rates, own_decays in ((False, False), (rates, False), (rates, True)):
                    kept = [draw.positive(size) if s == "+" else draw(size) for s in states]
                    counts = [
                        np.asarray(3 * number, draw.dtype) if s == "t" else _small(draw)
                        for s in scalars
                    ]
                    differing = [draw.positive(size) if own_rates else None] if rates else []
                    differing.append(draw.positive(size) if own_decays else None)
                    yield Sample(
                        draw(size), draw(size), *kept, *counts, *differing, **static
                    )  # fmt: skip

    return samples


def _small(draw: Draw) -> Array:
    return np.asarray(0.3 * draw.positive(), draw.dtype)


def _rmsprop_samples(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for centred in (False, True):
            for momentum in (0.0, 0.8):
                for differing in (False, True):
                    m = draw(size) * 0.1 if centred else None
                    velocity = draw(size) if momentum else None
                    yield Sample(
                        draw(size), draw(size), draw.positive(size), m, velocity,
                        draw.positive(), draw.positive(),
                        *(draw.positive(size) if differing else None for _ in range(2)),
                        alpha=0.9, eps=1e-3, weight_decay=0.1, momentum=momentum,
                    )  # fmt: skip


def _rmsprop_rounded(draw: Draw) -> Iterator[Sample]:
    """Variances that rounding makes negative: the square of the mean is the larger one."""
    none = (None, None)
    yield Sample(
        draw(3), np.asarray([0.1, 0.2, 0.3], draw.dtype), np.zeros(3, draw.dtype),
        np.asarray([1.0, 2.0, 3.0], draw.dtype), None, SCALAR.astype(draw.dtype),
        SCALAR.astype(draw.dtype), *none, alpha=0.9, eps=0.5, weight_decay=0.0, momentum=0.0,
    )  # fmt: skip


def _trust_samples(draw: Draw) -> Iterator[Sample]:
    for shape in ((7,), (3, 4), (2, 3, 2), (1,), (0,)):
        for rate in (1.0, 0.3):
            yield Sample(draw(*shape), draw(*shape), draw.positive(), rate=rate)
    zero = np.zeros(3, draw.dtype)
    yield Sample(zero, draw(3), draw.positive())
    yield Sample(draw(3), zero, draw.positive())


def _momentum_samples(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for nesterov in (False, True):
            arrays = (draw(size), draw(size), draw(size), draw.positive())
            yield Sample(*arrays, momentum=0.9, nesterov=nesterov)


def _muon_samples(draw: Draw) -> Iterator[Sample]:
    for shape in ((4, 3), (3, 4), (5, 5), (1, 1), (1, 6), (6, 1), (0, 3), (3, 0)):
        for steps, decay in ((5, 0.0), (2, 0.1)):
            yield Sample(
                draw(*shape), draw(*shape), draw.positive(), steps=steps, weight_decay=decay,
                coefficients=(3.4445, -4.775, 2.0315), eps=1e-7, adjustment=1.5, rate=0.5,
            )  # fmt: skip
    yield Sample(draw(2, 2), np.zeros((2, 2), draw.dtype), draw.positive(), **MUON)


def _limit_samples(draw: Draw) -> Iterator[Sample]:
    for shape in ((7,), (3, 4), (), (1,), (0,)):
        yield Sample(draw(*shape), draw.positive())
    yield Sample(np.asarray([np.inf, -np.inf, np.nan, 0.0], draw.dtype), draw.positive())


def _lookahead_samples(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for t in (0, 1, 2):
            yield Sample(draw(size), draw(size), np.asarray(t, draw.dtype), k=3, alpha=0.3)


def _average_samples(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for t in (0, 1, 5):
            yield Sample(draw(size), draw(size), np.asarray(t, draw.dtype), decay=0.9)


ADAM: dict[str, Any] = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-4, "weight_decay": 0.1}
FAST: dict[str, Any] = {"beta1": 0.0, "beta2": 0.6, "eps": 1e-3, "weight_decay": 0.0}
MUON: dict[str, Any] = {
    "coefficients": (2.0, -1.5, 0.5), "steps": 1, "eps": 1e-7, "weight_decay": 0.0,
    "adjustment": 1.0,
}  # fmt: skip
RMSPROP: dict[str, Any] = {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.0, "momentum": 0.9}
WIDE = {"float32": 2e-4, "float64": 1e-10}  # quotients of differences: roundings grow


def _without(name: str) -> dict[str, Any]:
    return {k: v for k, v in ADAM.items() if k != name}


ROWS = (
    OpRow(
        "nadam_update", ops.nadam_update,
        _samples(
            "-+", "tsss", {**ADAM, "decoupled": False, "momentum_decay": 0.1},
            {**ADAM, "decoupled": True, "momentum_decay": 4e-3},
            {**FAST, "decoupled": False, "momentum_decay": 0.0},
        ),
        reference.nadam, tolerance=WIDE,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, r"nadam_update: expected one shape; got p \(4,\), g \(3,\)", D4,
                    D4[:3], D4, D4, SCALAR, SCALAR, SCALAR, SCALAR, **ADAM, decoupled=False,
                    momentum_decay=0.0),
            Refusal(ShapeError, r"nadam_update: product expected shape \(\); got \(4,\)", D4, D4,
                    D4, D4, SCALAR, D4, SCALAR, SCALAR, **ADAM, decoupled=False,
                    momentum_decay=0.0),
        ),
    ),
    OpRow(
        "radam_update", ops.radam_update,
        _samples(
            "-+", "tss", {**ADAM, "decoupled": False}, {**ADAM, "decoupled": True},
            {**ADAM, "decoupled": False}, {**FAST, "decoupled": False},
        ),
        reference.radam, tolerance=WIDE,
        left_out_by="scale",
        refusals=(
            Refusal(DTypeError, "radam_update: expected one dtype", D4, D4, D4, D4,
                    SCALAR.astype(np.float32), SCALAR, SCALAR, **ADAM, decoupled=False),
            Refusal(ShapeError, r"radam_update: expected one shape; got .* rates \(3,\)", D4, D4,
                    D4, D4, SCALAR, SCALAR, SCALAR, D4[:3], **ADAM, decoupled=False),
        ),
    ),
    OpRow(
        "adamax_update", ops.adamax_update, _samples("-+", "tss", ADAM, FAST), reference.adamax,
        tolerance=WIDE,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, "adamax_update: p expected one axis", D23, D23, D23, D23, SCALAR,
                    SCALAR, SCALAR, **ADAM),
        ),
    ),
    OpRow(
        "rmsprop_update", ops.rmsprop_update, _rmsprop_samples, reference.rmsprop,
        value_samples=_rmsprop_rounded, tolerance=WIDE,
        left_out_by="scale",
        refusals=(
            Refusal(InputError, "rmsprop_update: expected velocity with momentum and None without; "
                    "got momentum 0.9 and velocity None", D4, D4, D4, None, None, SCALAR, SCALAR,
                    **RMSPROP),
            Refusal(ShapeError, r"rmsprop_update: expected one shape; got .* m \(3,\)", D4, D4, D4,
                    D4[:3], D4, SCALAR, SCALAR, **RMSPROP),
        ),
    ),
    OpRow(
        "adagrad_update", ops.adagrad_update,
        _samples(
            "+", "tss", {"lr_decay": 0.0, "eps": 1e-4, "weight_decay": 0.0},
            {"lr_decay": 0.2, "eps": 1e-4, "weight_decay": 0.1},
        ),
        reference.adagrad,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, r"adagrad_update: t expected shape \(\); got \(4,\)", D4, D4, D4,
                    D4, SCALAR, SCALAR, lr_decay=0.0, eps=1e-4, weight_decay=0.0),
        ),
    ),
    OpRow(
        "adadelta_update", ops.adadelta_update,
        _samples(
            "++", "ss", {"rho": 0.9, "eps": 1e-4, "weight_decay": 0.1},
            {"rho": 0.0, "eps": 1e-2, "weight_decay": 0.0},
        ),
        reference.adadelta,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, r"adadelta_update: expected one shape; got .* moved \(3,\)", D4,
                    D4, D4, D4[:3], SCALAR, SCALAR, rho=0.9, eps=1e-4, weight_decay=0.0),
        ),
    ),
    OpRow(
        "lion_update", ops.lion_update,
        _samples("-", "ss", _without("eps"), {"beta1": 0.0, "beta2": 0.0, "weight_decay": 0.0}),
        reference.lion,
        left_out_by="scale",
        refusals=(
            Refusal(DTypeError, "lion_update: lr expected a Tensor; got float", D4, D4, D4, 0.1,
                    SCALAR, **_without("eps")),
        ),
    ),
    OpRow(
        "lamb_direction", ops.lamb_direction,
        _samples("-+-", "ts", ADAM, FAST, rates=False), reference.lamb, tolerance=WIDE,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, r"lamb_direction: expected one shape; got .* direction \(3,\)", D4,
                    D4, D4, D4, D4[:3], SCALAR, SCALAR, **ADAM),
        ),
    ),
    OpRow(
        "trust_update", ops.trust_update, _trust_samples, reference.trust,
        left_out_by="factor",
        refusals=(
            Refusal(ShapeError, r"trust_update: expected one shape; got p \(2, 3\), direction",
                    D23, D32, SCALAR),
            Refusal(ShapeError, r"trust_update: lr expected shape \(\); got \(4,\)", D4, D4, D4),
        ),
    ),
    OpRow(
        "momentum_direction", ops.momentum_direction, _momentum_samples, reference.momentum,
        left_out_by="scale",
        refusals=(
            Refusal(ShapeError, r"momentum_direction: scale expected shape \(\); got \(4,\)", D4,
                    D4, D4, D4, momentum=0.9, nesterov=True),
        ),
    ),
    OpRow(
        "muon_update", ops.muon_update, _muon_samples, reference.muon,
        tolerance={"float32": 1e-3, "float64": 1e-9},
        left_out_by="factor",
        refusals=(
            Refusal(ShapeError, r"muon_update: p expected two axes, .*; got shape \(4,\)", D4, D4,
                    SCALAR, **MUON),
            Refusal(ShapeError, "muon_update: expected one shape", D23, D32, SCALAR, **MUON),
        ),
    ),
    OpRow(
        "limit", ops.limit, _limit_samples, lambda x, bound: np.clip(x, -bound, bound),
        refusals=(
            Refusal(ShapeError, r"limit: bound expected shape \(\); got \(4,\)", D4, D4),
        ),
    ),
    OpRow(
        "lookahead_update", ops.lookahead_update, _lookahead_samples, reference.lookahead,
        left_out_by="factor",
        refusals=(
            Refusal(ShapeError, "lookahead_update: expected one shape", D4, D4[:3], SCALAR, k=3,
                    alpha=0.5),
        ),
    ),
    OpRow(
        "average_update", ops.average_update, _average_samples, reference.average,
        left_out_by="factor",
        refusals=(
            Refusal(DTypeError, "average_update: expected one dtype", D4,
                    D4.astype(np.float32), SCALAR, decay=0.9),
        ),
    ),
)  # fmt: skip
