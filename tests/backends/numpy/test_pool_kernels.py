"""Pooling and its transposes against loops over positions, PyTorch and each other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from flagstone_numpy.kernels import pool
from flagstone_numpy.kernels.pool import (
    avg_pool,
    avg_pool_grad,
    max_pool,
    max_pool_grad,
    max_pool_pick,
)

SEEDS = range(80)


# ------------------------------------------------------------- the definition, one position a time


def windows(size, *, kernel, stride, padding):
    """Yield each position with its taps: (number, input index, or None in the padding)."""
    axes = zip(size, kernel, stride, padding, strict=True)
    counts = [(s + lo + hi - k) // step + 1 for s, k, step, (lo, hi) in axes]
    for position in itertools.product(*map(range, counts)):
        found = []
        for number, tap in enumerate(itertools.product(*map(range, kernel))):
            places = zip(position, stride, tap, padding, strict=True)
            place = tuple(p * step + t - lo for p, step, t, (lo, _) in places)
            inside = all(0 <= i < s for i, s in zip(place, size, strict=True))
            found.append((number, place if inside else None))
        yield position, found


def max_pool_by_definition(x, **window):
    n, *size, c = x.shape
    found = list(windows(size, **window))
    y = np.empty((n, *(p + 1 for p in found[-1][0]), c))
    index = np.empty(y.shape, int)
    for (position, seen), image, channel in itertools.product(found, range(n), range(c)):
        best, where = None, None
        for number, place in seen:
            value = -math.inf if place is None else float(x[(image, *place, channel)])
            if best is None or value > best or (math.isnan(value) and not math.isnan(best)):
                best, where = value, number
        y[(image, *position, channel)] = best
        index[(image, *position, channel)] = where
    return y, index


def max_pool_matrix(index, size, **window):
    """The 0/1 matrix, (outputs, inputs), that picks the places in ``index``."""
    n, *_, c = index.shape
    matrix = np.zeros((*index.shape, n, *size, c))
    for position, seen in windows(size, **window):
        for image, channel in itertools.product(range(n), range(c)):
            place = seen[index[(image, *position, channel)]][1]
            if place is not None:
                matrix[(image, *position, channel, image, *place, channel)] = 1
    return matrix.reshape(index.size, -1)


def avg_pool_matrix(shape, *, count_include_pad, **window):
    """The matrix, (positions, inputs), of the mean of one channel of one image."""
    size = shape[1:-1]
    rows = []
    for _, seen in windows(size, **window):
        row, real = np.zeros(size), [place for _, place in seen if place is not None]
        for place in real:
            row[place] = 1 / (len(seen) if count_include_pad else len(real))
        rows.append(row.reshape(-1))
    return np.array(rows)


# ------------------------------------------------------------------------------------- the samples


def sample(seed):
    """A random pooling: x in float64 with many equal numbers, and its static arguments."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 3
    kernel = tuple(rng.integers(1, 4, rank).tolist())
    stride = kernel if rng.random() < 0.4 else tuple(rng.integers(1, 4, rank).tolist())
    padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k + 1))) for k in kernel)
    if rng.random() < 0.3:
        padding = ((0, 0),) * rank
    most = (20, 8, 5)[rank - 1]
    size = tuple(
        max(int(rng.integers(1, most)), k - lo - hi)
        for k, (lo, hi) in zip(kernel, padding, strict=True)
    )
    x = rng.integers(-3, 4, (int(rng.integers(1, 4)), *size, int(rng.integers(1, 4))))
    return x.astype(float), {"kernel": kernel, "stride": stride, "padding": padding}


def two_by_two(**changes):
    return {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0))} | changes


@pytest.fixture(params=["blocks of one image", "blocks of the real size"])
def block_bytes(request, monkeypatch):
    if request.param == "blocks of one image":
        monkeypatch.setattr(pool, "BLOCK_BYTES", 1)


# --------------------------------------------------------------------------------------- maxima


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("block_bytes")
def test_max_pool_is_its_definition(seed, dtype):
    x, window = sample(seed)
    y, index = max_pool(x.astype(dtype), **window)
    want, where = max_pool_by_definition(x, **window)
    assert (y.dtype, index.dtype) == (dtype, np.uint8)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(index, where)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("block_bytes")
def test_max_pool_grad_and_pick_are_the_matrix_and_its_transpose(seed):
    x, window = sample(seed)
    rng = np.random.default_rng(seed)
    _, index = max_pool(x, **window)
    matrix = max_pool_matrix(index, x.shape[1:-1], **window)
    g, v = rng.standard_normal(index.shape), rng.standard_normal(x.shape)
    dx = max_pool_grad(g, index, size=x.shape[1:-1], **window)
    np.testing.assert_allclose(dx, (matrix.T @ g.ravel()).reshape(x.shape), atol=1e-13)
    picked = max_pool_pick(v, index, **window)
    np.testing.assert_array_equal(picked, (matrix @ v.ravel()).reshape(index.shape))


@pytest.mark.parametrize("seed", SEEDS[::4])
def test_special_numbers_pool_as_defined(seed):
    x, window = sample(seed)
    rng = np.random.default_rng(seed)
    special = rng.choice([np.nan, -np.nan, np.inf, -np.inf, -0.0], x.shape)
    x = np.where(rng.random(x.shape) < 0.3, special, x)
    y, index = max_pool(x, **window)
    want, where = max_pool_by_definition(x, **window)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(index, where)
    dx = max_pool_grad(np.full(y.shape, np.inf), index, size=x.shape[1:-1], **window)
    assert np.isin(dx, [0, np.inf]).all()  # no NaN from 0 * inf
    chosen = max_pool_matrix(index, x.shape[1:-1], **window).sum(0).reshape(x.shape)
    np.testing.assert_array_equal(np.isinf(dx), chosen > 0)


def test_a_window_of_nothing_but_minus_infinity():
    x = np.full((1, 3, 3, 2), -np.inf, np.float32)
    window = two_by_two(padding=((1, 0), (1, 0)))
    y, index = max_pool(x, **window)
    assert np.isneginf(y).all()
    assert not index.any()
    dx = max_pool_grad(np.ones_like(y), index, size=(3, 3), **window)
    # The first tap of the first row and column of windows is padding: it passes nothing on.
    assert dx[0, ..., 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("kernel", "dtype"), [((15, 17), np.uint8), ((16, 16), np.int32), ((7, 7, 7), np.int32)]
)
def test_large_windows_have_wide_tap_numbers(kernel, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *kernel, 3))
    window = {"kernel": kernel, "stride": kernel, "padding": ((0, 0),) * len(kernel)}
    x[1, ..., 2] = np.arange(math.prod(kernel)).reshape(kernel)  # the last tap wins
    y, index = max_pool(x, **window)
    assert index.dtype == dtype
    flat = x.reshape(2, -1, 3)
    np.testing.assert_array_equal(index.reshape(2, 3), flat.argmax(1))
    np.testing.assert_array_equal(y.reshape(2, 3), flat.max(1))
    dx = max_pool_grad(y, index, size=kernel, **window)
    assert np.count_nonzero(dx) == 6
    np.testing.assert_array_equal(max_pool_pick(x, index, **window), y)


@pytest.mark.parametrize("seed", SEEDS)
def test_pytorchs_max_pool(seed):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    functional = torch.nn.functional
    x, window = sample(seed)
    size, kernel, padding = x.shape[1:-1], window["kernel"], window["padding"]
    pooling = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(size) - 1]
    tx = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    ends = [end for pair in reversed(padding) for end in pair]
    tpadded = functional.pad(tx, ends, value=-math.inf)
    ty, tindex = pooling(tpadded, kernel, window["stride"], return_indices=True)
    y, index = max_pool(x, **window)
    np.testing.assert_array_equal(y, np.moveaxis(ty.detach().numpy(), 1, -1))
    # PyTorch numbers the inputs of the padded image, we the taps of the window.
    padded_size = tuple(tpadded.shape[2:])
    places = np.unravel_index(np.moveaxis(tindex.numpy(), 1, -1), padded_size)
    corners = np.indices(index.shape)[1:-1]
    taps = [
        place - corner * step
        for place, corner, step in zip(places, corners, window["stride"], strict=True)
    ]
    np.testing.assert_array_equal(index, np.ravel_multi_index(taps, kernel))
    g = np.random.default_rng(seed).standard_normal(y.shape)
    (tdx,) = torch.autograd.grad(ty, tx, torch.tensor(np.moveaxis(g, -1, 1).copy()))
    dx = max_pool_grad(g, index, size=size, **window)
    np.testing.assert_allclose(dx, np.moveaxis(tdx.numpy(), 1, -1), atol=1e-13)


# ------------------------------------------------------------------------------------------ means


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("block_bytes")
def test_avg_pool_and_its_gradient_are_the_matrix_and_its_transpose(seed, count_include_pad):
    x, window = sample(seed)
    window["count_include_pad"] = count_include_pad
    matrix = avg_pool_matrix(x.shape, **window)
    n, *size, c = x.shape
    y = avg_pool(x, **window)
    want = np.einsum("pi,nic->npc", matrix, x.reshape(n, -1, c))
    np.testing.assert_allclose(y.reshape(n, -1, c), want, atol=1e-13)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    dx = avg_pool_grad(g, size=tuple(size), **window)
    want = np.einsum("pi,npc->nic", matrix, g.reshape(n, -1, c))
    np.testing.assert_allclose(dx.reshape(n, -1, c), want, atol=1e-13)
    single = avg_pool(x.astype(np.float32), **window)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, y, atol=1e-5)
    single = avg_pool_grad(g.astype(np.float32), size=tuple(size), **window)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, dx, atol=1e-5)


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (5, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 5)])
def test_pytorchs_avg_pool(kernel, stride, count_include_pad):
    torch = pytest.importorskip("torch", reason="PyTorch is the reference here")
    half = tuple(k // 2 for k in kernel)
    window = {"kernel": kernel, "stride": stride, "padding": tuple((h, h) for h in half)}
    x = np.random.default_rng(0).standard_normal((3, 11, 9, 4))
    tx = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
    ty = torch.nn.functional.avg_pool2d(
        tx, kernel, stride, half, count_include_pad=count_include_pad
    )
    y = avg_pool(x, count_include_pad=count_include_pad, **window)
    np.testing.assert_allclose(y, np.moveaxis(ty.detach().numpy(), 1, -1), atol=1e-13)
    g = np.random.default_rng(1).standard_normal(y.shape)
    (tdx,) = torch.autograd.grad(ty, tx, torch.tensor(np.moveaxis(g, -1, 1).copy()))
    dx = avg_pool_grad(g, size=(11, 9), count_include_pad=count_include_pad, **window)
    np.testing.assert_allclose(dx, np.moveaxis(tdx.numpy(), 1, -1), atol=1e-13)


def test_a_mean_of_nothing_is_zero():
    window = two_by_two(padding=((2, 0), (0, 2)), count_include_pad=False)
    y = avg_pool(np.ones((1, 2, 2, 1)), **window)
    assert y[0, ..., 0].tolist() == [[0, 0], [1, 0]]
    dx = avg_pool_grad(np.ones((1, 2, 2, 1)), size=(2, 2), **window)
    assert dx[0, ..., 0].tolist() == [[0.25, 0.25], [0.25, 0.25]]


# ------------------------------------------------------------------------------------ odd arguments

LADDER = {
    "28 to 14": ((100, 28, 28, 32), two_by_two()),
    "14 to 7": ((100, 14, 14, 64), two_by_two()),
    "7 to 4": ((100, 7, 7, 128), two_by_two(padding=((0, 1), (0, 1)))),
}


@pytest.mark.parametrize("name", LADDER)
def test_the_ladders_poolings(name):
    """The real sizes, by reshaping: many blocks, and the last of them shorter."""
    shape, window = LADDER[name]
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal(shape), 0).astype(np.float32)
    filled = np.pad(x, ((0, 0), *window["padding"], (0, 0)), constant_values=np.float32(-np.inf))
    n, h, w, c = filled.shape
    taps = filled.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    taps = taps.reshape(n, h // 2, w // 2, c, 4)
    y, index = max_pool(x, **window)
    np.testing.assert_array_equal(y, taps.max(-1))
    np.testing.assert_array_equal(index, taps.argmax(-1))
    g = rng.standard_normal(y.shape).astype(np.float32)
    dx = max_pool_grad(g, index, size=shape[1:-1], **window)
    want = np.zeros_like(taps)
    np.put_along_axis(want, taps.argmax(-1)[..., None], g[..., None], -1)
    want = want.reshape(n, h // 2, w // 2, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    want = want.reshape(filled.shape)[:, : shape[1], : shape[2]]
    np.testing.assert_array_equal(dx, want)


@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 4, 4, 0)])
def test_nothing_pools_to_nothing(shape):
    x, out = np.zeros(shape, np.float32), (shape[0], 2, 2, shape[3])
    y, index = max_pool(x, **two_by_two())
    assert y.shape == index.shape == out
    assert max_pool_grad(y, index, size=(4, 4), **two_by_two()).shape == shape
    assert max_pool_pick(x, index, **two_by_two()).shape == out
    assert avg_pool(x, count_include_pad=True, **two_by_two()).shape == out
    dx = avg_pool_grad(y, size=(4, 4), count_include_pad=True, **two_by_two())
    assert dx.shape == shape


def test_one_element():
    x = np.full((1, 1, 1, 1), 3.0)
    window = two_by_two(kernel=(1, 1))
    y, index = max_pool(x, **window)
    assert (y.item(), index.item()) == (3.0, 0)
    assert max_pool_grad(y, index, size=(1, 1), **window).item() == 3.0
    assert avg_pool(x, count_include_pad=False, **window).item() == 3.0
    assert avg_pool_grad(x, size=(1, 1), count_include_pad=False, **window).item() == 3.0


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_views_give_what_copies_give(seed):
    x, window = sample(seed)
    size = x.shape[1:-1]

    def view(a):
        """The same values behind reversed, stepped, exchanged axes; read-only."""
        double = np.repeat(a.transpose()[::-1], 2, axis=0)
        a = double[::-2].transpose()
        a.flags.writeable = False
        return a

    y, index = max_pool(x, **window)
    viewed = max_pool(view(x), **window)
    np.testing.assert_array_equal(viewed[0], y)
    np.testing.assert_array_equal(viewed[1], index)
    g = np.random.default_rng(seed).standard_normal(y.shape)
    means = {"count_include_pad": False, **window}
    for got, want in (
        (
            max_pool_grad(view(g), view(index), size=size, **window),
            max_pool_grad(g, index, size=size, **window),
        ),
        (max_pool_pick(view(x), view(index), **window), max_pool_pick(x, index, **window)),
        (avg_pool(view(x), **means), avg_pool(x, **means)),
        (avg_pool_grad(view(g), size=size, **means), avg_pool_grad(g, size=size, **means)),
    ):
        np.testing.assert_array_equal(got, want)


def test_a_broadcast_gradient():
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3))
    window = two_by_two(stride=(1, 1))
    y, index = max_pool(x, **window)
    g = np.broadcast_to(np.float64(1.0), y.shape)
    dx = max_pool_grad(g, index, size=(5, 5), **window)
    assert np.vdot(dx, x) == pytest.approx(y.sum())
    dx = avg_pool_grad(g, size=(5, 5), count_include_pad=True, **window)
    assert dx.sum() == pytest.approx(y.size)
