"""Normalisation over several blocks and splits, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import norm

RNG = np.random.default_rng(19)


@pytest.mark.covers("norm.cu:batch_moments", "norm.cu:batch_merge", "norm.cu:batch_apply")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 11, 13), (900, 2), (40, 300), (2, 70, 64)])
def test_batch_norm(card: Any, shape: Any, dtype: str) -> None:
    x = (RNG.standard_normal(shape) * 3 + 1000).astype(dtype)  # a mean far from 0
    weight, bias = RNG.standard_normal((2, shape[-1])).astype(dtype)
    y, mean, var = norm.batch_norm(x, weight, bias, eps=1e-2)
    wide, over = x.astype("float64"), tuple(range(x.ndim - 1))
    expected_mean, expected_var = wide.mean(over), wide.var(over)
    expected = (wide - expected_mean) / np.sqrt(expected_var + 1e-2) * weight + bias
    loose = dtype == "float32"
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-6 if loose else 1e-13)
    np.testing.assert_allclose(var, expected_var, rtol=1e-3 if loose else 1e-10, atol=1e-6)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=2e-3 if loose else 1e-9)


@pytest.mark.covers(
    "norm.cu:batch_grad_sums", "norm.cu:batch_grad_merge", "norm.cu:batch_grad_apply"
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 11, 13), (900, 2), (40, 300), (2, 70, 64)])
def test_batch_norm_grad(card: Any, shape: Any, dtype: str) -> None:
    g, x = RNG.standard_normal((2, *shape)).astype(dtype)
    weight = RNG.standard_normal(shape[-1]).astype(dtype)
    over = tuple(range(x.ndim - 1))
    wide, given = x.astype("float64"), g.astype("float64")
    mean, var = wide.mean(over), wide.var(over)
    scale = 1 / np.sqrt(var + 0.1)
    normal = (wide - mean) * scale
    along = (given * normal).mean(over)
    expected = weight * scale * (given - given.mean(over) - normal * along)
    arrays = (g, x, mean.astype(dtype), var.astype(dtype), weight)
    d_x, d_weight, d_bias = norm.batch_norm_grad(*arrays, eps=0.1)
    tolerance = 2e-4 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(d_x, expected, rtol=tolerance, atol=tolerance)
    summed = (given * normal).sum(over), given.sum(over)
    np.testing.assert_allclose(d_weight, summed[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(d_bias, summed[1], rtol=tolerance, atol=tolerance)


@pytest.mark.covers("norm.cu:axis_norm")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis", "affine"),
    [
        ((5, 7), (1,), (7,)),  # layer
        ((3, 700), (1,), (700,)),
        ((2, 3, 20), (1, 2), (3, 20)),
        ((3, 5, 6, 10), (1, 2), (10,)),  # instance
        ((2, 9, 4, 6), (1, 3), (4, 6)),  # group
        ((300, 2), (1,), None),
        ((1, 1), (1,), None),
    ],
)
def test_axis_norm(card: Any, shape: Any, axis: Any, affine: Any, dtype: str) -> None:
    x = (RNG.standard_normal(shape) * 2 + 30).astype(dtype)
    weight = None if affine is None else RNG.standard_normal(affine).astype(dtype)
    bias = None if affine is None else RNG.standard_normal(affine).astype(dtype)
    wide = x.astype("float64")
    by, plus = (1.0, 0.0) if weight is None else (weight, bias)
    expected_mean, expected_var = (f(wide, axis, keepdims=True) for f in (np.mean, np.var))
    tolerance = 2e-4 if dtype == "float32" else 1e-10
    y, mean, var = norm.axis_norm(x, weight, bias, axis=axis, eps=0.1)
    np.testing.assert_allclose(mean, expected_mean, rtol=tolerance)
    np.testing.assert_allclose(var, expected_var, rtol=tolerance, atol=tolerance)
    expected = (wide - expected_mean) / np.sqrt(expected_var + 0.1) * by + plus
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    y, square = norm.axis_rms_norm(x, weight, axis=axis, eps=0.1)
    expected_square = (wide**2).mean(axis, keepdims=True)
    np.testing.assert_allclose(square, expected_square, rtol=tolerance)
    expected = wide / np.sqrt(expected_square + 0.1) * by
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.covers("norm.cu:axis_norm_grad", "norm.cu:axis_grad_sums")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("shape", "axis", "affine"),
    [
        ((5, 7), (1,), (7,)),  # layer
        ((130, 140), (1,), (140,)),  # two splits of the rows
        ((3, 700), (1,), (700,)),
        ((9, 3, 20), (1, 2), (20,)),  # a weight for several columns
        ((5, 37, 10), (1,), (10,)),  # instance
        ((2, 9, 4, 9), (1, 3), (4, 9)),  # group
        ((2, 5, 3, 4), (1, 3), (5, 3, 4)),  # a weight for each place
        ((3, 4), (1,), (3, 4)),  # and for each example
        ((300, 2), (1,), None),
        ((1, 1), (1,), None),
    ],
)
def test_axis_norm_grad(
    card: Any, shape: Any, axis: Any, affine: Any, centred: bool, dtype: str
) -> None:
    g, x = RNG.standard_normal((2, *shape)).astype(dtype)
    x += 3
    weight = None if affine is None else RNG.standard_normal(affine).astype(dtype)
    wide = x.astype("float64")
    mean = wide.mean(axis, keepdims=True) if centred else np.zeros(())
    var = ((wide - mean) ** 2).mean(axis, keepdims=True)
    scale = 1 / np.sqrt(var + 0.1)
    normal, through = (wide - mean) * scale, g * (1.0 if weight is None else weight)
    expected = through - normal * (through * normal).mean(axis, keepdims=True)
    if centred:
        expected -= through.mean(axis, keepdims=True)
    over = tuple(range(x.ndim - (0 if affine is None else len(affine))))
    summed = [(g * normal).sum(over), g.sum(over)]
    kept = [a.astype(dtype) for a in ((mean, var) if centred else (var,))]
    pull = norm.axis_norm_grad if centred else norm.axis_rms_norm_grad
    made = pull(g, x, *kept, weight, axis=axis, eps=0.1)
    tolerance = 2e-4 if dtype == "float32" else 1e-10
    for given, wanted in zip(made, [expected * scale, *summed][: len(made)], strict=True):
        assert given.shape == wanted.shape
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("shape", "affine"), [((0, 3), (3,)), ((0, 3), None), ((3, 4, 0), (0,))])
def test_the_gradients_of_no_examples(card: Any, shape: Any, affine: Any) -> None:
    x, kept = np.ones(shape), np.ones((shape[0], 1, *shape[2:]))
    weight = None if affine is None else np.ones(affine)
    d_x, d_weight, d_bias = norm.axis_norm_grad(x, x, kept, kept, weight, axis=(1,), eps=0.1)
    assert d_x.shape == shape
    for given in (d_weight, d_bias):
        np.testing.assert_array_equal(given, np.zeros(affine or ()))


def test_axes_that_make_no_view_are_declined(card: Any) -> None:
    x = np.ones((2, 3, 4, 5, 6), "float32")
    kept = np.ones((1, 3, 1, 5, 1), "float32")
    grad = norm.axis_norm_grad(x, x, kept, kept, None, axis=(0, 2, 4), eps=0.1)
    assert grad is NotImplemented
    assert norm.axis_norm(x, None, None, axis=(0, 2, 4), eps=0.1) is NotImplemented
    assert norm.axis_norm(x, x[0], None, axis=(4,), eps=0.1) is NotImplemented


@pytest.mark.parametrize(
    ("shape", "axis", "view"),
    [
        ((5, 7), (1,), (5, 1, 1, 7)),
        ((2, 3, 4), (1, 2), (2, 1, 1, 12)),
        ((2, 3, 4), (1,), (2, 3, 4, 1)),
        ((2, 3, 4), (0,), (1, 2, 12, 1)),
        ((2, 9, 4, 6), (1, 3), (2, 9, 4, 6)),
        ((5,), (), (1, 1, 5, 1)),
    ],
)
def test_views(shape: Any, axis: Any, view: Any) -> None:
    assert norm.view(shape, axis)[:4] == view
