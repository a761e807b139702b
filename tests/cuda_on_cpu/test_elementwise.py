"""Elementwise kernels over several blocks against the ops' generic forms in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone.ops import ALL_OPS
from flagstone_cupy.kernels import elementwise

RNG = np.random.default_rng(7)
STATIC = {"leaky_relu": {"slope": 0.1}, "elu": {"alpha": 1.3}}
NAMES = [
    "relu", "leaky_relu", "elu", "sigmoid", "softplus", "silu", "gelu_exact", "gelu_tanh", "mish",
    "hard_swish",
]  # fmt: skip


@pytest.mark.covers("elementwise.cu:activation")
@pytest.mark.parametrize("n", [1, 1023, 1024, 2500])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_activations(card: Any, name: str, dtype: str, n: int) -> None:
    x = (RNG.standard_normal(n) * 8).astype(dtype)
    static = STATIC.get(name, {})
    y = getattr(elementwise, name)(x, **static)
    expected = ALL_OPS[name].generic(np, x.astype("float64"), **static)
    tolerance = 3e-6 if dtype == "float32" else 1e-12
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.covers("elementwise.cu:activation")
@pytest.mark.parametrize("name", NAMES)
def test_activations_of_extreme_numbers(card: Any, name: str) -> None:
    x = np.array([0.0, -0.0, 100.0, -100.0, 1e30, -1e30, np.nan], "float32")
    y = getattr(elementwise, name)(x, **STATIC.get(name, {}))
    with np.errstate(over="ignore", invalid="ignore"):
        expected = ALL_OPS[name].generic(np, x.astype("float64"), **STATIC.get(name, {}))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(y[finite], expected[finite], rtol=1e-5, atol=1e-30)
    assert np.isnan(y[-1])


@pytest.mark.covers("elementwise.cu:relu_grad")
@pytest.mark.parametrize("n", [1, 1025, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relu_grad(card: Any, dtype: str, n: int) -> None:
    g, kept = RNG.standard_normal((2, n)).astype(dtype)
    kept[0] = 0
    np.testing.assert_array_equal(elementwise.relu_grad(g, kept), np.where(kept > 0, g, 0))
