"""Batches that are picked, moved and standardised at once, against NumPy's indexing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from flagstone_numpy.kernels import standardized as kernel

SHAPES = [
    (5, 4, 6, 3),
    (700, 9, 8, 3),
    (60, 50, 64, 3),
    (9, 28, 28, 1),
    (4000, 40),
    (3, 5, 2, 2, 2),
]


def expected(x: Any, mean: Any, scale: Any, index: Any, rows: Any, columns: Any) -> Any:
    seen = x if index is None else x[index]
    for axis, numbers in ((1, rows), (2, columns)):
        if numbers is None:
            continue
        length = seen.shape[axis]
        padded = np.concatenate([seen, np.zeros_like(seen.take([0], axis))], axis)  # 0 at its end
        inside = (numbers >= 0) & (numbers < length)
        places = np.where(inside, numbers, length)
        seen = np.stack([one.take(at, axis - 1) for one, at in zip(padded, places, strict=True)])
    return (seen.astype(mean.dtype) - mean) * scale


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["uint8", "int64", "float32"])
def test_values(shape: tuple[int, ...], kind: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.random(shape) * 200).astype(kind)
    channels = shape[-1:]
    mean, scale = (rng.random(channels).astype(np.float32) + 0.5 for _ in range(2))
    n = shape[0]
    index = rng.integers(0, n, n + 3).astype("int32")
    for chosen, moves in itertools.product((None, index), ("", "r", "c", "rc")):
        count = n if chosen is None else len(chosen)
        if moves and len(shape) != 4:
            continue
        rows = rng.integers(-2, shape[1] + 2, (count, shape[1] + 1)) if "r" in moves else None
        columns = rng.integers(-2, shape[2] + 2, (count, shape[2] - 1)) if "c" in moves else None
        given = x, mean, scale, chosen, rows, columns
        found = kernel.standardized(*given)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected(*given))  # the same bits
        out = np.full_like(found, np.nan)
        kernel.standardized_into(out, *given)
        np.testing.assert_array_equal(out, found)


def test_statistics_of_several_axes_and_of_none() -> None:
    rng = np.random.default_rng(1)
    x = rng.random((6, 4, 5, 3))
    for shape in ((), (3,), (5, 3), (4, 5, 3)):
        mean, scale = rng.random(shape), rng.random(shape) + 1
        np.testing.assert_array_equal(
            kernel.standardized(x[::2, :, ::-1], mean, scale), (x[::2, :, ::-1] - mean) * scale
        )


def test_no_examples() -> None:
    x, one = np.zeros((4, 3, 3, 2), np.uint8), np.ones(2, np.float32)
    nothing = np.zeros(0, np.int64)
    assert kernel.standardized(x[:0], one, one).shape == (0, 3, 3, 2)
    assert kernel.standardized(x, one, one, nothing).shape == (0, 3, 3, 2)
    moved = kernel.standardized(x, one, one, nothing, np.zeros((0, 5), np.int64))
    assert moved.shape == (0, 5, 3, 2)
