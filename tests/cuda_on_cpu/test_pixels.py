"""Pictures read by pixel numbers, and boxes in them, against NumPy's indexing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.backend import Backend
from flagstone_cupy.kernels import pixels

RNG = np.random.default_rng(43)
# (n, h, w, channels), (new h, new w)
SHAPES = [
    ((1, 1, 1, 1), (1, 1)),
    ((3, 5, 4, 3), (7, 90)),
    ((2, 9, 30, 11), (20, 30)),  # two blocks along x and y
    ((0, 2, 2, 1), (2, 2)),
    ((2, 2, 3, 1), (2, 0)),
]


def numbers(n: int, m: int, length: int) -> Any:
    return RNG.integers(-2, length + 2, (n, m))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "new"), SHAPES)
def test_pick_pixels(card: Any, shape: Any, new: Any, dtype: str) -> None:
    n, h, w, _ = shape
    x = RNG.standard_normal(shape).astype(dtype)
    rows, columns = numbers(n, new[0], h), numbers(n, new[1], w)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = padded[np.arange(n)[:, None, None], rows[:, :, None] + 2, columns[:, None] + 2]
    y = pixels.pick_pixels(x, rows, columns)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("shape", "new"), SHAPES)
def test_place_pixels(card: Any, shape: Any, new: Any, dtype: str) -> None:
    n, h, w, channels = shape
    g = RNG.standard_normal((n, *new, channels)).astype(dtype)
    rows, columns = numbers(n, new[0], h), numbers(n, new[1], w)
    padded = np.zeros((n, h + 4, w + 4, channels))
    at = np.arange(n)[:, None, None], rows[:, :, None] + 2, columns[:, None] + 2
    np.add.at(padded, at, g.astype("float64"))
    y = pixels.place_pixels(g, rows, columns, size=(h, w))
    assert y.dtype == g.dtype
    tolerance = 1e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(y, padded[:, 2:-2, 2:-2], rtol=tolerance, atol=tolerance)


@pytest.mark.covers("pixels.cu:pick_pixels", "pixels.cu:place_pixels", "pixels.cu:box_mask")
def test_pictures_take_turns(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MOST_BLOCKS", (2**31 - 1, 65535, 2))  # a small card
    x = RNG.standard_normal((5, 3, 4, 2))
    rows, columns = np.tile(np.arange(3), (5, 1)), np.tile(np.arange(4), (5, 1))
    np.testing.assert_array_equal(pixels.pick_pixels(x, rows, columns), x)
    np.testing.assert_array_equal(pixels.place_pixels(x, rows, columns, size=(3, 4)), x)
    middle = np.arange(5)
    mask = pixels.box_mask(middle, middle, 1, 1, size=(5, 5))
    np.testing.assert_array_equal(mask.nonzero(), [middle] * 3)


@pytest.mark.covers("pixels.cu:shifted")
@pytest.mark.parametrize("mode", ["zero", "reflect", "edge"])
@pytest.mark.parametrize(("n", "length"), [(1, 1), (40, 9), (3, 300)])
def test_shifted(card: Any, n: int, length: int, mode: str) -> None:
    offset = RNG.integers(1 - length, length, n)
    places = offset[:, None] + np.arange(length)
    if mode != "zero":
        margin = length - 1
        places = np.pad(np.arange(length), margin, mode=mode)[margin + places]  # type: ignore[call-overload]
    np.testing.assert_array_equal(pixels.shifted(offset, length=length, mode=mode), places)


@pytest.mark.covers("pixels.cu:box_mask")
@pytest.mark.parametrize("size", [(1, 1), (6, 5), (20, 300)])
def test_box_mask(card: Any, size: Any) -> None:
    row, column = (RNG.integers(0, length, 4) for length in size)
    i, j = np.arange(size[0])[:, None], np.arange(size[1])
    sides = RNG.integers(0, max(size) + 3, (2, 4))
    for height, width in (sides, (3, 2), (sides[0], 4), (-3, 4)):
        tall, wide = (np.broadcast_to(side, 4) for side in (height, width))
        expected = [
            (i >= r - b // 2) & (i < r - b // 2 + b) & (j >= c - a // 2) & (j < c - a // 2 + a)
            for r, c, b, a in zip(row, column, tall, wide, strict=True)
        ]
        given = pixels.box_mask(row, column, height, width, size=size)
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("text", ["alternating-flip", "alternating-flip,cutout(size=3)"])
def test_images_are_mirrored_in_every_other_epoch(text: str, simulated: Backend, card: Any) -> None:
    images, y = RNG.integers(0, 256, (12, 6, 6), "uint8"), np.arange(12) % 3
    losses = []
    for device in ("cpu", "simulated"):
        model = fs.model("cnn", device=device, epochs=4, batch_size=6, augment=text, dropout=0.0)
        losses.append([e["train"]["loss"] for e in model.fit(images, y).history_])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert card.graphs.captured >= 1


def test_a_network_learns_the_same_from_moved_bytes(simulated: Backend, card: Any) -> None:
    images, y = RNG.integers(0, 256, (16, 8, 8), "uint8"), np.arange(16) % 3
    losses = [
        fs.model(
            "cnn", device=device, epochs=1, batch_size=8, augment="crop(padding=2),cutout(size=3)"
        ).fit(images, y).history_[0]["train"]["loss"]
        for device in ("cpu", "simulated")
    ]  # fmt: skip
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert {f"pixels.cu:{name}" for name in ("pick_pixels", "shifted", "box_mask")} <= card.launched
    assert {"gather.cu:take_rows", "stochastic.cu:random_integers"} <= card.launched
