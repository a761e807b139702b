"""Kernels with values of 16 bits against the ops' generic forms in float64 of the same values.

They compute in float32, so a result is the rounding of what float32 gives: half a unit in the last
place of float16 or bfloat16, and in a sum what float32 loses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone.ops import ALL_OPS
from flagstone_cupy.kernels import elementwise, loss_scale, norm, pool, reduce, stochastic

pytest.importorskip("ml_dtypes", reason="rounds by ml_dtypes, which is not installed")
RNG = np.random.default_rng(23)
KINDS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # half a unit in the last place
ACTIVATIONS = [
    "relu", "leaky_relu", "elu", "sigmoid", "softplus", "silu", "gelu_exact", "gelu_tanh", "mish",
    "hard_swish",
]  # fmt: skip
STATIC = {"leaky_relu": {"slope": 0.1}, "elu": {"alpha": 1.3}}


def of(kind: str, *shape: int, scale: float = 2.0) -> Any:
    return (RNG.standard_normal(shape) * scale).astype(kind)


def close(got: Any, expected: Any, kind: str, slack: float = 1.02) -> None:
    """``got``, of this kind or of float32, is ``expected`` rounded."""
    allowed = slack * (KINDS[kind] if got.dtype.itemsize == 2 else 1e-5)
    np.testing.assert_allclose(got.astype("f8"), expected, rtol=allowed, atol=allowed / 10)


def exact(name: str, *arrays: Any, **static: Any) -> Any:
    """The op's generic form in float64."""
    wide = [a.astype("f8") if a is not None and a.dtype.itemsize != 1 and a.dtype.kind in "fV"
            else a for a in arrays]  # fmt: skip
    return ALL_OPS[name].generic(np, *wide, **static)


@pytest.mark.covers("elementwise.cu:activation")
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_activations(card: Any, kind: str, name: str) -> None:
    for n in (1, 1025):
        x = of(kind, n)
        y = getattr(elementwise, name)(x, **STATIC.get(name, {}))
        assert y.dtype == x.dtype
        close(y, exact(name, x, **STATIC.get(name, {})), kind)


@pytest.mark.covers("elementwise.cu:relu_grad", "stochastic.cu:keep")
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_relu_and_dropout(card: Any, kind: str) -> None:
    g, kept = of(kind, 2, 1500)
    kept[0] = 0
    np.testing.assert_array_equal(elementwise.relu_grad(g, kept), np.where(kept > 0, g, 0))
    mask = RNG.integers(0, 2, 1500).astype(bool)
    close(stochastic.keep(g, mask, scale=1.25), g.astype("f8") * 1.25 * mask, kind)


WINDOWS = [((2,), (2,), (2,)), ((5, 6), (3, 2), (2, 1)), ((7, 7), (3, 3), (2, 2))]


@pytest.mark.covers(
    "pool.cu:max_pool", "pool.cu:max_pool_grad", "pool.cu:max_pool_pick", "pool.cu:avg_pool",
    "pool.cu:avg_pool_grad",
)  # fmt: skip
@pytest.mark.parametrize(("size", "kernel", "stride"), WINDOWS)
@pytest.mark.parametrize("kind", KINDS)
def test_pooling(card: Any, kind: str, size: Any, kernel: Any, stride: Any) -> None:
    x = of(kind, 3, *size, 5)
    x[0].flat[1::7] = np.nan
    how = {"kernel": kernel, "stride": stride, "padding": ((1, 0),) * len(size)}
    y, index = pool.max_pool(x, **how)
    expected, places = exact("max_pool", x, **how)
    np.testing.assert_array_equal(y.astype("f8"), expected)
    np.testing.assert_array_equal(index, places)
    picked = pool.max_pool_pick(x, index, **how)
    np.testing.assert_array_equal(picked.astype("f8"), exact("max_pool_pick", x, places, **how))
    g = of(kind, *y.shape)
    to_x = pool.max_pool_grad(g, index, size=size, **how)
    close(to_x, exact("max_pool_grad", g, places, size=size, **how), kind)
    x = of(kind, 3, *size, 5)
    how["count_include_pad"] = False
    close(pool.avg_pool(x, **how), exact("avg_pool", x, **how), kind)
    to_x = pool.avg_pool_grad(g, size=size, **how)
    assert to_x.dtype == x.dtype
    close(to_x, exact("avg_pool_grad", g, size=size, **how), kind)


@pytest.mark.covers(
    "norm.cu:batch_moments", "norm.cu:batch_apply", "norm.cu:batch_grad_sums",
    "norm.cu:batch_grad_apply",
)  # fmt: skip
@pytest.mark.parametrize("shape", [(7, 3), (40, 5, 33), (600, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_batch_norm_has_its_statistics_in_float32(card: Any, kind: str, shape: Any) -> None:
    x = (of(kind, *shape) + np.asarray(3, kind)).astype(kind)
    weight, bias = (RNG.standard_normal(shape[-1]).astype("f4") for _ in range(2))
    y, mean, var = norm.batch_norm(x, weight, bias, eps=1e-5)
    assert (y.dtype, mean.dtype, var.dtype) == (x.dtype, "f4", "f4")
    expected = exact("batch_norm", x, weight, bias, eps=1e-5)
    close(y, expected[0], kind, slack=1.1)
    close(mean, expected[1], kind)
    close(var, expected[2], kind)
    g = of(kind, *shape)
    got = norm.batch_norm_grad(g, x, mean, var, weight, eps=1e-5)
    assert [a.dtype for a in got] == [x.dtype, "f4", "f4"]
    expected = exact("batch_norm_grad", g, x, mean, var, weight, eps=1e-5)
    np.testing.assert_allclose(got[0].astype("f8"), expected[0], rtol=2 * KINDS[kind], atol=1e-3)
    for a, b in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.covers("reduce.cu:sum_rows", "reduce.cu:sum_columns")
@pytest.mark.parametrize(("shape", "axis"), [((3000, 3), 0), ((5, 700), 1), ((4, 5, 6), (0, 2)),
                                             ((9000,), None), ((3, 4), ())])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_added_up_in_float32(card: Any, kind: str, shape: Any, axis: Any) -> None:
    x = np.abs(of(kind, *shape, scale=0.5))
    y = reduce.sum(x, axis=axis)
    assert y.dtype == x.dtype
    close(y, x.astype("f8").sum(axis), kind)
    reduce.sum(np.ones((3, 2), kind), axis=0)  # both kernels, whatever the case
    reduce.sum(np.ones((3, 2), kind), axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_casts_round_to_nearest(card: Any, kind: str) -> None:
    x = RNG.standard_normal(70).astype("f4")
    y = loss_scale.cast(x, dtype=kind)
    np.testing.assert_array_equal(y, x.astype(kind))
    np.testing.assert_array_equal(loss_scale.cast(y, dtype="float32"), y.astype("f4"))
    out = np.empty(70, kind)
    loss_scale.lower(out, x)
    np.testing.assert_array_equal(out, y)


@pytest.mark.covers("loss_scale.cu:unfinite", "loss_scale.cu:gradient_factor")
@pytest.mark.parametrize("n", [1, 255, 5000])
def test_a_gradient_that_is_not_finite_is_seen(card: Any, n: int) -> None:
    g, scale, by = RNG.standard_normal(n).astype("f4"), np.full(1, 6, "f4"), np.full(1, 4, "f4")
    factor = loss_scale.gradient_factor(g, scale.reshape(()), by.reshape(()))
    assert factor == 1.5
    for bad in (np.inf, -np.inf, np.nan):
        for place in {0, n // 2, n - 1}:
            broken = g.copy()
            broken[place] = bad
            assert np.isnan(loss_scale.gradient_factor(broken, scale.reshape(()), by.reshape(())))


@pytest.mark.covers("loss_scale.cu:adapt_loss_scale", "loss_scale.cu:undo")
def test_the_scale_and_the_step_back(card: Any) -> None:
    generic = ALL_OPS["adapt_loss_scale"].generic
    how = {"growth": 2.0, "backoff": 0.5, "interval": 3}
    for start in (8.0, 3e38):
        ours = [np.full((), start, "f4"), np.zeros((), "f4")]
        theirs = [a.copy() for a in ours]
        for value in [1, 1, np.nan, 1, 1, 1, 1, np.nan, np.nan, 1]:
            factor = np.asarray(value, "f4")
            loss_scale.adapt_loss_scale(*ours, factor, **how)
            with np.errstate(over="ignore"):
                generic(np, *theirs, factor, **how)
            assert ours == theirs
    for n in (1, 3000):
        out, before = RNG.standard_normal((2, n)).astype("f4")
        kept = out.copy()
        loss_scale.undo(out, before, np.asarray(1.0, "f4"))
        np.testing.assert_array_equal(out, kept)
        loss_scale.undo(out, before, np.asarray(np.nan, "f4"))
        np.testing.assert_array_equal(out, before)
