"""Rows of the op table: what is drawn for each example, pixels picked by number, boxes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, I4

LARGEST = 2**64 - 1
IMAGES = np.ones((2, 3, 4, 1))
R23 = np.zeros((2, 3), np.int64)
WORDS = np.zeros(4, np.uint64)


def _words(draw: Draw, *shape: int) -> Array:
    return np.asarray(draw.rng.integers(0, LARGEST, shape, np.uint64, endpoint=True))


def _integers(draw: Draw) -> Iterator[Sample]:
    for shape, high in (((5,), 7), ((3, 4), 65536), ((1,), 2**32), ((0,), 3), ((2, 3), 1)):
        yield Sample(_words(draw, *shape), high=high)
    ends = np.array([0, 2**32 - 1, 2**32, 2**63, LARGEST - 2**32, LARGEST], np.uint64)
    for high in (1, 2, 3, 4096, 2**32):
        yield Sample(ends, high=high)


def _scaled(words: Array, high: int) -> Array:
    numbers = [int(word) // 2**32 * high // 2**32 for word in words.reshape(-1)]
    return np.array(numbers, np.int64).reshape(words.shape)


def _pairs(draw: Draw) -> Iterator[Sample]:
    for n in (0, 1, 2, 3, 10):
        yield Sample(_words(draw, n))
    yield Sample(np.array([LARGEST, 0, 0, 0], np.uint64))
    yield Sample(np.array([0, LARGEST, 5, 1], np.uint64))


def _turned(words: Array) -> Array:
    n = len(words)
    if n < 2:
        return np.arange(n)
    distance = 1 + int(words[0]) // 2**32 * (n - 1) // 2**32
    return np.roll(np.arange(n), -distance)


def _picks(draw: Draw) -> Iterator[Sample]:
    for n, h, w, channels, new_h, new_w in (
        (2, 3, 4, 2, 3, 4), (3, 5, 2, 1, 2, 6), (1, 1, 1, 1, 1, 1), (0, 2, 2, 1, 2, 2),
        (2, 2, 3, 3, 1, 0),
    ):  # fmt: skip
        rows = draw.rng.integers(-2, h + 2, (n, new_h))
        columns = draw.rng.integers(-2, w + 2, (n, new_w))
        yield Sample(draw(n, h, w, channels), rows, columns)


def _picked(x: Array, rows: Array, columns: Array) -> Array:
    n, h, w, channels = x.shape
    out = np.zeros((n, rows.shape[1], columns.shape[1], channels))
    for k, i, j in np.ndindex(out.shape[:3]):
        r, c = int(rows[k, i]), int(columns[k, j])
        if 0 <= r < h and 0 <= c < w:
            out[k, i, j] = x[k, r, c]
    return out


def _places(draw: Draw) -> Iterator[Sample]:
    for n, h, w, channels, size in (
        (2, 3, 4, 2, (3, 4)), (3, 2, 6, 1, (5, 2)), (1, 1, 1, 1, (1, 1)), (0, 2, 2, 1, (2, 2)),
    ):  # fmt: skip
        rows = draw.rng.integers(-2, size[0] + 2, (n, h))
        columns = draw.rng.integers(-2, size[1] + 2, (n, w))
        yield Sample(draw(n, h, w, channels), rows, columns, size=size)


def _placed(g: Array, rows: Array, columns: Array, size: tuple[int, int]) -> Array:
    out = np.zeros((g.shape[0], *size, g.shape[3]))
    for k, i, j in np.ndindex(g.shape[:3]):
        r, c = int(rows[k, i]), int(columns[k, j])
        if 0 <= r < size[0] and 0 <= c < size[1]:
            out[k, r, c] += g[k, i, j]
    return out


def _shifts(draw: Draw) -> Iterator[Sample]:
    for mode in ("zero", "reflect", "edge"):
        yield Sample(np.array([-3, -1, 0, 2, 3]), length=4, mode=mode)
        yield Sample(np.array([0]), length=1, mode=mode)
        yield Sample(np.zeros(0, np.int64), length=3, mode=mode)
    yield Sample(np.array([-9, 9]), length=4, mode="zero")
    yield Sample(np.array([-9, 9]), length=4, mode="edge")
    yield Sample(np.array([0, 1, 0, -7]), length=5, mode="mirror")
    for mode, offset in (("zero", [-1, 9, 2]), ("reflect", [-3, 0, 3]), ("mirror", [1, 0, 5])):
        yield Sample(np.array(offset), draw.rng.integers(-1, 4, (3, 4)), length=4, mode=mode)


def _shifted(offset: Array, before: Any = None, *, length: int, mode: str) -> Array:
    """By padding the numbers 0 .. length - 1 and cutting them out again."""
    if before is not None:
        places = _shifted(offset, length=length, mode=mode)
        return np.array([
            [row[i] if 0 <= i < length else -1 for i in reads]
            for row, reads in zip(before.tolist(), places.tolist(), strict=True)
        ])  # fmt: skip
    places = np.arange(length)
    if mode == "mirror":
        return np.array([places[::-1] if o else places for o in offset.tolist()])
    if mode == "zero":
        return offset[:, None] + places
    margin = int(np.abs(offset).max(initial=0))
    padded = np.pad(places, margin, mode=mode)  # type: ignore[call-overload]
    cut = [padded[margin + o : margin + o + length] for o in offset.tolist()]
    return np.array(cut, np.int64).reshape(len(offset), length)


def _boxes(draw: Draw) -> Iterator[Sample]:
    for n, h, w in ((4, 6, 5), (3, 1, 7), (0, 2, 2), (1, 1, 1)):
        row, column = draw.rng.integers(0, h, n), draw.rng.integers(0, w, n)
        yield Sample(row, column, 3, 2, size=(h, w))
        sides = draw.rng.integers(0, 8, (2, n))
        yield Sample(row, column, sides[0], sides[1], size=(h, w))


def _box(row: Array, column: Array, height: Any, width: Any, size: tuple[int, int]) -> Array:
    n = len(row)
    heights, widths = np.broadcast_to(height, n), np.broadcast_to(width, n)
    out = np.zeros((n, *size), bool)
    for k in range(n):
        top, left = int(row[k] - heights[k] // 2), int(column[k] - widths[k] // 2)
        bottom, right = top + int(heights[k]), left + int(widths[k])
        out[k, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return out


ROWS = (
    OpRow(
        "random_integers", ops.random_integers, _integers, _scaled,
        refusals=(
            Refusal(DTypeError, "random_integers: words expected uint64; got int64", I4, high=2),
            Refusal(InputError, "random_integers: high expected an integer from 1 to 2", WORDS,
                    high=0),
            Refusal(InputError, r"random_integers: high .* got 4294967297", WORDS, high=2**32 + 1),
            Refusal(InputError, r"random_integers: high .* got 2\.5", WORDS, high=2.5),
        ),
    ),
    OpRow(
        "random_partners", ops.random_partners, _pairs, _turned,
        refusals=(
            Refusal(DTypeError, "random_partners: words expected uint64; got float64", D4),
            Refusal(ShapeError, r"random_partners: words expected shape \(n,\); got \(2, 2\)",
                    WORDS.reshape(2, 2)),
        ),
    ),
    OpRow(
        "pick_pixels", ops.pick_pixels, _picks, _picked, (0,),
        refusals=(
            Refusal(ShapeError, r"pick_pixels: x expected images .* got \(4,\)", D4, R23, R23),
            Refusal(ShapeError, "pick_pixels: x expected at least one pixel", IMAGES[:, :0], R23,
                    R23),
            Refusal(DTypeError, "pick_pixels: x expected a floating", IMAGES.astype(int), R23, R23),
            Refusal(DTypeError, "pick_pixels: rows expected int64; got float64", IMAGES,
                    np.ones((2, 3)), R23),
            Refusal(ShapeError, r"pick_pixels: columns expected numbers for 2 examples, \(2, m\); "
                    r"got \(1, 3\)", IMAGES, R23, R23[:1]),
        ),
    ),
    OpRow(
        "place_pixels", ops.place_pixels, _places, _placed, (0,),
        refusals=(
            Refusal(ShapeError, "place_pixels: expected a number for each of 3 rows and 4 columns "
                    "of g; got 3 and 3", IMAGES, R23, R23, size=(3, 4)),
            Refusal(InputError, r"place_pixels: size expected .* got \(0, 4\)", IMAGES, R23,
                    np.zeros((2, 4), np.int64), size=(0, 4)),
            Refusal(ShapeError, r"place_pixels: g expected images .* got \(4,\)", D4, R23, R23,
                    size=(3, 4)),
        ),
    ),
    OpRow(
        "shifted", ops.shifted, _shifts, _shifted,
        refusals=(
            Refusal(DTypeError, r"shifted: offset expected int64 of shape \(n,\); got float64", D4,
                    length=3, mode="zero"),
            Refusal(InputError, "shifted: length expected a positive integer; got 0", I4, length=0,
                    mode="zero"),
            Refusal(InputError, "shifted: mode expected one of zero, reflect, edge, mirror; got",
                    I4, length=3, mode="wrap"),
            Refusal(ShapeError, r"shifted: before expected 3 places; got \(4, 2\)", I4,
                    np.zeros((4, 2), np.int64), length=3, mode="zero"),
        ),
    ),
    OpRow(
        "box_mask", ops.box_mask, _boxes, _box,
        refusals=(
            Refusal(ShapeError, "box_mask: row expected int64 of shape .* got float64", D4, I4, 1,
                    1, size=(2, 2)),
            Refusal(ShapeError, r"box_mask: height expected int64 .* got int64 of \(3,\)", I4, I4,
                    I4[:3], 1, size=(2, 2)),
            Refusal(DTypeError, r"box_mask: width expected an integer; got 1\.5", I4, I4, 1, 1.5,
                    size=(2, 2)),
        ),
    ),
)  # fmt: skip
