"""The softmax family against formulas in float64: short rows, which are turned, and long ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flagstone_numpy.kernels import softmax

LENGTHS = [1, 2, 3, 10, softmax.SHORT, softmax.SHORT + 1, 200]
SHAPES = [(7, 1), (3, 4), (20_000, 3), (40, 3, 5), (60_000, 10), (300, softmax.SHORT + 3), (0, 3)]


def exponentials(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Softmax and its logarithm."""
    x = x.astype(np.float64)
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-math.inf))
    p = e / e.sum(axis=axis, keepdims=True)
    return p, np.log(p)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_values(shape: tuple[int, ...], axis: int) -> None:
    if not shape[axis]:
        return
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 3
    given = x.copy()
    functions = (softmax.softmax, softmax.log_softmax)
    for function, wanted in zip(functions, exponentials(x, axis), strict=True):
        found = function(x, axis=axis)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
        np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize("shape", [(50, 10), (9, 100), (30_000, 4), (6, 5, 7)])
@pytest.mark.parametrize("axis", [1, -1])
def test_written_where_it_is_told_to(shape: tuple[int, ...], axis: int) -> None:
    """With the bits of the kernel, over its input, and where rows have gaps."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for kernel, into in (
        (softmax.softmax, softmax.softmax_into),
        (softmax.log_softmax, softmax.log_softmax_into),
    ):
        wanted = kernel(x, axis=axis)
        gaps = np.full((*shape[:-1], shape[-1] + 3), np.nan, np.float32)[..., :-3]
        for out in (np.empty_like(x), x.copy(), gaps, np.empty_like(x.T).T):
            into(out, x, axis=axis)
            np.testing.assert_array_equal(out, wanted)
        own = x.copy()
        into(own, own, axis=axis)
        np.testing.assert_array_equal(own, wanted)


@pytest.mark.parametrize("classes", LENGTHS)
@pytest.mark.parametrize("kind", ["int64", "int8", "uint8"])
def test_cross_entropy(classes: int, kind: str) -> None:
    rng = np.random.default_rng(classes)
    n = 300
    x = (rng.standard_normal((n, classes)) * 4).astype(np.float32)
    x[7] = 3e4
    labels = rng.integers(0, min(classes, 120), n).astype(kind)
    g = rng.standard_normal(n).astype(np.float32)
    outside = np.zeros(n, bool)
    if classes < 120:
        outside[3] = True
        labels[3] = classes
        if kind != "uint8":
            outside[11] = True
            labels[11] = -1
    losses, p = softmax.softmax_cross_entropy(x, labels)
    wanted, logs = exponentials(x, 1)
    np.testing.assert_allclose(p, wanted, rtol=2e-5, atol=1e-7)
    chosen = np.where(outside, 0, labels).astype(int)
    np.testing.assert_allclose(
        losses, np.where(outside, np.nan, -logs[np.arange(n), chosen]), rtol=2e-5, atol=2e-6
    )
    dx = softmax.softmax_cross_entropy_grad(g, p, labels)
    one_hot = np.zeros((n, classes))
    one_hot[np.arange(n), chosen] = ~outside
    np.testing.assert_allclose(dx, (wanted - one_hot) * g[:, None], rtol=1e-4, atol=2e-6)
    out = np.full(n, 7, np.float32), np.full(x.shape, 7, np.float32)
    softmax.softmax_cross_entropy_into(out, x, labels)
    for a, b in zip(out, (losses, p), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("classes", [4, softmax.SHORT + 1])
def test_what_is_not_finite_stays_in_its_row(classes: int) -> None:
    x = np.zeros((5, classes), np.float32)
    x[1, 2], x[2, 0], x[3, 1] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        losses, p = softmax.softmax_cross_entropy(x, np.zeros(5, int))
        found = softmax.softmax(x)
    np.testing.assert_array_equal(found, p)
    bad = np.isnan(p).any(axis=1)
    np.testing.assert_array_equal(bad, [False, True, False, True, False])
    np.testing.assert_allclose(p[[0, 4]], 1 / classes)
    assert losses[2] == np.inf


def test_large_batches_of_rows() -> None:
    """They are cut for threads; each row is as it is alone."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((90_000, 8)).astype(np.float32)
    labels = rng.integers(0, 8, len(x))
    g = rng.standard_normal(len(x)).astype(np.float32)
    losses, p = softmax.softmax_cross_entropy(x, labels)
    dx = softmax.softmax_cross_entropy_grad(g, p, labels)
    for at in (slice(0, 50), slice(44_990, 45_040), slice(len(x) - 50, None)):
        alone, alone_p = softmax.softmax_cross_entropy(x[at], labels[at])
        np.testing.assert_array_equal(losses[at], alone)
        np.testing.assert_array_equal(p[at], alone_p)
        np.testing.assert_array_equal(
            dx[at], softmax.softmax_cross_entropy_grad(g[at], alone_p, labels[at])
        )
