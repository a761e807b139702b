"""Activation kernels: many blocks, the tail of the normal distribution, and choices by bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flagstone.ops import ALL_OPS
from flagstone_numpy.kernels import activation
from flagstone_numpy.kernels.activation import BLOCK

MANY = 2 * BLOCK + 3  # no multiple of a block
ONE = ("gelu_exact", "gelu_tanh", "mish", "sigmoid", "silu", "softplus")
TWO = ("gelu_exact_grad", "gelu_tanh_grad", "mish_grad", "silu_grad")


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_many_blocks_are_the_generic_form(name: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [4 * rng.standard_normal((MANY, 1)) for _ in range(2 if name in TWO else 1)]
    kept = [a.copy() for a in arrays]
    found = getattr(activation, name)(*arrays)
    expected = ALL_OPS[name].generic(np, *arrays)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    for a, before in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize(
    ("dtype", "allowed", "least"), [("float32", 3e-6, -12), ("float64", 2e-14, -37)]
)
def test_gelu_keeps_the_digits_of_small_probabilities(
    dtype: str, allowed: float, least: float
) -> None:
    x = np.concatenate([np.linspace(least, 8, 3001), -np.logspace(-30, 0, 200)]).astype(dtype)
    cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(float)])
    wide = x.astype(float)
    # exp(-x²/2) alone is wrong by x²/2 roundings
    rounding = float(np.finfo(dtype).eps) * wide**2
    found = activation.gelu_exact(x).astype(float)
    assert (np.abs(found - wide * cdf) <= (allowed + rounding) * np.abs(wide * cdf)).all()
    density = np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    slope = activation.gelu_exact_grad(np.ones_like(x), x).astype(float)
    size = cdf + np.abs(wide) * density
    assert (np.abs(slope - (cdf + wide * density)) <= (allowed + rounding) * size).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite(dtype: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan], dtype)
    ends = {
        "gelu_exact": [np.inf, 0, np.nan],
        "sigmoid": [1, 0, np.nan],
        "softplus": [np.inf, 0, np.nan],
    }
    for name, expected in ends.items():
        np.testing.assert_array_equal(getattr(activation, name)(x), expected, err_msg=name)


VALUES: dict[str, tuple[Any, Any]] = {
    "two arrays": (
        np.float32([1, -0.0, np.nan, np.inf, 3]), np.float32([-2, np.nan, 5, -np.inf, 0])
    ),
    "an array and 0": (np.float64([1, -0.0, np.nan, np.inf, 3]), 0.0),
    "an array and -0": (np.float32([1, -0.0, np.nan, np.inf, 3]), -0.0),
    "0 and an array": (0, np.float32([1, -0.0, np.nan, -np.inf, 3])),
    "a number and an array": (-0.5, np.float64([1, -0.0, np.nan, np.inf, 3])),
    "integers": (np.int16([1, -2, 3, 4, 5]), -7),
    "truth values": (np.array([True, False, True, True, False]), False),
    "a row": (np.float32([[1, 2, 3, 4, 5]]), 2.0),
}  # fmt: skip


@pytest.mark.parametrize("times", [1, 20_000])
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("steady", [False, True])
def test_where_is_numpys(kind: str, times: int, steady: bool) -> None:
    a, b = (np.tile(v, times) if isinstance(v, np.ndarray) else v for v in VALUES[kind])
    condition = np.random.default_rng(0).integers(0, 2, 5 * times).astype(bool)
    if steady:
        condition.sort()
    found, expected = activation.where(condition, a, b), np.where(condition, a, b)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    turned = activation.where(condition[::-1], a, b)
    np.testing.assert_array_equal(turned, np.where(condition[::-1], a, b))
