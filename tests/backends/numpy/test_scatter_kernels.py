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
    index = rng.integers(0, 7, shape[0]).astype(np.uint8)
    found = scatter.add_rows(g, index, rows=7)
    np.testing.assert_array_equal(found, one_after_another(g, index, 7))  # the same bits


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
