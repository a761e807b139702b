"""Compiled normalisation against NumPy's kernels in float64, which are held to references in the op
table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

from flagstone_numba.kernels import batch_norm, norm
from flagstone_numpy import threads
from flagstone_numpy.kernels import axis_norm as numpys
from flagstone_numpy.kernels import norm as batches

TOLERANCE = {"float32": 5e-5, "float64": 1e-12}
CASES = [
    ((600, 64), (1,), (64,)),
    ((40, 31, 33), (1, 2), (31, 33)),
    ((9, 28, 28, 8), (1, 2), (8,)),
    ((5, 20, 17, 4, 7), (1, 2, 4), (4, 7)),
]


def agree(got: Any, want: Any, dtype: str) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(b).max()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("shape", "axis", "parameters"), CASES, ids=str)
def test_normalisation(
    shape: Any, axis: Any, parameters: Any, affine: bool, dtype: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(norm, "LEAST", 0)
    rng = np.random.default_rng(1)
    x, g = rng.standard_normal((2, *shape)) * 2 + 1
    w, b = rng.standard_normal((2, *parameters)) if affine else (None, None)
    cast: list[Any] = [None if a is None else a.astype(dtype) for a in (x, w, b, g)]
    exact: list[Any] = [None if a is None else a.astype("float64") for a in cast]
    want = numpys.axis_norm(*exact[:3], axis=axis, eps=0.1)
    got = norm.axis_norm(*cast[:3], axis=axis, eps=0.1)
    agree(got, want, dtype)
    mean, var = want[1:]
    want = numpys.axis_norm_grad(exact[3], exact[0], mean, var, exact[1], axis=axis, eps=0.1)
    got = norm.axis_norm_grad(cast[3], cast[0], *got[1:], cast[1], axis=axis, eps=0.1)
    agree(got, want, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(900, 70), (31, 14, 14, 33)], ids=str)
def test_batch_normalisation(shape: Any, dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, g = (rng.standard_normal((2, *shape)) * 2 + 1).astype(dtype)
    w, b = rng.standard_normal((2, shape[-1])).astype(dtype)
    exact = [a.astype("float64") for a in (x, w, b, g)]
    want = batches.batch_norm(*exact[:3], eps=0.1)
    got = batch_norm.batch_norm(x, w, b, eps=0.1)
    agree(got, want, dtype)
    active = batch_norm.batch_norm_relu(x, w, b, eps=0.1)
    np.testing.assert_array_equal(active[0], np.maximum(got[0], 0))
    wanted = batches.batch_norm_grad(exact[3], exact[0], *want[1:], exact[1], eps=0.1)
    given = batch_norm.batch_norm_grad(g, x, *got[1:], w, eps=0.1)
    agree(given, wanted, dtype)
    for into, kernel, arrays, found in (
        (batch_norm.batch_norm.into, batch_norm.batch_norm, (x, w, b), got),
        (batch_norm.batch_norm_grad.into, None, (g, x, *got[1:], w), given),
        (batch_norm.batch_norm.into, None, (x[:2], w, b), None),
    ):
        made = tuple(np.empty_like(a) for a in (arrays[0], *got[1:]))
        into(made, *arrays, eps=0.1)
        if kernel or found:
            for a, c in zip(made, found, strict=True):
                np.testing.assert_array_equal(a, c)
        else:
            agree(made, batches.batch_norm(*arrays, eps=0.1), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [True, False])
def test_normalisation_by_mean_squares(affine: bool, dtype: str) -> None:
    """Against the formula and its derivative, written out."""
    rng = np.random.default_rng(5)
    x, g = rng.standard_normal((2, 30, 40, 33)).astype(dtype)
    w = rng.standard_normal((40, 33)).astype(dtype) if affine else None
    wide, over = np.ones((40, 33)) if w is None else w.astype("float64"), (1, 2)
    exact, slope = x.astype("float64"), g.astype("float64")
    square = (exact**2).mean(over, keepdims=True)
    root = np.sqrt(square + 0.1)
    got = norm.axis_rms_norm(x, w, axis=over, eps=0.1)
    agree(got, (exact / root * wide, square), dtype)
    along = (slope * wide * exact).mean(over, keepdims=True)
    d_x = slope * wide / root - exact * along / root**3
    d_w = (slope * exact / root).sum(0)
    given = norm.axis_rms_norm_grad(g, x, got[1], w, axis=over, eps=0.1)
    agree(given, (d_x, d_w if affine else np.asarray(d_w.sum())), dtype)


def test_gradients_are_the_same_bits_for_any_number_of_threads(monkeypatch: Any) -> None:
    x, g = np.random.default_rng(2).standard_normal((2, 4000, 64)).astype("float32")
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        found.append(norm.axis_norm_grad(g, x, mean, var, g[0], axis=(1,), eps=0.1))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_batch_statistics_are_the_same_bits_for_any_number_of_threads(monkeypatch: Any) -> None:
    x, g = np.random.default_rng(6).standard_normal((2, 4000, 64)).astype("float32")
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "count", lambda count=count: count)
        y, mean, var = batch_norm.batch_norm(x, g[0], g[1], eps=0.1)
        more = batch_norm.batch_norm_grad(g, x, mean, var, g[0], eps=0.1)
        rms = norm.axis_rms_norm_grad(g, x, x[:, :1] ** 2, g[0], axis=(1,), eps=0.1)
        found.append((y, mean, var, *more, *rms))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_left_to_numpy() -> None:
    x = np.ones((200, 20, 30))
    assert norm.axis_norm(x, None, None, axis=(0, 2), eps=0.1) is NotImplemented
    assert norm.axis_norm(x[:2], None, None, axis=(2,), eps=0.1) is NotImplemented
    assert norm.axis_norm(x.astype("float16"), None, None, axis=(2,), eps=0.1) is NotImplemented
    assert norm.axis_rms_norm(x, None, axis=(0, 2), eps=0.1) is NotImplemented
    half = x.astype("float16")
    assert batch_norm.batch_norm(half, half[0, 0], half[0, 0], eps=0.1) is NotImplemented
    assert batch_norm.batch_norm(half, x[0, 0], x[0, 0], eps=0.1) is NotImplemented
