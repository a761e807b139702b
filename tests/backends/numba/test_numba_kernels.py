"""The compiled kernels against NumPy's own in float64, which are held to PyTorch elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

from flagstone_numba.kernels import conv as fast_conv
from flagstone_numba.kernels import direct, elementwise, pool, reduction, update
from flagstone_numpy import threads
from flagstone_numpy.kernels import conv as numpys_conv
from flagstone_numpy.kernels import elementwise as numpys_elementwise
from flagstone_numpy.kernels import pool as numpys_pool
from flagstone_numpy.kernels import stochastic as numpys_stochastic
from flagstone_numpy.kernels import update as numpys_update
from flagstone_numpy.kernels.windows import Window

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def normal(rng, *shape, dtype="float64"):
    return rng.standard_normal(shape).astype(dtype)


def agree(got, want, dtype):
    """``got`` is of ``dtype`` and within its tolerance of ``want``, relative to the largest."""
    assert got.dtype == dtype
    assert got.shape == want.shape
    scale = max(1e-30, np.abs(want).max(initial=0))
    assert np.abs(got - want).max(initial=0) <= TOLERANCE[dtype] * scale


# Which algorithm serves each: tiles, tiles that leave it to products, products of 1, 3 and 2
# channels, depthwise, depthwise with a multiplier, products, and NumPy's columns in groups.
CHANNELS = [(32, 48, 1), (32, 40, 1), (1, 32, 1), (3, 16, 1), (2, 8, 1), (8, 8, 8), (6, 12, 6),
            (17, 8, 1), (16, 8, 4)]  # fmt: skip


@pytest.fixture
def few_products(monkeypatch):
    """Products of fewer shapes, since each is compiled."""
    monkeypatch.setattr(direct, "ROWS", (1, 4, 8, 9, 14))
    direct.product_tile.cache_clear()
    yield
    direct.product_tile.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("same", [True, False], ids=["3 stride 1", "any window"])
@pytest.mark.usefixtures("few_products")
def test_convolution_and_its_gradients(channels, axes, same, dtype):
    rng = np.random.default_rng([*channels, axes, same])
    c, k, groups = channels
    for _ in range(3):
        kernel = (3,) * axes if same else tuple(int(v) for v in rng.integers(1, 4, axes))
        stride = (1,) * axes if same else tuple(int(v) for v in rng.integers(1, 3, axes))
        dilation = (1,) * axes if same else tuple(int(v) for v in rng.integers(1, 3, axes))
        padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (axes, 2)))
        size = tuple(int(v) for v in rng.integers(5, 18 if axes < 3 else 8, axes))
        images = int(rng.integers(3, 12))
        static = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        x, w = normal(rng, images, *size, c), normal(rng, k, *kernel, c // groups)
        b = normal(rng, k)
        positions = Window(kernel, stride, padding, dilation).positions(size)
        g = normal(rng, images, *positions, k)
        x_, w_, b_, g_ = (a.astype(dtype) for a in (x, w, b, g))
        agree(fast_conv.conv(x_, w_, b_, **static), numpys_conv.conv(x, w, b, **static), dtype)
        agree(
            fast_conv.conv_input_grad(g_, w_, size=size, **static),
            numpys_conv.conv_input_grad(g, w, size=size, **static),
            dtype,
        )
        want = numpys_conv.conv_weight_grad(g, x, kernel=kernel, **static)
        agree(fast_conv.conv_weight_grad(g_, x_, kernel=kernel, **static), want, dtype)
        dw, db = fast_conv.conv_weight_bias_grad(g_, x_, kernel=kernel, **static)
        agree(dw, want, dtype)
        agree(db, g.sum(tuple(range(axes + 1))), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("c", "k", "images"), [(64, 48, 29), (128, 256, 91), (24, 40, 2)])
def test_convolution_of_one_tap(c, k, images, dtype):
    rng = np.random.default_rng(7)
    x, w, b = normal(rng, images, 9, 7, c), normal(rng, k, 1, 1, c), normal(rng, k)
    g = normal(rng, images, 9, 7, k)
    how = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    x_, w_, b_, g_ = (a.astype(dtype) for a in (x, w, b, g))
    y = fast_conv.conv(x_, w_, b_, **how)
    agree(y, numpys_conv.conv(x, w, b, **how), dtype)
    active = np.empty_like(y)
    fast_conv.conv_into(active, x_, w_, b_, relu=True, **how)
    np.testing.assert_array_equal(active, np.maximum(y, 0))
    got = fast_conv.conv_input_grad(g_, w_, size=(9, 7), **how)
    agree(got, numpys_conv.conv_input_grad(g, w, size=(9, 7), **how), dtype)


@pytest.mark.parametrize("numba_works", [True, False])
@pytest.mark.parametrize(("c", "k", "kernel"), [(32, 48, 3), (1, 32, 3), (12, 20, 2), (64, 64, 1)])
def test_outputs_are_written_where_a_recorded_step_wants_them(c, k, kernel, numba_works, request):
    """The same bits as those that are returned, activated too."""
    if not numba_works:
        patch = request.getfixturevalue("monkeypatch")
        for module in (fast_conv, pool):
            patch.setattr(module, "loops", lambda name: None)
    rng = np.random.default_rng(8)
    x, w, b = (normal(rng, *s, dtype="float32")
               for s in ((20, 12, 12, c), (k, kernel, kernel, c), (k,)))  # fmt: skip
    low = kernel // 2
    how = {"stride": (1, 1), "padding": ((low, low),) * 2, "dilation": (1, 1), "groups": 1}
    plain = fast_conv if numba_works else numpys_conv
    y = plain.conv(x, w, b, **how)
    g = normal(rng, *y.shape, dtype="float32")
    size, taps = {"size": (12, 12)}, {"kernel": (kernel, kernel)}
    pooling = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0),) * 2}
    pools = pool if numba_works else numpys_pool
    best, index = pools.max_pool(x, **pooling)
    dw = plain.conv_weight_grad(g, x, **taps, **how)
    db = g.reshape(-1, k).sum(0)
    if numba_works:
        db = fast_conv.conv_weight_bias_grad(g, x, **taps, **how)[1]
    for into, given, static, wanted in (
        (fast_conv.conv.into, (x, w, b), how, y),
        (fast_conv.conv_into, (x, w, b), how | {"relu": True}, np.maximum(y, 0)),
        (fast_conv.conv_input_grad.into, (g, w), size | how,
         plain.conv_input_grad(g, w, **size, **how)),
        (fast_conv.conv_weight_grad.into, (g, x), taps | how, dw),
        (fast_conv.conv_weight_bias_grad.into, (g, x), taps | how, (dw, db)),
        (pool.max_pool.into, (x,), pooling, (best, index)),
        (pool.max_pool_into, (x,), pooling | {"relu": True}, (np.maximum(best, 0), index)),
        (pool.max_pool_grad.into, (best, index), size | pooling,
         pools.max_pool_grad(best, index, **size, **pooling)),
    ):  # fmt: skip
        several = wanted if type(wanted) is tuple else (wanted,)
        made = tuple(np.full_like(a, 7) for a in several)
        into(made if type(wanted) is tuple else made[0], *given, **static)
        for a, c_ in zip(made, several, strict=True):
            np.testing.assert_array_equal(a, c_)


@pytest.mark.usefixtures("few_products")
def test_larger_tiles_are_within_their_tolerance():
    """36 products for 16 outputs, which ``precision="fast"`` allows: errors of some 1e-5."""
    rng = np.random.default_rng(0)
    static = {"stride": (1, 1), "padding": ((1, 1), (1, 2)), "dilation": (1, 1), "groups": 1}
    for size, c, k in (((14, 13), 32, 48), ((8, 8), 64, 32)):
        x, w, b = normal(rng, 9, *size, c), normal(rng, k, 3, 3, c), normal(rng, k)
        y = numpys_conv.conv(x, w, b, **static)
        g = normal(rng, *y.shape)
        for name, given, more in (
            ("conv", (x, w, b), {}),
            ("conv_input_grad", (g, w), {"size": size}),
            ("conv_weight_grad", (g, x), {"kernel": (3, 3)}),
        ):
            want = getattr(numpys_conv, name)(*given, **more, **static)
            single = [a.astype("float32") for a in given]
            for kernels in (fast_conv, numpys_conv):
                got = getattr(kernels, name)(*single, **more, **static, precision="fast")
                error = np.abs(got - want).max() / np.abs(want).max()
                assert 1e-6 < error < 3e-5


def test_arrays_in_another_order_are_taken():
    rng = np.random.default_rng(0)
    x = normal(rng, 5, 32, 9, 9).transpose(0, 2, 3, 1)
    w = normal(rng, 32, 32, 3, 3).transpose(0, 2, 3, 1)
    static = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    want = numpys_conv.conv(x, w, None, **static)
    agree(fast_conv.conv(x.astype("float32"), w.astype("float32"), **static), want, "float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [1, 2])
def test_max_pooling_is_numpys_bit_for_bit(axes, dtype):
    rng = np.random.default_rng(axes)
    for kernel, stride, pad in itertools.product([2, 3], [1, 2, 3], [(0, 0), (1, 0), (1, 1)]):
        static = {"kernel": (kernel,) * axes, "stride": (stride,) * axes, "padding": (pad,) * axes}
        x = rng.integers(-3, 3, (7, *(11,) * axes, 5)).astype(dtype)  # many equal numbers
        x.flat[rng.integers(0, x.size, 9)] = np.nan
        x.flat[rng.integers(0, x.size, 9)] = -np.inf
        y, index = pool.max_pool(x, **static)
        want, chosen = numpys_pool.max_pool(x, **static)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(index, chosen)
        assert index.dtype == chosen.dtype
        g = normal(rng, *y.shape, dtype=dtype)
        back = pool.max_pool_grad(g, index, size=x.shape[1:-1], **static)
        agree(back, numpys_pool.max_pool_grad(g, index, size=x.shape[1:-1], **static), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementwise_kernels_are_numpys_bit_for_bit(dtype):
    rng = np.random.default_rng(0)
    x, g = normal(rng, 50, 3000, dtype=dtype), normal(rng, 50, 3000, dtype=dtype)
    x.flat[:3], g.flat[:3] = [np.nan, np.inf, -np.inf], [np.inf, np.nan, 1]
    mask = rng.random(x.shape) < 0.5
    np.testing.assert_array_equal(elementwise.relu(x), numpys_elementwise.relu(x))
    got, want = elementwise.relu_grad(g, x), numpys_elementwise.relu_grad(g, x)
    np.testing.assert_array_equal(got, want)
    got, want = elementwise.keep(x, mask, scale=1.25), numpys_stochastic.keep(x, mask, scale=1.25)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("call", [
    lambda x: elementwise.relu(x), lambda x: elementwise.relu(x.T),
    lambda x: elementwise.relu_grad(x, x), lambda x: elementwise.keep(x, x > 0, scale=2.0),
    lambda x: reduction.sum(x, axis=0), lambda x: reduction.sum(x, axis=1),
    lambda x: pool.max_pool(x.reshape(1, 2, 2, 2, 8), kernel=(1,) * 3, stride=(1,) * 3,
                            padding=((0, 0),) * 3),
])  # fmt: skip
def test_small_and_other_arrays_are_declined(call):
    assert call(np.zeros((8, 8), np.float32)) is NotImplemented


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4000, 33), (400, 7, 50)])
def test_sums_over_leading_axes(shape, dtype):
    x = np.random.default_rng(0).random(shape)
    axis = tuple(range(len(shape) - 1))
    agree(reduction.sum(x.astype(dtype), axis=axis), x.sum(axis), dtype)
    kept = reduction.sum(x.astype(dtype), axis=axis, keepdims=True)
    agree(kept, x.sum(axis, keepdims=True), dtype)


OPTIONS = {
    "sgd": ("sgd_update", {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1}),
    "momentum": ("sgd_update", {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}),
    "nesterov": ("sgd_update", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "dampening": ("sgd_update", {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0,
                                 "dampening": 0.5}),
    "adam": ("adam_update", {"weight_decay": 0.1, "decoupled": False}),
    "adamw": ("adam_update", {"weight_decay": 0.1, "decoupled": True}),
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_updates_follow_numpys_for_five_steps(option):
    name, static = OPTIONS[option]
    if name == "adam_update":
        static = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, **static}
    rng = np.random.default_rng(0)
    size, lr, scale = 100_000, np.array(0.01), np.array(0.5)
    start = normal(rng, size)
    runs = []
    for module, dtype in ((update, "float32"), (numpys_update, "float64")):
        p, t = start.astype(dtype), np.zeros((), dtype)
        gradients = np.random.default_rng(1)
        state = [np.zeros(size, dtype) for _ in range(2)]
        for _ in range(5):
            g = normal(gradients, size).astype(dtype)
            rate, factor = lr.astype(dtype), scale.astype(dtype)
            if name == "adam_update":
                done = module.adam_update(p, g, *state, t, rate, factor, **static)
            else:
                velocity = state[0] if static["momentum"] else None
                counter = t if static.get("dampening") else None
                done = module.sgd_update(
                    p, g, velocity, rate, factor, None, None, counter, **static
                )
            assert done == ()
        runs.append([p, *state])
    for got, want in zip(*runs, strict=True):
        agree(got, want, "float32")


def kernels():
    """Every threaded kernel at a size that is cut into pieces, as name -> function of nothing."""
    rng = np.random.default_rng(0)

    def f32(*shape):
        return normal(rng, *shape, dtype="float32")

    same = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    wide = same | {"stride": (2, 2)}
    pooling = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 1), (0, 1))}
    x, w, b, g = f32(40, 15, 15, 32), f32(48, 3, 3, 32), f32(48), f32(40, 15, 15, 48)
    half, image, filters = f32(40, 8, 8, 48), f32(60, 28, 28, 1), f32(32, 3, 3, 1)
    spread = f32(60, 28, 28, 32)
    index = pool.max_pool(x, **pooling)[1]
    mask = rng.random(x.shape) < 0.5
    return {
        "winograd": lambda: fast_conv.conv(x, w, b, **same),
        "winograd, input": lambda: fast_conv.conv_input_grad(g, w, size=(15, 15), **same),
        "winograd, weights": lambda: fast_conv.conv_weight_grad(g, x, kernel=(3, 3), **same),
        "winograd, bias": lambda: fast_conv.conv_weight_bias_grad(g, x, kernel=(3, 3), **same)[1],
        "columns": lambda: fast_conv.conv(x, w, b, **wide),
        "columns, input": lambda: fast_conv.conv_input_grad(half, w, size=(15, 15), **wide),
        "columns, weights": lambda: fast_conv.conv_weight_grad(half, x, kernel=(3, 3), **wide),
        "narrow": lambda: fast_conv.conv(image, filters, None, **same),
        "narrow, weights": lambda: fast_conv.conv_weight_grad(
            spread, image, kernel=(3, 3), **same
        ),
        "narrow, bias": lambda: fast_conv.conv_weight_bias_grad(
            spread, image, kernel=(3, 3), **same
        )[1],
        "one tap": lambda: fast_conv.conv(x, w[:, :1, :1], b, **same | {"padding": ((0, 0),) * 2}),
        "max_pool": lambda: pool.max_pool(x, **pooling)[0],
        "max_pool_grad": lambda: pool.max_pool_grad(half[..., :32].copy(), index, size=(15, 15),
                                                    **pooling),
        "relu": lambda: elementwise.relu(x),
        "relu_grad": lambda: elementwise.relu_grad(x, x),
        "keep": lambda: elementwise.keep(x, mask, scale=1.25),
        "sum": lambda: reduction.sum(x, axis=(0, 1, 2)),
    }  # fmt: skip


@pytest.mark.parametrize("name", kernels())
def test_the_same_bits_for_any_number_of_threads(monkeypatch, name):
    kernel = kernels()[name]
    monkeypatch.setattr(threads, "_settings", (1, 1))
    want = kernel()
    for number in (2, 3):
        monkeypatch.setattr(threads, "_settings", (number, 1))
        for _ in range(3):
            np.testing.assert_array_equal(kernel(), want)
