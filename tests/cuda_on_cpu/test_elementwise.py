"""Elementwise kernels against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import elementwise

RNG = np.random.default_rng(7)


@pytest.mark.covers("elementwise.cu:relu")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 255, 256, 1000])
def test_relu(card: Any, dtype: str, n: int) -> None:
    x = RNG.standard_normal(n).astype(dtype)
    x[0] = np.nan
    np.testing.assert_array_equal(elementwise.relu(x), np.maximum(x, 0))
