"""Sums over rows, columns and the middle, split and not, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import reduce
from flagstone_cupy.launch import recording

RNG = np.random.default_rng(17)


@pytest.mark.covers("reduce.cu:sum_rows", "reduce.cu:sum_columns")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1,), 0), ((5000,), None), ((37, 130), 1), ((9, 3), 1), ((1000, 3), 0), ((70, 300), 0),
        ((3, 50, 7), 1), ((4, 5, 6, 7), (1, 3)), ((4, 5, 6), (0, 1)), ((2, 3), ()), ((300, 1), 0),
        ((0, 4), 0), ((4, 0), 1), ((1, 9000), 1),
    ],
)  # fmt: skip
def test_sums(card: Any, shape: Any, axis: Any, dtype: str) -> None:
    x = RNG.standard_normal(shape).astype(dtype)
    y = reduce.sum(x, axis=axis)
    expected = x.astype("float64").sum(axis)
    assert y.shape == expected.shape
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    kept = reduce.sum(x, axis=axis, keepdims=True)
    np.testing.assert_array_equal(kept, y.reshape(kept.shape))
    assert kept.ndim == x.ndim
    reduce.sum(np.ones((3, 2), dtype), axis=0)  # both kernels, whatever the case
    reduce.sum(np.ones((3, 2), dtype), axis=1)


@pytest.mark.covers("reduce.cu:sum_rows", "reduce.cu:sum_columns")
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64"])
def test_integers_are_summed_in_64_bits(card: Any, dtype: str) -> None:
    x = RNG.integers(0, 2 if dtype == "bool" else 120, (40, 50)).astype(dtype)
    for axis in (0, 1, None):
        y = reduce.sum(x, axis=axis)
        expected = x.sum(axis)
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected)


@pytest.mark.covers("reduce.cu:sum_columns")
def test_a_long_column_is_split(card: Any) -> None:
    x = RNG.standard_normal((20000, 2)).astype("float32")
    with recording() as launches:
        y = reduce.sum(x, axis=0)
    assert len(launches) > 1
    assert launches[0].grid[1] > 1
    np.testing.assert_allclose(y, x.astype("float64").sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.covers("reduce.cu:sum_rows", "reduce.cu:root_of_sum")
@pytest.mark.parametrize("n", [0, 1, 31, 257, 9001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm(card: Any, dtype: str, n: int) -> None:
    x = RNG.standard_normal(n).astype(dtype)
    y = reduce.norm(x)
    assert y.shape == ()
    np.testing.assert_allclose(y, np.linalg.norm(x.astype("float64")), rtol=1e-6)


def test_splits_come_from_the_shape_and_are_bounded() -> None:
    assert reduce.split(10**9, 64, 1) == reduce.MOST_SPLITS
    assert reduce.split(100, 64, 1) == 1
    assert reduce.split(10**9, 64, 5000) == 1
