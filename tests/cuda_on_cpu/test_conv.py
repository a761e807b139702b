"""Convolution and its gradients against loops over taps in float64.

Over several blocks, with ragged edges, strides, dilation, groups, one to three axes, in every type
and by every tile.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from flagstone.errors import DTypeError, InputError
from flagstone_cupy import launch
from flagstone_cupy.kernels import conv, products, tiles, window
from flagstone_cupy.signature import BFLOAT16

RNG = np.random.default_rng(11)

# precision, dtype, relative error that is allowed
KINDS = {
    "float32": ("exact", "float32", 1e-6),
    "float64": ("exact", "float64", 2e-15),
    "tf32": ("tf32", "float32", 6e-4),
    "float16": ("exact", "float16", 5e-4),
    "bfloat16": ("exact", "bfloat16", 4e-3),
}

# images, size, channels in, out, kernel, stride, padding, dilation, groups
SHAPES = {
    "3x3": (2, (9, 7), 16, 24, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "odd channels": (2, (6, 7), 5, 7, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "strided": (2, (11, 9), 24, 72, (3, 3), (2, 1), ((1, 2), (0, 3)), (1, 1), 1),
    "dilated": (2, (9, 11), 8, 16, (3, 2), (2, 3), ((3, 1), (2, 2)), (3, 2), 1),
    "groups": (2, (8, 7), 16, 48, (3, 3), (1, 2), ((1, 1), (1, 1)), (2, 1), 2),
    "one axis": (2, (40,), 16, 32, (5,), (3,), ((2, 1),), (2,), 2),
    "three axes": (
        1,
        (5, 6, 7),
        8,
        16,
        (3, 2, 3),
        (1, 2, 1),
        ((1, 1), (0, 1), (1, 0)),
        (1, 1, 2),
        1,
    ),
    "1x1": (3, (10, 9), 32, 40, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "1x1 strided": (2, (9, 9), 8, 16, (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "patches": (1, (37, 33), 8, 8, (11, 16), (11, 16), ((0, 0), (0, 0)), (1, 1), 1),
    "few channels": (2, (13, 12), 3, 21, (3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "whitening": (3, (13, 12), 3, 23, (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one channel": (2, (28, 28), 1, 32, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "depthwise": (2, (10, 11), 20, 20, (3, 3), (2, 1), ((1, 1), (1, 1)), (1, 2), 20),
    "depthwise 5x5": (1, (9, 11), 37, 37, (5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 37),
    "depthwise twofold": (2, (6, 6), 6, 12, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 6),
    "padding wider than the kernel": (1, (4, 3), 8, 8, (2, 2), (2, 1), ((4, 3), (3, 4)), (1, 1), 1),
    "gaps between windows": (1, (14, 13), 8, 8, (2, 2), (5, 4), ((0, 0), (0, 0)), (1, 1), 1),
}
ALL = ("conv_simt.cu:conv_forward", "conv_simt.cu:conv_input_grad",
       "conv_simt.cu:conv_weight_grad", "slices.cu:add_slices")  # fmt: skip


@pytest.fixture(autouse=True)
def _no_plan_is_kept() -> None:
    """Tests change the tables that plans are made by."""
    products._gathering.cache_clear()
    products._weighing.cache_clear()


def cast(a: Any, dtype: str) -> Any:
    """``a`` in a dtype, rounded to nearest."""
    if dtype != "bfloat16":
        return a.astype(dtype)
    bits = a.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16)


def value(a: Any) -> Any:
    """What such an array holds, in float64."""
    if a.dtype == BFLOAT16:
        return (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return a.astype(np.float64)


def error(got: Any, expected: Any) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(value(got) - expected) / max(np.linalg.norm(expected), 1e-300))


class Reference:
    """conv and its two transposes, tap by tap."""

    def __init__(self, shape: Any, x: Any, w: Any) -> None:
        _, self.size, _, _, self.kernel, self.stride, self.padding, self.dilation, groups = shape
        self.x, self.w, self.groups = value(x), value(w), groups
        self.padded = np.pad(self.x, ((0, 0), *self.padding, (0, 0)))
        self.out = tuple(
            (p - d * (k - 1) - 1) // s + 1
            for p, k, s, d in zip(
                self.padded.shape[1:-1], self.kernel, self.stride, self.dilation, strict=True
            )
        )

    def taps(self) -> Any:
        for tap in itertools.product(*map(range, self.kernel)):
            axes = zip(tap, self.dilation, self.stride, self.out, strict=True)
            yield (
                tap,
                (slice(None), *(slice(t * d, t * d + s * (o - 1) + 1, s) for t, d, s, o in axes)),
            )

    def split(self, a: Any) -> Any:
        return a.reshape(*a.shape[:-1], self.groups, a.shape[-1] // self.groups)

    def weights(self, tap: Any) -> Any:
        w = self.w[(slice(None), *tap)]
        return w.reshape(self.groups, w.shape[0] // self.groups, w.shape[-1])

    def forward(self, b: Any) -> Any:
        y = 0.0
        for tap, under in self.taps():
            y = y + np.einsum("...gc,gkc->...gk", self.split(self.padded[under]), self.weights(tap))
        return y.reshape(*y.shape[:-2], -1) + value(b)

    def input_grad(self, g: Any) -> Any:
        dx = np.zeros_like(self.padded)
        for tap, under in self.taps():
            part = np.einsum("...gk,gkc->...gc", self.split(value(g)), self.weights(tap))
            dx[under] += part.reshape(*part.shape[:-2], -1)
        inside = (slice(lo, lo + n) for n, (lo, _) in zip(self.size, self.padding, strict=True))
        return dx[(slice(None), *inside)]

    def weight_grad(self, g: Any) -> Any:
        dw = np.zeros_like(self.w)
        for tap, under in self.taps():
            rows = [self.split(a.reshape(-1, a.shape[-1])) for a in (value(g), self.padded[under])]
            part = np.einsum("mgk,mgc->gkc", *rows)
            dw[(slice(None), *tap)] = part.reshape(-1, part.shape[-1])
        return dw


def sample(shape: Any, dtype: str) -> tuple[Any, Any, Any, dict[str, Any], Reference]:
    n, size, c, k, kernel, stride, padding, dilation, groups = shape
    x = cast(RNG.standard_normal((n, *size, c)), dtype)
    w = cast(RNG.standard_normal((k, *kernel, c // groups)), dtype)
    b = cast(RNG.standard_normal(k), dtype)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, w, b, how, Reference(shape, x, w)


def check(shape: Any, kind: str) -> None:
    """All three, with bias, its gradient, and an activation."""
    precision, dtype, allowed = KINDS[kind]
    x, w, b, how, reference = sample(shape, dtype)
    how["precision"] = precision
    expected = reference.forward(b)
    assert error(conv.conv(x, w, b, **how), expected) < allowed
    y = conv.conv(x, w, b, activation="relu", **how)
    assert error(y, np.maximum(expected, 0)) < allowed
    g = cast(RNG.standard_normal(expected.shape), dtype)
    assert (
        error(conv.conv_input_grad(g, w, size=shape[1], **how), reference.input_grad(g)) < allowed
    )
    dw, db = conv.conv_weight_bias_grad(g, x, kernel=shape[4], **how)
    assert error(dw, reference.weight_grad(g)) < allowed
    assert error(db, value(g).reshape(-1, g.shape[-1]).sum(0)) < allowed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_in_every_type(card: Any, name: str, kind: str) -> None:
    card.seeds = (0, 1)
    check(SHAPES[name], kind)


@pytest.mark.covers(*ALL)
def test_the_ordinary_units(card: Any) -> None:
    check(SHAPES["3x3"], "float32")


@pytest.mark.covers(
    "conv_tensor.cu:tensor_forward", "conv_tensor.cu:tensor_input_grad",
    "conv_tensor.cu:tensor_weight_grad",
)  # fmt: skip
@pytest.mark.parametrize("kind", ["tf32", "float16", "bfloat16"])
def test_the_tensor_cores(card: Any, kind: str) -> None:
    check(SHAPES["groups"], kind)


@pytest.mark.covers("conv_narrow.cu:conv_narrow", "conv_narrow.cu:conv_narrow_weight_grad")
@pytest.mark.parametrize("images", [0, 1, 5])
def test_few_channels_have_kernels(card: Any, images: int) -> None:
    if images:
        check((images, *SHAPES["whitening"][1:]), "float32")
    else:
        x, w, b, how, _ = sample(SHAPES["whitening"], "float32")
        assert conv.conv(x[:1], w, b, **how).shape == (1, 12, 11, 23)
        g = np.zeros((0, 12, 11, 23), "float32")
        dw, db = conv.conv_weight_bias_grad(g, x[:0], kernel=(2, 2), **how)
        assert not dw.any()
        assert not db.any()


@pytest.mark.covers("depthwise.cu:depthwise", "depthwise.cu:depthwise_weight_grad")
def test_one_filter_a_channel_has_a_kernel(card: Any) -> None:
    check(SHAPES["depthwise"], "float32")


def test_integers_are_refused_even_if_they_are_bits_of_bfloat16(card: Any) -> None:
    x, w = np.ones((1, 4, 4, 8), np.uint16), np.ones((8, 3, 3, 8), np.uint16)
    how: Any = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    told = "multiply float32, float64, float16, bfloat16; got uint16"
    with pytest.raises(DTypeError, match=told):
        conv.conv(x, w, **how)
    with pytest.raises(DTypeError, match=told):
        conv.conv_input_grad(x, w, size=(6, 6), **how)
    with pytest.raises(DTypeError, match=told):
        conv.conv_weight_grad(x, x, kernel=(1, 1), **how)
    with pytest.raises(DTypeError, match="w expected bfloat16; got uint16"):
        conv.conv(cast(np.ones(x.shape), "bfloat16"), w, **how)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_types_stay_off_the_tensor_cores_of_older_cards(card: Any, dtype: str) -> None:
    card.capability = 75
    with launch.recording() as seen:
        check(SHAPES["3x3"], dtype)
    assert {s.kernel.source for s in seen} == {"conv_simt.cu", "slices.cu"}


def _cases() -> Any:
    """Every tile: table, dtype, place in the table, and what it is called."""
    for name in ("FORWARD", "INPUT_GRAD", "INPUT_GRAD_PHASED", "WEIGHT_GRAD"):
        for prefix in ("", "TENSOR_"):
            for dtype, of_type in getattr(tiles, prefix + name).items():
                for tile, splits in itertools.product(of_type, (1, 3)):
                    if splits == 1 or name != "INPUT_GRAD_PHASED":  # phases are not split
                        yield pytest.param(name, dtype, tile, splits, id=f"{tile.kernel} {splits}")


@pytest.mark.parametrize(("table", "dtype", "tile", "splits"), [*_cases()])
def test_every_tile_over_several_blocks_and_splits(
    card: Any, monkeypatch: pytest.MonkeyPatch, table: str, dtype: str, tile: Any, splits: int
) -> None:
    """Rows and columns of more than two tiles with ragged ends, and sums of several splits."""
    card.seeds = (splits,)
    used = []

    def choose(*_: Any) -> Any:
        used.append(tile)
        return tile

    monkeypatch.setattr(tiles, "choose", choose)
    monkeypatch.setattr(tiles, "splits_of", lambda t, _b, length, _l: _split(t, length, splits))
    stride = 2 if table == "INPUT_GRAD_PHASED" else 1
    shape = (2, (15, 11), 40, 136, (2, 2), (stride, 1), ((1, 0), (0, 1)), (1, 1), 1)
    if table.startswith("INPUT_GRAD"):
        shape = (*shape[:2], 136, 24, *shape[4:])
    tensor = tile.kernel.source == "conv_tensor.cu"
    kind = "tf32" if tensor and dtype == "float32" else dtype
    precision, _, allowed = KINDS[kind]
    x, w, b, how, reference = sample(shape, dtype)
    how["precision"] = precision
    expected = reference.forward(b)
    g = cast(RNG.standard_normal(expected.shape), dtype)
    if table == "FORWARD":
        assert error(conv.conv(x, w, b, **how), expected) < allowed
    elif table == "WEIGHT_GRAD":
        dw, db = conv.conv_weight_bias_grad(g, x, kernel=shape[4], **how)
        assert error(dw, reference.weight_grad(g)) < allowed
        assert error(db, value(g).reshape(-1, g.shape[-1]).sum(0)) < allowed
    else:
        dx = conv.conv_input_grad(g, w, size=shape[1], **how)
        assert error(dx, reference.input_grad(g)) < allowed
    assert used == [tile]
    if tensor:
        counted = card.library("conv_tensor.cu").statistics()
        assert counted["mma"] > 0
        assert counted["bank_conflicts"] == 0


def _split(tile: Any, length: int, splits: int) -> tuple[int, int]:
    steps = math.ceil(length / tile.depth)
    return splits, math.ceil(steps / splits)


def test_empty_and_smallest_arrays(card: Any) -> None:
    how: Any = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    x, w = np.zeros((0, 4, 4, 8), "float32"), np.ones((8, 3, 3, 8), "float32")
    y = conv.conv(x, w, **how)
    assert y.shape == (0, 4, 4, 8)
    assert conv.conv_input_grad(y, w, size=(4, 4), **how).shape == x.shape
    np.testing.assert_array_equal(conv.conv_weight_grad(y, x, kernel=(3, 3), **how), 0)
    check((1, (1, 1), 1, 1, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1), "float32")
    check((1, (1,), 8, 8, (3,), (1,), ((1, 1),), (1,), 1), "float16")


def test_views_that_begin_off_a_vectors_edge(card: Any) -> None:
    """16 bytes cannot be read at once from everywhere."""
    shape = SHAPES["3x3"]
    x, w, b, how, reference = sample(shape, "float32")
    room = np.empty(x.size + 1, "float32")
    off = room[1:].reshape(x.shape)
    off[...] = x
    assert error(conv.conv(off, w, b, **how), reference.forward(b)) < 1e-6
    assert error(conv.conv(off, w, b, precision="tf32", **how), reference.forward(b)) < 1e-6


def test_nan_and_infinity_pass_where_they_are_seen_and_nowhere_else(card: Any) -> None:
    for kind in ("float32", "tf32", "bfloat16"):
        precision, dtype, _ = KINDS[kind]
        x, w, b, how, _ = sample(SHAPES["3x3"], dtype)
        x[1, 4, 4, 3] = cast(np.array([np.nan]), dtype)[0]
        y = value(conv.conv(x, w, b, activation="relu", precision=precision, **how))
        seen = np.isnan(y).all(-1)
        expected = np.zeros(seen.shape, bool)
        expected[1, 3:6, 3:6] = True
        np.testing.assert_array_equal(seen, expected)
        assert not np.isnan(y[~expected]).any()


def test_the_order_of_additions_does_not_depend_on_the_tile(
    card: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    card.seeds = (0,)
    x, w, b, how, _ = sample(SHAPES["strided"], "float32")
    results = []
    for tile in tiles.FORWARD["float32"]:
        products._gathering.cache_clear()
        monkeypatch.setattr(tiles, "choose", lambda *_, tile=tile: tile)
        results.append(conv.conv(x, w, b, **how))
    assert all(np.array_equal(results[0], r) for r in results[1:])


def test_what_cannot_be_counted_is_refused() -> None:
    axes = window.forward_axes((2**20, 2**10), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    large = window.Layout("conv", axes, 2, 4, 4, 1, (4, 4), (36, 4, 144), (4, 4))
    with pytest.raises(InputError, match=r"conv: an image of x count 4294967296"):
        window.product(large)
    with pytest.raises(InputError, match="the rows of y"):
        window.product(large._replace(axes=window.POINTS, images=2**31))
    with pytest.raises(InputError, match=r"precision expected 'exact' or 'tf32' or .*; got 'half'"):
        conv.conv(np.zeros(1), np.zeros(1), stride=(), padding=(), dilation=(), groups=1,
                  precision="half")  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 64, 1000, 2**20 + 7, 2**31 - 1])
def test_division_by_multiplication(n: int) -> None:
    _, multiplier, shift = window.divider(n)
    most = 2**31 - 1
    for i in {0, 1, n - 1, n, n + 1, most // n * n - 1, most // n * n, most, 123456789}:
        if 0 <= i <= most:
            assert (i if n == 1 else i * multiplier >> 32 >> shift) == i // n


def test_every_place_of_the_input_has_one_phase() -> None:
    """The phases' taps are the pairs (place, tap) that a loop over positions finds."""
    for n, r, s, low, d, p in itertools.product(
        (1, 5, 8), (1, 3, 4), (1, 2, 3), (0, 1, 4), (1, 2, 3), (1, 4)
    ):
        axis = window.input_grad_axes((p,), (n,), (r,), (s,), ((low, 0),), (d,))[-1]
        found = set()
        for phase in axis.phases:
            for i, t in itertools.product(range(phase.positions), range(phase.taps)):
                seen = phase.first + i * axis.step + t * axis.delta
                if 0 <= seen < p:
                    tap = phase.weight_first + t * axis.weight_delta
                    found.add((phase.out_first + i * axis.out_step, tap, seen))
        looped = {(q * s + t * d - low, t, q) for q, t in itertools.product(range(p), range(r))}
        assert found == {(h, t, q) for h, t, q in looped if 0 <= h < n}
        assert sum(phase.positions for phase in axis.phases) == n


def test_sums_are_split_where_blocks_are_few() -> None:
    tile = tiles.WEIGHT_GRAD["float32"][0]
    splits, steps = tiles.splits_of(tile, 2, 100_000, tiles.LEAST_ROWS)
    assert splits == 132
    assert splits * steps * tile.depth >= 100_000
    assert tiles.splits_of(tile, 1000, 100_000, tiles.LEAST_ROWS)[0] == 1
    assert math.prod(tiles.splits_of(tile, 1, 0, tiles.LEAST_ROWS)) == 1
