"""Sums by number: order, numbers out of range, and arrays longer than one round."""

from __future__ import annotations

import numpy as np
import pytest

from flagstone_numpy.kernels import scatter


def one_after_another(g: np.ndarray, index: np.ndarray, rows: int) -> np.ndarray:
    out = np.zeros((rows, *g.shape[1:]), g.dtype)
    for row, number in zip(g, index, strict=True):
        out[number] += row
    return out


@pytest.mark.parametrize("shape", [(3000, 40), (70_000,), (5, 2, 40_000), (4, 0, 3)])
def test_rows_are_added_in_order(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    g = rng.standard_normal(shape).astype(np.float32)
    rows = scatter.FEW + 6
    index = rng.integers(0, rows, shape[0]).astype(np.uint8)
    found = scatter.add_rows(g, index, rows=rows)
    np.testing.assert_array_equal(found, one_after_another(g, index, rows))  # the same bits


@pytest.mark.parametrize("shape", [(3000, 40), (5000, 2, 3), (1, 7), (0, 4), (300, 300)])
@pytest.mark.parametrize("kind", ["int64", "uint8", "int16"])
def test_few_rows_are_a_product(shape: tuple[int, ...], kind: str) -> None:
    rng = np.random.default_rng(0)
    g = rng.standard_normal(shape)
    for rows in (1, 5, scatter.FEW):
        index = rng.integers(0, rows, shape[0]).astype(kind)
        found = scatter.add_rows(g, index, rows=rows)
        np.testing.assert_allclose(found, one_after_another(g, index, rows), atol=1e-10)


def test_what_is_not_finite_stays_in_its_row() -> None:
    g = np.ones((40, 8), np.float32)
    g[3, 2], g[7, 1] = np.nan, np.inf
    index = np.arange(40) % 5
    found = scatter.add_rows(g, index, rows=5)
    np.testing.assert_array_equal(found, one_after_another(g, index, 5))
    assert np.isfinite(found[[0, 1, 4]]).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_numbers_out_of_range_are_left_out(axis: int) -> None:
    rng = np.random.default_rng(0)
    g = rng.standard_normal((3, 4, 5))
    index = rng.integers(-2, 6, g.shape)
    expected = np.zeros([4 if a == axis % 3 else n for a, n in enumerate(g.shape)])
    for place in np.ndindex(g.shape):
        target = list(place)
        target[axis % 3] = int(index[place])
        if 0 <= target[axis % 3] < 4:
            expected[tuple(target)] += g[place]
    np.testing.assert_array_equal(scatter.scatter_add(g, index, axis=axis, size=4), expected)
