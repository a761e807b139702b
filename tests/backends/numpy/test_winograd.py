"""Winograd's F(2x2, 3x3) and F(4x4, 3x3) in float32 against direct convolution in float64.

The error that the kernel's header names is what this prints, largest over a few seeds:

    pytest -s tests/backends/numpy/test_winograd.py -k error
"""

from __future__ import annotations

import numpy as np
import pytest

from flagstone_numpy import threads
from flagstone_numpy.kernels import conv as choice
from flagstone_numpy.kernels import im2col, winograd
from flagstone_numpy.kernels.windows import Window

WORST = 2e-6  # of the largest number of the result; float32 rounds to 6e-8
WORST_LARGE = 5e-5  # with tiles of 4x4 outputs
SHAPES = {
    "even": ((6, 14, 14, 32), 64, ((1, 1), (1, 1))),
    "odd": ((9, 7, 7, 64), 48, ((1, 1), (1, 1))),
    "odd by even": ((5, 9, 12, 32), 40, ((1, 1), (1, 1))),
    "not padded": ((5, 11, 10, 33), 35, ((0, 0), (0, 0))),
    "lopsided": ((5, 10, 11, 32), 32, ((2, 0), (0, 1))),
    "wide padding": ((5, 6, 6, 32), 32, ((4, 3), (2, 5))),
    "one row of tiles": ((40, 4, 30, 32), 32, ((0, 0), (1, 1))),
    "few channels": ((5, 9, 9, 3), 2, ((1, 1), (1, 1))),
    "one image": ((1, 40, 41, 32), 32, ((1, 1), (1, 1))),
}


def arrays(shape, k, padding, seed=0):
    rng = np.random.default_rng(seed)
    window = Window((3, 3), (1, 1), padding, (1, 1))
    positions = window.positions(shape[1:-1])
    x, w = rng.standard_normal(shape), rng.standard_normal((k, 3, 3, shape[-1]))
    b, g = rng.standard_normal(k), rng.standard_normal((shape[0], *positions, k))
    return window, positions, *(a.astype(np.float32) for a in (x, w, b, g))


def exact(*operands):
    return (a.astype(np.float64) for a in operands)


def error(got, want):
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.fixture(params=["real blocks", "small blocks"])
def block_bytes(request, monkeypatch):
    """Blocks of the real size, and so small that an image is cut into rows of tiles."""
    if request.param == "small blocks":
        monkeypatch.setattr(winograd, "BLOCK_BYTES", 1000)
        monkeypatch.setattr(winograd, "LEAST_TILES", 1)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("number", "size"), [(1, 2), (2, 2), (3, 4)])
@pytest.mark.usefixtures("block_bytes")
def test_direct_convolution_in_float64(monkeypatch, name, number, size):
    monkeypatch.setattr(threads, "_settings", (number, 1))
    window, positions, x, w, b, g = arrays(*SHAPES[name])
    worst = WORST if size == 2 else WORST_LARGE
    want = im2col.forward(*exact(x, w, b), window, positions, 1)
    y = winograd.forward(x, w, b, window, positions, size=size)
    assert y.dtype == np.float32
    assert error(y, want) < worst
    without = winograd.forward(x, w, None, window, positions, size=size)
    assert error(without, want - b) < worst
    dw = winograd.weight_grad(g, x, window, size=size)
    assert dw.dtype == np.float32
    assert dw.shape == w.shape
    assert error(dw, im2col.weight_grad(*exact(g, x), window, 1)) < worst


@pytest.mark.parametrize("channels", [32, 128])
def test_the_error_is_as_documented(channels):
    worst = {"Winograd": 0.0, "4x4 outputs": 0.0, "direct": 0.0}
    for seed in range(3):
        shape = (8, 14, 14, channels)
        window, positions, x, w, b, _ = arrays(shape, channels, ((1, 1), (1, 1)), seed)
        want = im2col.forward(*exact(x, w, b), window, positions, 1)
        for name, y in (
            ("Winograd", winograd.forward(x, w, b, window, positions)),
            ("4x4 outputs", winograd.forward(x, w, b, window, positions, size=4)),
            ("direct", im2col.forward(x, w, b, window, positions, 1)),
        ):
            worst[name] = max(worst[name], error(y, want))
    print({name: f"{value:.1e}" for name, value in worst.items()})  # noqa: T201  # the command above
    assert worst["Winograd"] < 1e-6
    assert worst["Winograd"] < 8 * worst["direct"]
    assert worst["4x4 outputs"] < 2e-5


def test_infinities_and_nan_do_not_leave_their_tiles():
    """Sums of inputs are formed first: a tile with an infinity may turn into NaN, others not."""
    window, positions, x, w, b, _ = arrays(*SHAPES["even"])
    clean = winograd.forward(x, w, b, window, positions)
    x[2, 6, 6, 0], x[3, 0, 0, 5] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        y = winograd.forward(x, w, b, window, positions)
    assert not np.isfinite(y[2, 5:8, 5:8]).any()
    assert not np.isfinite(y[3, 0:2, 0:2]).any()
    touched = np.zeros(y.shape, bool)
    touched[2, 4:8, 4:8] = touched[3, :2, :2] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"dtype": np.float64}, False),
        ({"stride": (2, 1)}, False),
        ({"dilation": (2, 2)}, False),
        ({"groups": 2}, False),
        ({"channels": 16}, False),
        ({"images": 1}, False),
    ],
)
def test_what_it_is_chosen_for(monkeypatch, change, taken):
    called = []
    for module, name in ((winograd, "Winograd"), (im2col, "im2col")):
        forward = module.forward
        monkeypatch.setattr(
            module,
            "forward",
            lambda *a, f=forward, n=name, **how: called.append(n) or f(*a, **how),
        )
    c, groups = change.get("channels", 64), change.get("groups", 1)
    dtype = change.get("dtype", np.float32)
    x = np.ones((change.get("images", 10), 10, 10, c), dtype)
    choice.conv(
        x, np.ones((64, 3, 3, c // groups), dtype), None, stride=change.get("stride", (1, 1)),
        padding=((1, 1), (1, 1)), dilation=change.get("dilation", (1, 1)), groups=groups,
    )  # fmt: skip
    assert called == ["Winograd" if taken else "im2col"]
