"""The error function and the normal distribution, which the array API standard does not have.

Rational approximations of W. J. Cody, "Rational Chebyshev approximations for the error function",
Math. Comp. 23 (1969), with the coefficients of his CALERF (netlib.org/specfun/erf): a quotient of
polynomials in x² up to |x| = 0.46875, and ``exp(-x²)`` times one in |x| beyond. Cody changes to a
third one at |x| = 4; the second goes on here, for it loses nothing that a number near 1 can hold.
"""

from __future__ import annotations

import math
from typing import Any

from flagstone.ops.checks import floating
from flagstone.ops.door import op
from flagstone.ops.elementwise import exp
from flagstone.tensors import Tensor

_NEAR = 0.46875  # up to here the first approximation holds

# Coefficients, that of the highest power first
_NEAR_TOP = (
    1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
    3.20937758913846947e3,
)  # fmt: skip
_NEAR_BOTTOM = (
    1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
    2.84423683343917062e3,
)  # fmt: skip
_FAR_TOP = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
    2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
    1.23033935479799725e3,
)  # fmt: skip
_FAR_BOTTOM = (
    1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
    1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
    1.23033935480374942e3,
)  # fmt: skip


@op
def erf(xp: Any, x: Any) -> Any:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t²)`` from 0 to ``x``.

    The relative error is below 1e-15 in float64 and below 4e-7 in float32.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    size = xp.abs(x)
    beyond = 1 - xp.exp(-x * x) * _far(xp, size)
    return xp.where(size < _NEAR, _near(xp, x, size), xp.sign(x) * beyond)


@erf.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * exp(-x * x) * (2.0 / math.sqrt(math.pi))


@op
def normal_cdf(xp: Any, x: Any) -> Any:
    """How likely a standard normal number is below ``x``: ``erfc(-x / sqrt(2)) / 2``.

    Small probabilities keep their digits, which ``(1 + erf) / 2`` would cancel: for ``x`` from -5
    on the relative error is below 5e-15 in float64 and 3e-6 in float32, at -8 it is 2e-12.

    Raises:
        DTypeError: ``x`` is not floating.
    """
    size = xp.abs(x) * math.sqrt(0.5)
    tail = 0.5 * xp.exp(-0.5 * x * x) * _far(xp, size)
    beyond = xp.where(x < 0, tail, 1 - tail)
    return xp.where(size < _NEAR, 0.5 + 0.5 * _near(xp, x * math.sqrt(0.5), size), beyond)


@normal_cdf.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))


for _op in (erf, normal_cdf):
    _op.check(lambda x, _name=_op.name: floating(_name, x=x))
del _op


def _near(xp: Any, x: Any, size: Any) -> Any:
    """erf where ``size = |x|`` is at most ``_NEAR``; beyond, some finite number."""
    x = xp.where(size < _NEAR, x, xp.zeros_like(x))
    square = x * x
    return x * (_polynomial(_NEAR_TOP, square) / _polynomial(_NEAR_BOTTOM, square))


def _far(xp: Any, size: Any) -> Any:
    """``exp(size²) * (1 - erf(size))`` from ``_NEAR`` on, where ``exp(-size²)`` is not yet 0."""
    size = xp.clip(size, None, 30.0)
    return _polynomial(_FAR_TOP, size) / _polynomial(_FAR_BOTTOM, size)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    """By Horner's rule, with the coefficient of the highest power first."""
    total = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * x + coefficient
    return total
