"""Rows of the op table: activations with gates, and the special functions below them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError
from flagstone.testing.op_row import Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, NOT_FLOATING, SHAPES, unary

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
    unary("hard_sigmoid", _hard_sigmoid, NOT_FLOATING, special=ENDS),
    unary("hard_swish", lambda x: x * _hard_sigmoid(x), NOT_FLOATING, special=ENDS),
    unary(
        "selu",
        lambda x: 1.0507009873554805
        * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1)),
        NOT_FLOATING, special=ENDS,
    ),
)  # fmt: skip
