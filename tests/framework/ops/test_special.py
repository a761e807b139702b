"""How exact erf and the normal distribution function are, and what gates make of the tails."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flagstone import ops
from flagstone.backend import Backend
from flagstone.tensors import Tensor

FINE = np.concatenate([
    np.linspace(-6, 6, 40001), np.logspace(-300, 0, 500), [0.46875, -0.46875],
    np.nextafter([0.46875, -0.46875], 1), [-30.0, 30.0, 1e4, -1e4],
])  # fmt: skip


def values(op: ops.Op, x: np.ndarray, backend: Backend) -> np.ndarray:
    with np.errstate(under="ignore", over="ignore"):  # exp(-x²) of the far ends is 0
        return np.asarray(op(Tensor(backend.asarray(x), backend)).numpy(), np.float64)


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(float).tiny)))


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-15), ("float32", 4e-7)])
def test_erf_is_as_exact_as_it_says(backend: Backend, dtype: str, bound: float) -> None:
    x = FINE.astype(dtype)
    x = x[(x == 0) | (np.abs(x) >= np.finfo(dtype).tiny)]
    exact = np.array([math.erf(float(v)) for v in x])
    assert relative_error(values(ops.erf, x, backend), exact) < bound


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 5e-15), ("float32", 3e-6)])
def test_the_normal_distribution_function_is_as_exact_as_it_says(
    backend: Backend, dtype: str, bound: float
) -> None:
    x = FINE.astype(dtype)
    x = x[x >= -5]
    exact = np.array([0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x])
    assert relative_error(values(ops.normal_cdf, x, backend), exact) < bound


def test_the_far_tail_of_the_normal_distribution(backend: Backend) -> None:
    x = np.linspace(-8, -5, 1001)
    exact = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    assert relative_error(values(ops.normal_cdf, x, backend), exact) < 2e-12


def test_small_values_of_gelu_keep_their_digits(backend: Backend) -> None:
    x = np.linspace(-5, -3, 101).astype(np.float32)
    exact = np.array([float(v) * 0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x])
    assert relative_error(values(ops.gelu_exact, x, backend), exact) < 4e-6
    half = 0.5 * x * (1 + values(ops.erf, x / np.float32(math.sqrt(2)), backend).astype(np.float32))
    assert relative_error(half.astype(float), exact) > 1e-3  # what 1 + erf would have left


@pytest.mark.parametrize("name", ["gelu_exact", "gelu_tanh", "silu", "mish", "hard_swish"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_ends_are_0_or_x_and_so_are_their_slopes(
    name: str, dtype: str, backend: Backend
) -> None:
    far = 1e4  # where exp overflows in either dtype
    x = Tensor(backend.asarray(np.array([-far, far], dtype)), backend, requires_grad=True)
    with np.errstate(under="ignore"):
        y = getattr(ops, name)(x)
        y.sum().backward()
    np.testing.assert_array_equal(y.numpy(), [0.0, far])
    assert x.grad is not None
    slope = x.grad.numpy()
    assert slope[0] == 0.0
    np.testing.assert_array_max_ulp(slope[1], np.ones((), dtype))
