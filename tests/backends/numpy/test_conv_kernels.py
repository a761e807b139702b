"""Convolution and its gradients against loops over positions, SciPy, PyTorch and each other."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import signal

from flagstone_numpy import threads
from flagstone_numpy.kernels import depthwise, im2col, narrow
from flagstone_numpy.kernels.conv import conv, conv_input_grad, conv_weight_grad

SEEDS = range(80)


# ------------------------------------------------------------- the definition, one position a time


def patches(x, kernel, *, stride, padding, dilation):
    """Yield each position with the index of its window in the padded input."""
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    counts = [
        (s + lo + hi - r) // step + 1
        for s, r, step, (lo, hi) in zip(x.shape[1:-1], reach, stride, padding, strict=True)
    ]
    for position in itertools.product(*map(range, counts)):
        spans = zip(position, stride, reach, dilation, strict=True)
        window = tuple(slice(p * s, p * s + r, d) for p, s, r, d in spans)
        yield position, (slice(None), *window)


def padded(x, padding):
    return np.pad(x, ((0, 0), *padding, (0, 0)))


def channels(array, group, groups):
    """The channels of one group, in the last axis."""
    size = array.shape[-1] // groups
    return array[..., group * size : (group + 1) * size]


def conv_by_definition(x, w, b, *, groups, **window):
    found = list(patches(x, w.shape[1:-1], **window))
    y = np.zeros((x.shape[0], *(p + 1 for p in found[-1][0]), w.shape[0]))
    full = padded(x, window["padding"])
    for position, seen in found:
        for g in range(groups):
            weights = np.split(w, groups)[g]
            patch = channels(full[seen], g, groups)
            for n in range(x.shape[0]):
                out = [np.sum(patch[n] * one) for one in weights]
                channels(y[(n, *position)], g, groups)[:] = out
    return y if b is None else y + b


def input_grad_by_definition(dy, w, x, *, groups, **window):
    full = padded(np.zeros(x.shape), window["padding"])
    for position, seen in patches(x, w.shape[1:-1], **window):
        for g in range(groups):
            weights, target = np.split(w, groups)[g], channels(full[seen], g, groups)
            for n in range(x.shape[0]):
                for gradient, one in zip(
                    channels(dy[(n, *position)], g, groups), weights, strict=True
                ):
                    target[n] += gradient * one
    inner = zip(window["padding"], x.shape[1:-1], strict=True)
    return full[(slice(None), *(slice(lo, lo + s) for (lo, _), s in inner))]


def weight_grad_by_definition(dy, x, w, *, groups, **window):
    dw = np.zeros(w.shape)
    full = padded(x, window["padding"])
    for position, seen in patches(x, w.shape[1:-1], **window):
        for g in range(groups):
            patch, target = channels(full[seen], g, groups), np.split(dw, groups)[g]
            for n in range(x.shape[0]):
                for k, gradient in enumerate(channels(dy[(n, *position)], g, groups)):
                    target[k] += gradient * patch[n]
    return dw


# ------------------------------------------------------------------------------------- the samples


def sample(seed):
    """A random convolution in float64: x, w, b, dy and its static arguments."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 3
    groups = int(rng.choice([1, 1, 2, 3]))
    inputs, outputs = int(rng.choice([1, 2, 5, 8])), int(rng.choice([1, 2, 3, 8]))
    kernel = tuple(rng.integers(1, 5 - rank // 2, rank).tolist())
    plain = rng.random() < 0.4
    stride = (1,) * rank if plain else tuple(rng.integers(1, 4, rank).tolist())
    dilation = (1,) * rank if plain else tuple(rng.integers(1, 3, rank).tolist())
    padding = tuple((int(lo), int(hi)) for lo, hi in rng.integers(0, 5, (rank, 2)))
    if rng.random() < 0.3:
        padding = ((0, 0),) * rank
    most = (20, 9, 5)[rank - 1]
    size = tuple(
        max(int(rng.integers(1, most)), d * (k - 1) + 1 - lo - hi)
        for k, d, (lo, hi) in zip(kernel, dilation, padding, strict=True)
    )
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x = rng.standard_normal((int(rng.integers(1, 4)), *size, groups * inputs))
    w = rng.standard_normal((groups * outputs, *kernel, inputs))
    b = rng.standard_normal(groups * outputs) if rng.random() < 0.5 else None
    dy = rng.standard_normal(conv_by_definition(x[:1] * 0, w, b, **window).shape[1:])
    dy = dy + rng.standard_normal((x.shape[0], *dy.shape))
    return x, w, b, dy, window


def plain(rank=2, **changes):
    """Static arguments of a convolution with nothing special about it."""
    window = {
        "stride": (1,) * rank,
        "padding": ((0, 0),) * rank,
        "dilation": (1,) * rank,
        "groups": 1,
    }
    return window | changes


def same(kernel):
    return tuple(((k - 1) // 2, k // 2) for k in kernel)


@pytest.fixture(params=["one block", "blocks of images", "blocks of rows"])
def block_bytes(request, monkeypatch):
    """Run with blocks of the real size, of an image or so, and of a row or so."""
    size = {"one block": None, "blocks of images": 4000, "blocks of rows": 64}[request.param]
    if size is not None:
        for module in (im2col, narrow, depthwise):
            monkeypatch.setattr(module, "BLOCK_BYTES", size)


# ----------------------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("block_bytes")
def test_definition(seed):
    x, w, b, dy, window = sample(seed)
    close = {"rtol": 1e-11, "atol": 1e-11}
    y = conv(x, w, b, **window)
    np.testing.assert_allclose(y, conv_by_definition(x, w, b, **window), **close)
    dx = conv_input_grad(dy, w, size=x.shape[1:-1], **window)
    np.testing.assert_allclose(dx, input_grad_by_definition(dy, w, x, **window), **close)
    dw = conv_weight_grad(dy, x, kernel=w.shape[1:-1], **window)
    np.testing.assert_allclose(dw, weight_grad_by_definition(dy, x, w, **window), **close)


@pytest.mark.parametrize("inputs", [2, 8, 9])
@pytest.mark.parametrize("groups", [2, 8])
def test_weights_of_thin_and_of_wide_groups(groups, inputs):
    """Of thin ones all channels are taken with all, and the gradients of two groups dropped."""
    rng = np.random.default_rng(groups)
    x = rng.standard_normal((3, 7, 5, groups * inputs))
    dy = rng.standard_normal((3, 5, 5, groups * 3))
    window = plain(padding=((0, 0), (1, 1)), groups=groups)
    dw = conv_weight_grad(dy, x, kernel=(3, 3), **window)
    expected = weight_grad_by_definition(dy, x, np.zeros((groups * 3, 3, 3, inputs)), **window)
    np.testing.assert_allclose(dw, expected, rtol=1e-11, atol=1e-11)
    out = np.empty_like(dw)
    conv_weight_grad.into(out, dy, x, kernel=(3, 3), **window)
    np.testing.assert_array_equal(out, dw)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pytorch(seed, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    convolution = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)
    convolution = (*convolution, torch.nn.functional.conv3d)[seed % 3]
    x, w, b, dy, window = sample(seed)
    x, w, dy = x.astype(dtype), w.astype(dtype), dy.astype(dtype)
    b = None if b is None else b.astype(dtype)

    def channels_first(a):
        return torch.tensor(np.moveaxis(a, -1, 1).copy(), requires_grad=True)

    tx, tw, tdy = channels_first(x), channels_first(w), channels_first(dy)
    ends = [end for pair in reversed(window["padding"]) for end in pair]
    ty = convolution(
        torch.nn.functional.pad(tx, ends),
        tw,
        None if b is None else torch.tensor(b),
        window["stride"],
        0,
        window["dilation"],
        window["groups"],
    )
    tdx, tdw = torch.autograd.grad(ty, (tx, tw), tdy)
    y = conv(x, w, b, **window)
    dx = conv_input_grad(dy, w, size=x.shape[1:-1], **window)
    dw = conv_weight_grad(dy, x, kernel=w.shape[1:-1], **window)
    for got, want in ((y, ty), (dx, tdx), (dw, tdw)):
        reference = np.moveaxis(want.detach().numpy(), 1, -1)
        assert got.dtype == dtype
        assert got.shape == reference.shape
        atol = 20 * np.finfo(dtype).eps * max(1.0, np.abs(reference).max())
        np.testing.assert_allclose(got, reference, rtol=0, atol=atol)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_scipys_correlate(channels):
    rng = np.random.default_rng(channels)
    x, w = rng.standard_normal((2, 9, 8, channels)), rng.standard_normal((5, 3, 4, channels))
    want = np.empty((2, 7, 5, 5))
    for n, k in itertools.product(range(2), range(5)):
        want[n, ..., k] = signal.correlate(x[n], w[k], mode="valid", method="direct")[..., 0]
    np.testing.assert_allclose(conv(x, w, None, **plain()), want, atol=1e-12)


# Every choice in conv.py, in the sizes at which each is taken in earnest.
ROUTES = {
    "image": ((5, 28, 28, 1), (32, 3, 3, 1), plain(padding=((1, 1), (1, 1)))),
    "colour image": ((3, 21, 20, 3), (16, 5, 5, 3), plain(padding=((2, 2),) * 2, stride=(2, 2))),
    "wide kernel": ((3, 21, 20, 3), (16, 7, 7, 3), plain(padding=((3, 3),) * 2, stride=(2, 2))),
    "five channels": ((3, 21, 20, 5), (16, 3, 3, 5), plain(padding=((1, 1),) * 2)),
    "square": ((5, 14, 14, 32), (64, 3, 3, 32), plain(padding=((1, 1), (1, 1)))),
    "many outputs": ((4, 8, 8, 8), (64, 3, 3, 8), plain(padding=((1, 1), (1, 1)))),
    "strided": ((4, 15, 14, 16), (24, 3, 3, 16), plain(padding=((1, 1), (1, 1)), stride=(2, 2))),
    "dilated": ((4, 15, 14, 16), (24, 3, 3, 16), plain(padding=((2, 2),) * 2, dilation=(2, 2))),
    "lopsided": ((4, 9, 8, 16), (8, 2, 4, 16), plain(padding=same((2, 4)))),
    "over-padded": ((3, 6, 5, 8), (8, 2, 3, 8), plain(padding=((3, 4), (5, 2)))),
    "stride beyond the kernel": ((3, 11, 11, 6), (5, 2, 2, 6), plain(stride=(3, 4))),
    "pointwise": ((4, 7, 7, 48), (32, 1, 1, 48), plain()),
    "pointwise, strided": ((4, 7, 7, 48), (32, 1, 1, 48), plain(stride=(2, 3))),
    "pointwise, grouped": ((4, 7, 7, 48), (32, 1, 1, 12), plain(groups=4)),
    "pointwise, padded": ((4, 7, 7, 12), (8, 1, 1, 12), plain(padding=((1, 0), (0, 2)))),
    "grouped": ((4, 9, 9, 16), (24, 3, 3, 4), plain(padding=((1, 1), (1, 1)), groups=4)),
    "grouped, strided": ((4, 9, 9, 16), (24, 3, 3, 4), plain(stride=(2, 1), groups=4)),
    "depthwise": ((4, 9, 9, 16), (16, 3, 3, 1), plain(padding=((1, 1), (1, 1)), groups=16)),
    "depthwise, strided": ((4, 9, 9, 16), (16, 3, 3, 1), plain(stride=(2, 2), groups=16)),
    "depthwise, doubled": ((4, 9, 9, 6), (12, 3, 3, 1), plain(padding=((1, 1),) * 2, groups=6)),
    "one axis": ((4, 50, 16), (8, 5, 16), plain(1, padding=((4, 0),), dilation=(1,))),
    "three axes": ((2, 6, 7, 8, 5), (4, 3, 2, 3, 5), plain(3, padding=((1, 1), (0, 1), (1, 1)))),
    "whole input": ((4, 6, 6, 16), (10, 6, 6, 16), plain()),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("block_bytes")
def test_the_three_functions_are_transposes_of_each_other(route, dtype):
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(shape), rng.standard_normal(weight_shape)
    x, w = x.astype(dtype), w.astype(dtype)
    y = conv(x, w, None, **window)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = conv_input_grad(dy, w, size=shape[1:-1], **window)
    dw = conv_weight_grad(dy, x, kernel=weight_shape[1:-1], **window)
    assert (y.dtype, dx.dtype, dw.dtype) == (dtype,) * 3
    assert (dx.shape, dw.shape) == (shape, weight_shape)
    want = np.vdot(y.astype(float), dy)
    scale = np.linalg.norm(y.astype(float)) * np.linalg.norm(dy.astype(float))
    assert abs(np.vdot(dx.astype(float), x) - want) < 4 * np.finfo(dtype).eps * scale
    assert abs(np.vdot(dw.astype(float), w) - want) < 4 * np.finfo(dtype).eps * scale


@pytest.mark.parametrize("route", ["image", "square", "grouped", "depthwise", "pointwise"])
def test_gradients_are_central_differences(route):
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal(shape), rng.standard_normal(weight_shape)
    y = conv(x, w, None, **window)

    def half_square(x, w):
        return 0.5 * np.sum(conv(x, w, None, **window) ** 2)

    dx = conv_input_grad(y, w, size=shape[1:-1], **window)
    dw = conv_weight_grad(y, x, kernel=weight_shape[1:-1], **window)
    u, v, h = rng.standard_normal(shape), rng.standard_normal(weight_shape), 1e-5
    along_x = (half_square(x + h * u, w) - half_square(x - h * u, w)) / (2 * h)
    along_w = (half_square(x, w + h * v) - half_square(x, w - h * v)) / (2 * h)
    assert along_x == pytest.approx(np.vdot(dx, u), rel=1e-6)
    assert along_w == pytest.approx(np.vdot(dw, v), rel=1e-6)


@pytest.mark.parametrize("route", ROUTES)
def test_bias_is_added_to_every_position(route):
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal(shape), rng.standard_normal(weight_shape)
    b = rng.standard_normal(weight_shape[0])
    want = conv(x, w, None, **window) + b
    np.testing.assert_allclose(conv(x, w, b, **window), want, atol=1e-11)


# ------------------------------------------------------------------------------------ odd arguments


@pytest.mark.parametrize("route", ROUTES)
def test_an_empty_batch_has_empty_images_and_zero_weights(route):
    shape, weight_shape, window = ROUTES[route]
    x, w = np.zeros((0, *shape[1:]), np.float32), np.ones(weight_shape, np.float32)
    one = conv(np.zeros((1, *shape[1:]), np.float32), w, None, **window)
    y = conv(x, w, np.ones(weight_shape[0], np.float32), **window)
    assert y.shape == (0, *one.shape[1:])
    dx = conv_input_grad(y, w, size=shape[1:-1], **window)
    assert dx.shape == x.shape
    dw = conv_weight_grad(y, x, kernel=weight_shape[1:-1], **window)
    assert dw.shape == w.shape
    assert not dw.any()


@pytest.mark.parametrize("groups", [1, 4])
def test_one_element(groups):
    x, w = np.full((1, 1, 1, groups), 3.0), np.full((groups, 1, 1, 1), 2.0)
    window = plain(groups=groups)
    assert conv(x, w, np.ones(groups), **window).tolist() == [[[[7.0] * groups]]]
    assert conv_input_grad(x, w, size=(1, 1), **window).tolist() == (2.0 * x).tolist()
    assert conv_weight_grad(x, x, kernel=(1, 1), **window).ravel().tolist() == [9.0] * groups


@pytest.mark.parametrize("route", ROUTES)
def test_views_give_what_copies_give(route):
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(3)

    def view(shape):
        """A read-only array of ``shape`` with reversed, stepped and exchanged axes."""
        base = rng.standard_normal((*(2 * s for s in reversed(shape)),))
        a = base.transpose()[tuple(slice(None, None, -2) for _ in shape)]
        a.flags.writeable = False
        return a

    x, w, b = view(shape), view(weight_shape), view(weight_shape[:1])
    y = conv(x, w, b, **window)
    np.testing.assert_allclose(y, conv(x.copy(), w.copy(), b.copy(), **window), atol=1e-11)
    dy = view(y.shape)
    dx = conv_input_grad(dy, w, size=shape[1:-1], **window)
    want = conv_input_grad(dy.copy(), w.copy(), size=shape[1:-1], **window)
    np.testing.assert_allclose(dx, want, atol=1e-11)
    dw = conv_weight_grad(dy, x, kernel=weight_shape[1:-1], **window)
    want = conv_weight_grad(dy.copy(), x.copy(), kernel=weight_shape[1:-1], **window)
    np.testing.assert_allclose(dw, want, atol=1e-11)


@pytest.mark.parametrize("route", ROUTES)
def test_a_broadcast_gradient(route):
    """The gradient of a sum is one number seen everywhere: all strides are zero."""
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal(shape), rng.standard_normal(weight_shape)
    dy = np.broadcast_to(np.float64(1.0), conv(x, w, None, **window).shape)
    dx = conv_input_grad(dy, w, size=shape[1:-1], **window)
    dw = conv_weight_grad(dy, x, kernel=weight_shape[1:-1], **window)
    want = np.sum(conv(x, w, None, **window))
    assert np.vdot(dx, x) == pytest.approx(want, rel=1e-9, abs=1e-9)
    assert np.vdot(dw, w) == pytest.approx(want, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("route", ["image", "square", "grouped", "depthwise", "strided"])
def test_a_repeated_call_gives_the_same_bits(route):
    shape, weight_shape, window = ROUTES[route]
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, *shape[1:])).astype(np.float32)
    w = rng.standard_normal(weight_shape).astype(np.float32)
    y = conv(x, w, None, **window)
    np.testing.assert_array_equal(conv(x, w, None, **window), y)
    first = conv_weight_grad(y, x, kernel=weight_shape[1:-1], **window)
    again = conv_weight_grad(y, x, kernel=weight_shape[1:-1], **window)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("images", [1, 40])
@pytest.mark.parametrize("name", ["forward", "input gradient", "weight gradient"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_whole_column_matrix_is_never_built(monkeypatch, images, name, stride):
    monkeypatch.setattr(threads, "_settings", (2, 2))  # each thread has a block of its own
    side = 160 if images == 1 else 32
    x = np.ones((images, side, side, 16), np.float32)
    w = np.ones((16, 3, 3, 16), np.float32)
    window = plain(padding=((1, 1), (1, 1)), stride=(stride, stride))
    y = conv(x, w, None, **window)
    call = {
        "forward": lambda: conv(x, w, None, **window),
        "input gradient": lambda: conv_input_grad(y, w, size=(side, side), **window),
        "weight gradient": lambda: conv_weight_grad(y, x, kernel=(3, 3), **window),
    }[name]
    tracemalloc.start()
    try:
        result = call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    whole = math.prod(y.shape[:-1]) * 9 * 16 * 4
    workspace = peak - result.nbytes
    assert workspace < 3 << 20
    assert whole > 3.5 * (1 << 20)  # else the line above would show nothing
