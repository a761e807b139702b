"""Softmax cross-entropy against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import loss

RNG = np.random.default_rng(23)


@pytest.mark.covers("loss.cu:softmax_cross_entropy", "loss.cu:softmax_cross_entropy_grad")
@pytest.mark.parametrize("labels_dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "classes"), [(1, 1), (9, 10), (17, 33), (20, 100), (3, 500)])
def test_loss_and_gradient(card: Any, n: int, classes: int, dtype: str, labels_dtype: str) -> None:
    x = (RNG.standard_normal((n, classes)) * 20).astype(dtype)
    labels = RNG.integers(0, min(classes, 200), n).astype(labels_dtype)
    given, p = loss.softmax_cross_entropy(x, labels)
    wide = x.astype("float64") - x.max(1, keepdims=True)
    e = np.exp(wide)
    expected_p = e / e.sum(1, keepdims=True)
    expected = np.log(e.sum(1)) - wide[np.arange(n), labels]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(p, expected_p, rtol=tolerance, atol=1e-7)
    np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance)
    g = RNG.standard_normal(n).astype(dtype)
    one_hot = np.eye(classes)[labels]
    dx = loss.softmax_cross_entropy_grad(g, p, labels)
    np.testing.assert_allclose(dx, (expected_p - one_hot) * g[:, None], rtol=1e-4, atol=tolerance)


@pytest.mark.covers("loss.cu:softmax_cross_entropy")
@pytest.mark.parametrize("label", [-1, 4, 2**31 - 1])
def test_a_label_out_of_range_gives_nan(card: Any, label: int) -> None:
    x = RNG.standard_normal((2, 4)).astype("float32")
    given, _ = loss.softmax_cross_entropy(x, np.array([label, 0]))
    assert np.isnan(given[0])
    assert np.isfinite(given[1])


@pytest.mark.covers("loss.cu:softmax_cross_entropy")
def test_nan_and_infinity_are_not_hidden(card: Any) -> None:
    x = np.zeros((3, 40), "float32")
    x[0, 35], x[1, 2], x[2, 3] = np.nan, np.inf, -np.inf
    given, p = loss.softmax_cross_entropy(x, np.array([0, 0, 0]))
    assert np.isnan(given[:2]).all()
    assert np.isnan(p[0]).all()
    np.testing.assert_allclose(given[2], np.log(39), rtol=1e-6)
