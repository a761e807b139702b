"""Rows by number and sums by number, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import gather

RNG = np.random.default_rng(29)


@pytest.mark.covers("gather.cu:take_rows")
@pytest.mark.parametrize("index_dtype", ["int32", "int64", "int16"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32", "int64", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (30,), (9, 3), (5, 300), (7, 4, 5, 3)])
def test_take_rows(card: Any, shape: Any, dtype: str, index_dtype: str) -> None:
    x = RNG.integers(0, 200, shape).astype(dtype)
    index = RNG.integers(0, shape[0], 700).astype(index_dtype)
    y = gather.take_rows(x, index)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, x[index])


@pytest.mark.covers("gather.cu:take_rows")
def test_a_number_out_of_range_gives_nan_or_0(card: Any) -> None:
    index = np.array([-1, 1, 3, 2**40])
    for dtype, bad in (("float32", np.nan), ("float64", np.nan), ("float16", np.nan), ("uint8", 0)):
        y = gather.take_rows(np.full((3, 2), 7, dtype), index)
        np.testing.assert_array_equal(y, [[bad] * 2, [7, 7], [bad] * 2, [bad] * 2])


@pytest.mark.covers("gather.cu:take_rows", "gather.cu:count_row")
def test_rows_of_a_table_one_after_another(card: Any) -> None:
    rows, row = RNG.standard_normal((3, 400)), np.empty((400,))
    number = gather.row_number()
    number[...] = 0
    for i in range(3):
        gather.feed(rows, number, row)
        gather.count_row(number)
        np.testing.assert_array_equal(row, rows[i])
    assert number.tolist() == [3]


@pytest.mark.covers("gather.cu:add_rows")
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "m", "width"), [(1, 1, 1), (19, 200, 40), (9, 33, 100), (4, 0, 3)]
)
def test_add_rows(card: Any, rows: int, m: int, width: int, dtype: str, index_dtype: str) -> None:
    g = RNG.standard_normal((m, width)).astype(dtype)
    index = RNG.integers(-1, rows + 1, m).astype(index_dtype)  # what is out of range is left out
    expected = np.zeros((rows, width))
    inside = (index >= 0) & (index < rows)
    np.add.at(expected, index[inside], g[inside].astype("float64"))
    y = gather.add_rows(g, index, rows=rows)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.covers("gather.cu:scatter_add")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis", "size"), [((40,), 0, 7), ((5, 9, 8), 1, 6), ((6, 50), -1, 3)]
)
def test_scatter_add(card: Any, shape: Any, axis: int, size: int, dtype: str) -> None:
    g = RNG.standard_normal(shape).astype(dtype)
    index = RNG.integers(0, size, shape)
    out = list(shape)
    out[axis] = size
    expected = np.zeros(out)
    for place in np.ndindex(*shape):
        to = list(place)
        to[axis] = index[place]
        expected[tuple(to)] += g[place]
    y = gather.scatter_add(g, index, axis=axis, size=size)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
