"""Rows of the op table: activations with gates, and the special functions below them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.gates import gelu_exact_grad, gelu_tanh_grad, mish_grad, silu_grad
from flagstone.testing.op_row import Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4, NOT_FLOATING, SHAPES, unary

WIDE = (-40.0, -9.0, -5.0, -0.47, -0.46, -1e-9, 0.0, 1e-9, 0.46, 0.47, 5.0, 9.0, 40.0)
ENDS = (-50.0, -4.0, -2.9, 0.0, 2.9, 4.0, 50.0)

_erf = np.vectorize(math.erf, otypes=[float])
_cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[float])


def _gelu(draw: Draw) -> Iterator[Sample]:
    for shape in SHAPES:
        yield Sample(draw(*shape))
        yield Sample(draw(*shape), approximate="tanh")


def _gelu_reference(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    return np.asarray(_gelu_tanh(x) if approximate == "tanh" else x * _cdf(x))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum(np.maximum(x + 3, 0), 6) / 6)


def _silu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * (1 + np.tanh(x / 2)) / 2)


def _normal(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-x * x / 2) / math.sqrt(2 * math.pi))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray((1 + np.tanh(x / 2)) / 2)


def _gelu_tanh_slope(x: np.ndarray) -> np.ndarray:
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return np.asarray(0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner)


def _mish_slope(x: np.ndarray) -> np.ndarray:
    t = np.tanh(np.logaddexp(0, x))
    return np.asarray(t + x * (1 - t * t) * _logistic(x))


def _gradient(op: Any, slope: Callable[[np.ndarray], np.ndarray]) -> OpRow:
    """``g`` times the slope at ``x``."""

    def samples(draw: Draw) -> Iterator[Sample]:
        for shape in SHAPES:
            yield Sample(draw(*shape), draw(*shape))

    return OpRow(
        op.name, op, samples, lambda g, x: g * slope(x), (0, 1),
        lambda draw: [Sample(draw(len(WIDE)), np.array(WIDE, draw.dtype))],
        (
            Refusal(ShapeError, rf"{op.name}: expected one shape; got g \(4,\), x \(3,\)", D4,
                    D4[:3]),
            Refusal(DTypeError, f"{op.name}: g expected a floating", I4, D4),
            Refusal(DTypeError, f"{op.name}: expected one dtype", D4, F4),
            Refusal(DTypeError, f"{op.name}: x expected a Tensor; got float", D4, 1.0),
        ),
    )  # fmt: skip


ROWS = (
    unary("erf", _erf, NOT_FLOATING, special=(*WIDE, math.inf, -math.inf, math.nan)),
    unary("normal_cdf", _cdf, NOT_FLOATING, special=(*WIDE, math.inf, -math.inf, math.nan)),
    OpRow(
        "gelu", ops.gelu, _gelu, _gelu_reference, (0,),
        lambda draw: [Sample(np.array(WIDE, draw.dtype))],
        (
            NOT_FLOATING,
            Refusal(InputError, "gelu: approximate expected 'none' or 'tanh'; got True", D4,
                    approximate=True),
            Refusal(DTypeError, "gelu: x expected a Tensor; got list", Raw([1.0])),
        ),
    ),
    unary("gelu_exact", lambda x: x * _cdf(x), NOT_FLOATING, special=WIDE),
    unary("gelu_tanh", _gelu_tanh, NOT_FLOATING, special=WIDE),
    unary("silu", _silu, NOT_FLOATING, special=WIDE),
    unary("mish", lambda x: x * np.tanh(np.logaddexp(0, x)), NOT_FLOATING, special=WIDE),
    _gradient(gelu_exact_grad, lambda x: _cdf(x) + x * _normal(x)),
    _gradient(gelu_tanh_grad, _gelu_tanh_slope),
    _gradient(silu_grad, lambda x: _logistic(x) * (1 + x * (1 - _logistic(x)))),
    _gradient(mish_grad, _mish_slope),
    unary("hard_sigmoid", _hard_sigmoid, NOT_FLOATING, special=ENDS),
    unary("hard_swish", lambda x: x * _hard_sigmoid(x), NOT_FLOATING, special=ENDS),
    unary(
        "selu",
        lambda x: 1.0507009873554805
        * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1)),
        NOT_FLOATING, special=ENDS,
    ),
)  # fmt: skip
