"""Products and running sums against PyTorch, zeros among the factors included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import ops
from flagstone.backend import Backend
from flagstone.tensors import Tensor
from flagstone.testing import gradcheck

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def compare(ours: Any, theirs: Any, x: np.ndarray, backend: Backend) -> None:
    here = Tensor(backend.asarray(x), backend, requires_grad=True)
    there = torch.tensor(x, requires_grad=True)
    y, expected = ours(here), theirs(there)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape), x.dtype)
    y.backward(Tensor(backend.asarray(dy), backend))
    expected.backward(torch.tensor(dy))
    tolerance = 1e-5 if x.dtype == np.float32 else 1e-12
    assert here.grad is not None
    for found, wanted in ((y, expected.detach()), (here.grad, there.grad)):
        assert found.dtype_name == str(x.dtype)
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=tolerance, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_prod(seed: int, dtype: str, backend: Backend) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 8, 1 + seed % 3))
    x = rng.standard_normal(shape).astype(dtype)
    x[rng.random(shape) < 0.2] = 0.0  # one zero leaves a gradient, two leave none
    axis, keepdims = int(rng.integers(-len(shape), len(shape))), bool(seed % 2)
    compare(
        lambda x: ops.prod(x, axis=axis, keepdims=keepdims),
        lambda x: torch.prod(x, axis, keepdim=keepdims), x, backend,
    )  # fmt: skip
    compare(ops.prod, torch.prod, x, backend)


def test_the_second_derivative_of_a_product_with_zeros(backend: Backend) -> None:
    x = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0]])
    gradcheck(lambda x: ops.prod(x, axis=1), [x], order=2, device=backend)


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_cumsum(seed: int, dtype: str, backend: Backend) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 20, 1 + seed % 3))
    x = rng.standard_normal(shape).astype(dtype)
    axis = int(rng.integers(-len(shape), len(shape)))
    compare(lambda x: ops.cumsum(x, axis=axis), lambda x: torch.cumsum(x, axis), x, backend)
    compare(
        lambda x: ops.cumsum(x, axis=axis, reverse=True),
        lambda x: torch.flip(torch.cumsum(torch.flip(x, (axis,)), axis), (axis,)), x, backend,
    )  # fmt: skip


def test_integers_are_added_and_multiplied_in_64_bits(backend: Backend) -> None:
    x = Tensor(backend.asarray(np.full(9, 200, np.uint8)), backend)
    assert ops.cumsum(x, axis=0).numpy()[-1] == 1800
    assert ops.cumsum(x, axis=0).dtype_name == "uint64"
    small = Tensor(backend.asarray(np.full(15, -16, np.int8)), backend)
    assert int(ops.prod(small).numpy()) == -(2**60)
    assert ops.prod(small).dtype_name == "int64"


def test_a_long_running_sum_of_float32_rounds_little(backend: Backend) -> None:
    x = np.random.default_rng(0).random(100_000).astype(np.float32)
    exact = np.cumsum(x, dtype=np.float64)
    found = ops.cumsum(Tensor(backend.asarray(x), backend), axis=0).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    one_after_another = np.abs(np.cumsum(x) - exact).max()
    assert one_after_another > 5 * np.abs(found - exact).max()
