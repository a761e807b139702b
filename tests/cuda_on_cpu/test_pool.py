"""Pooling over several blocks and images, ragged and padded, against loops in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import pool

RNG = np.random.default_rng(13)
CASES = [  # size, channels, kernel, stride, padding
    ((9,), 70, (3,), (2,), ((1, 1),)),
    ((7, 9), 5, (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((8, 7), 40, (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((6, 5), 3, (3, 2), (1, 1), ((1, 0), (0, 1))),
    ((4, 5, 3), 7, (2, 3, 2), (2, 1, 1), ((0, 1), (1, 1), (0, 0))),
    ((20, 17), 1, (16, 17), (2, 1), ((0, 0), (0, 0))),  # places beyond a byte
]


def windows(size: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    """For each output position, the tap numbers and input positions of its window."""
    out = [
        (n + lo + hi - k) // s + 1
        for n, k, s, (lo, hi) in zip(size, kernel, stride, padding, strict=True)
    ]
    for position in itertools.product(*map(range, out)):
        found = []
        for number, tap in enumerate(itertools.product(*map(range, kernel))):
            axes = zip(position, stride, padding, tap, strict=True)
            at = tuple(p * s - lo + t for p, s, (lo, _), t in axes)
            if all(0 <= a < n for a, n in zip(at, size, strict=True)):
                found.append((number, at))
        yield position, found


def positions(size: Any, kernel: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    last = [position for position, _ in windows(size, kernel, stride, padding)][-1]
    return tuple(p + 1 for p in last)


@pytest.mark.covers("pool.cu:max_pool", "pool.cu:max_pool_grad", "pool.cu:max_pool_pick")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "channels", "kernel", "stride", "padding"), CASES)
def test_max_pool(
    card: Any, size: Any, channels: int, kernel: Any, stride: Any, padding: Any, dtype: str
) -> None:
    how = {"kernel": kernel, "stride": stride, "padding": padding}
    x = RNG.integers(-9, 9, (3, *size, channels)).astype(dtype)  # with equal maxima
    x[0, ..., 0] = -np.inf
    x.reshape(-1)[-3] = np.nan
    out = (3, *positions(size, **how), channels)
    y, index = np.zeros(out, dtype), np.zeros(out, "int64")
    g, other = RNG.standard_normal(out), RNG.standard_normal(x.shape).astype(dtype)
    dx, picked = np.zeros(x.shape), np.zeros(out, dtype)
    for n, c in itertools.product(range(3), range(channels)):
        for position, taps in windows(size, **how):
            best, place = -np.inf, 0
            for number, at in taps:
                here = x[(n, *at, c)]
                if here > best or (np.isnan(here) and not np.isnan(best)):
                    best, place = here, number
            to = (n, *position, c)
            y[to], index[to] = best, place
            for number, at in taps:
                if number == place:
                    dx[(n, *at, c)] += g.astype(dtype)[to]
                    picked[to] = other[(n, *at, c)]
    given_y, given_index = pool.max_pool(x, **how)
    assert given_index.dtype == ("uint8" if math.prod(kernel) <= 255 else "int32")
    np.testing.assert_array_equal(given_y, y)
    np.testing.assert_array_equal(given_index, index)
    given = pool.max_pool_grad(g.astype(dtype), given_index, size=size, **how)
    np.testing.assert_allclose(given, dx, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pool.max_pool_pick(other, given_index, **how), picked)


@pytest.mark.covers("pool.cu:avg_pool", "pool.cu:avg_pool_grad")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(("size", "channels", "kernel", "stride", "padding"), CASES)
def test_avg_pool(
    card: Any, size: Any, channels: int, kernel: Any, stride: Any, padding: Any,
    count_include_pad: bool, dtype: str,
) -> None:  # fmt: skip
    how = {"kernel": kernel, "stride": stride, "padding": padding}
    x = RNG.standard_normal((2, *size, channels)).astype(dtype)
    out = (2, *positions(size, **how), channels)
    y, dx, g = np.zeros(out), np.zeros(x.shape), RNG.standard_normal(out).astype(dtype)
    for position, taps in windows(size, **how):
        count = math.prod(kernel) if count_include_pad else len(taps)
        for _, at in taps:
            y[(slice(None), *position)] += x[(slice(None), *at)].astype("float64") / count
            dx[(slice(None), *at)] += g[(slice(None), *position)].astype("float64") / count
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    given = pool.avg_pool(x, count_include_pad=count_include_pad, **how)
    np.testing.assert_allclose(given, y, rtol=tolerance, atol=tolerance)
    given = pool.avg_pool_grad(g, size=size, count_include_pad=count_include_pad, **how)
    np.testing.assert_allclose(given, dx, rtol=tolerance, atol=tolerance)


@pytest.mark.covers("pool.cu:max_pool")
def test_more_images_than_a_grid_has_rows(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_BLOCKS", (2**31 - 1, 2, 2))
    x = RNG.standard_normal((5, 4, 1)).astype("float32")
    y, _ = pool.max_pool(x, kernel=(2,), stride=(2,), padding=((0, 0),))
    np.testing.assert_array_equal(y, x.reshape(5, 2, 2, 1).max(2))


def test_an_image_too_large_for_its_numbers_is_declined(card: Any) -> None:
    x = np.broadcast_to(np.zeros((1, 1, 1), "float32"), (1, 2**30, 2))
    assert pool.max_pool(x, kernel=(2,), stride=(2,), padding=((0, 0),)) is NotImplemented
