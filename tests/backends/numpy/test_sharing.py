"""Kernels that threads share: the same bits for any number of threads, and BLAS held meanwhile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone_numpy import products, threads
from flagstone_numpy.kernels import (
    activation,
    axis_norm,
    conv,
    elementwise,
    linear,
    norm,
    pool,
    reduction,
    softmax,
    stochastic,
    update,
)

NEEDS_CONTROL = pytest.mark.skipif(
    not threads.blas.works, reason="NumPy's BLAS cannot be held at one thread here"
)
NUMBERS = (1, 2, 3, 8)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def same(kernel, padding):
    rank = len(kernel)
    return {"stride": (1,) * rank, "padding": padding, "dilation": (1,) * rank, "groups": 1}


def conv_passes(n, c, side, k, kernel=3, **change):
    """The three convolutions, as functions without arguments, by name."""
    half = kernel // 2
    how = same((kernel, kernel), ((half, half),) * 2) | change
    x, w, b = normal(n, side, side, c), normal(k, kernel, kernel, c // how["groups"]), normal(k)
    g = conv.conv(x, w, b, **how)
    return {
        "conv": lambda: conv.conv(x, w, b, **how),
        "weight": lambda: conv.conv_weight_grad(g, x, kernel=(kernel, kernel), **how),
        "input": lambda: conv.conv_input_grad(g, w, size=(side, side), **how),
    }


def adam():
    p, g, m, v = (normal(600_001, seed=i) for i in range(4))
    one = np.array(1, np.float32)
    update.adam_update(
        p, g, m, np.abs(v), np.zeros((), np.float32), one, one, beta1=0.9, beta2=0.99, eps=1e-8,
        weight_decay=0.1, decoupled=False,
    )  # fmt: skip
    return p


def layer_norm_grad():
    _, mean, var = axis_norm.axis_norm(LARGE, FEW, FEW, axis=(3,), eps=1e-5)
    found = axis_norm.axis_norm_grad(LARGE, LARGE, mean, var, FEW, axis=(3,), eps=1e-5)
    return np.concatenate([v.reshape(-1) for v in found])


POOL = {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))}
LARGE, FEW = normal(24, 40, 40, 24), normal(24)
WORK = {
    **{f"tiles {k}": f for k, f in conv_passes(40, 32, 14, 64).items()},
    **{f"odd tiles {k}": f for k, f in conv_passes(60, 64, 7, 32).items()},
    **{f"large tiles {k}": f for k, f in conv_passes(40, 32, 14, 64, precision="fast").items()},
    **{f"columns {k}": f for k, f in conv_passes(40, 16, 14, 16).items()},
    **{f"strided {k}": f for k, f in conv_passes(40, 16, 15, 16, stride=(2, 2)).items()},
    **{f"large images {k}": f for k, f in conv_passes(1, 16, 150, 16).items()},
    **{f"few channels {k}": f for k, f in conv_passes(60, 3, 28, 8).items()},
    **{f"depthwise {k}": f for k, f in conv_passes(30, 24, 28, 24, groups=24).items()},
    **{f"one tap {k}": f for k, f in conv_passes(40, 128, 14, 160, kernel=1).items()},
    "max pool": lambda: pool.max_pool(LARGE, **POOL)[0],
    "where it was": lambda: pool.max_pool(LARGE, **POOL)[1],
    "average pool": lambda: pool.avg_pool(LARGE, count_include_pad=False, **POOL),
    "relu's gradient": lambda: elementwise.relu_grad(LARGE, LARGE - 0.5),
    "silu": lambda: activation.silu(LARGE),
    "keep": lambda: stochastic.keep(LARGE, LARGE > 0, scale=1.25),
    "sum": lambda: reduction.sum(LARGE, axis=(0, 1, 2)),
    "adam": adam,
    "batch norm": lambda: np.concatenate(
        [v.reshape(-1) for v in norm.batch_norm(LARGE, FEW, FEW, eps=1e-5)]
    ),
    "batch norm's gradient": lambda: np.concatenate(
        [v.reshape(-1) for v in norm.batch_norm_grad(LARGE, LARGE, FEW, FEW**2, FEW, eps=1e-5)]
    ),
    "layer norm": lambda: axis_norm.axis_norm(LARGE, FEW, FEW, axis=(3,), eps=1e-5)[0],
    "instance norm": lambda: axis_norm.axis_norm(LARGE, None, None, axis=(1, 2), eps=1e-5)[0],
    "layer norm's gradient": layer_norm_grad,
    "log-softmax": lambda: softmax.log_softmax(LARGE),
    "cross-entropy": lambda: softmax.softmax_cross_entropy(
        normal(40_000, 10), np.arange(40_000) % 10
    )[1],
    "linear": lambda: linear.linear(normal(300, 700), normal(900, 700), normal(900)),
    "weights of large linear": lambda: linear.linear_weight_grad(
        normal(100_000, 20), normal(100_000, 50)
    ),
    "weights of linear": lambda: linear.linear_weight_grad(normal(50_000, 20), normal(50_000, 30)),
    "vector": lambda: linear.linear(normal(60_000, 50), normal(1, 50)),
    "stack": lambda: linear.batched_matmul(normal(40, 90, 100), normal(40, 100, 90)),
}


@pytest.mark.parametrize("name", WORK)
def test_the_same_bits_for_any_number_of_threads(monkeypatch, name):
    found = []
    for number in NUMBERS:
        monkeypatch.setattr(threads, "_settings", (number, 1))
        found.append(WORK[name]())
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("name", WORK)
def test_nothing_is_read_that_was_not_written(monkeypatch, poisoned, name):
    monkeypatch.setattr(threads, "_settings", (2, 1))
    expected = WORK[name]()
    poisoned()
    found = WORK[name]()
    poisoned(False)
    np.testing.assert_array_equal(found, expected)


@NEEDS_CONTROL
@pytest.mark.parametrize(
    "name", ["tiles conv", "few channels conv", "linear", "sum", "max pool", "adam", "batch norm"]
)
def test_large_work_is_shared(monkeypatch, name):
    """At least as many pieces as two threads need."""
    pieces = []
    take = threads._take

    def counted(queue):
        pieces.append(len(queue))
        return take(queue)

    monkeypatch.setattr(threads, "_settings", (2, 1))
    monkeypatch.setattr(threads, "_take", counted)
    WORK[name]()
    assert max(pieces) >= 2


# ------------------------------------------------------------------------------------- products

SHAPES = {
    "small": ((30, 20), (20, 10)),
    "wide": ((100, 800), (800, 1300)),
    "tall": ((5000, 90), (90, 70)),
    "long sums": ((12, 90_000), (90_000, 11)),
    "matrix and vector": ((70_000, 40), (40, 1)),
    "vector and matrix": ((1, 70_000), (70_000, 40)),
    "row": ((20_000,), (20_000, 3)),
    "stack": ((30, 120, 90), (30, 90, 100)),
    "stack and one": ((30, 120, 90), (90, 100)),
    "one and stack": ((120, 90), (30, 90, 100)),
    "broadcast": ((6, 1, 120, 90), (1, 5, 90, 100)),
    "stack of one": ((1, 300, 400), (1, 400, 300)),
    "nothing": ((0, 5), (5, 4)),
    "sums of nothing": ((5, 0), (0, 4)),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_product_is_numpys_to_rounding(monkeypatch, name, number):
    monkeypatch.setattr(threads, "_settings", (number, 1))
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape) for shape in SHAPES[name])
    want = np.matmul(a, b)
    y = products.product(a, b)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-11)
    assert y.shape == want.shape
    out = np.empty_like(want)
    products.into(out, a, b)
    assert np.array_equal(out, y)


def test_transposed_factors():
    a, b = normal(700, 300), normal(800, 700)
    np.testing.assert_allclose(
        products.product(a.T, b.T), a.T.astype(float) @ b.T.astype(float), rtol=0, atol=1e-3
    )


@NEEDS_CONTROL
@pytest.mark.parametrize("name", [name for name in SHAPES if "small" not in name])
def test_blas_never_starts_threads_of_its_own(monkeypatch, name):
    """Whenever NumPy is asked for a product, BLAS has one thread, or the product is small."""
    seen = []
    matmul = np.matmul

    def watched(a, b, *out, **named):
        seen.append(threads.blas.control.get() == 1 or products.is_small(a, b))
        return matmul(a, b, *out, **named)

    before = threads.blas.control.get()
    threads.blas.control.set(2)
    try:
        monkeypatch.setattr(np, "matmul", watched)
        a, b = (np.ones(shape) for shape in SHAPES[name])
        products.into(np.empty(matmul(a, b).shape), a, b)
        assert threads.blas.control.get() == 2
    finally:
        threads.blas.control.set(before)
    assert seen
    assert all(seen)


def test_pieces_cover_the_axis():
    for length, count in itertools.product((128, 1000, 4097), (1, 2, 5)):
        found = products.cut(length, count)
        assert found[0].start == 0
        assert found[-1].stop == length
        assert all(a.stop == b.start for a, b in itertools.pairwise(found))
        assert all(piece.start % products.GRAIN == 0 for piece in found)


@NEEDS_CONTROL
def test_a_captured_step_holds_blas_once(monkeypatch):
    """For all its calls; a step on few numbers does not."""
    entered = []
    hold = type(threads.blas).__enter__
    monkeypatch.setattr(
        type(threads.blas), "__enter__", lambda self: entered.append(self._inside) or hold(self)
    )
    for size, outermost in ((100, 1), (3, 0)):
        x = fs.tensor(np.ones((size, size), np.float32))
        step = fs.capture(lambda x=x: ops.matmul(ops.matmul(x, x), x))
        for _ in range(3):
            step()
        entered.clear()
        step()
        assert entered.count(0) == outermost
