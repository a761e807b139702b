"""Launching the three products of window.cuh: splitting their sums and adding the slices up.

A product whose tiles do not fill a card is split along its sum; each split writes a slice of its
own, and a second kernel adds slices in their order. That kernel also rounds a weight gradient to 16
bits, where those are wanted.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from flagstone.errors import InputError
from flagstone_cupy.kernel import Kernel
from flagstone_cupy.kernels import tiles
from flagstone_cupy.kernels.tiles import SUMS, TENSOR, TYPES, Tile
from flagstone_cupy.kernels.window import Layout, is_phased, launches, product
from flagstone_cupy.launch import Array, empty, launch

ADD_SLICES = {
    dtype: Kernel("slices.cu", "add_slices", T=TYPES[dtype][0], S=TYPES[dtype][1])
    for dtype in TYPES
}
PRECISIONS = ("exact", "tf32", "mixed-fp16", "mixed-bf16")  # 16 bits are known by their dtype
ACTIVATIONS = {None: 0, "relu": 1}


class Step(NamedTuple):
    """A launch: how many blocks of a tile, the splits among them, and the struct ``Product``."""

    tile: Tile
    blocks: int
    splits: int
    product: Any


def gather(
    layout: Layout, x: Array, w: Array, bias: Array | None, y: Array, *, across: bool,
    precision: str, activation: str | None = None,
) -> None:  # fmt: skip
    """Write ``y``, the product of x's windows with w[n, tap, c] or, ``across``, w[c, tap, n].

    Arguments:
        x, w, bias, y: of one dtype.
        precision: ``"tf32"`` lets float32 go through the tensor cores; 16-bit types always do.
        activation: ``None`` or ``"relu"``, of the result.
    """
    dtype = tiles.kind(x)
    first = tiles.divides(x, layout.channels, *layout.x)
    second = tiles.divides(w, layout.columns if across else layout.channels, *layout.w)
    tensor = _uses_tensor_cores(dtype, precision, min(first, second))
    aligned = tiles.divides(y, layout.columns, *layout.y) >= 4
    for step in _gathering(
        layout, dtype, across, tensor, first, second, y.size, aligned, activation
    ):
        slices = empty((step.splits, y.size), SUMS[dtype]) if step.splits > 1 else None
        early = bias if slices is None else None
        _launch(step, (x, w, early, y, slices, step.product))
        if slices is not None:
            add_slices(slices, bias, y, activation)


def weight_product(
    layout: Layout, y: Array, x: Array, w: Array, bias: Array | None, *, precision: str
) -> None:
    """Write ``w``, the sum over rows of y[row, k] * x's windows, and to ``bias`` the sums of y.

    Arguments:
        y, x, w, bias: of one dtype; ``bias`` may be ``None``.
        precision: as for :func:`gather`.
    """
    dtype = tiles.kind(x)
    first = tiles.divides(y, layout.columns, *layout.y)
    second = tiles.divides(x, layout.channels, *layout.x)
    tensor = _uses_tensor_cores(dtype, precision, min(first, second))
    step = _weighing(layout, dtype, tensor, first, second, w.size, tiles.divides(w) >= 4)
    direct = step.splits == 1 and dtype == SUMS[dtype]
    slices = w if direct else empty((step.splits, w.size), SUMS[dtype])
    sums = None
    if bias is not None:
        sums = empty((step.splits, layout.groups * layout.columns), SUMS[dtype])
    _launch(step, (y, x, slices, sums, step.product))
    if not direct:
        add_slices(slices, None, w)
    if bias is not None:
        add_slices(sums, None, bias)


def add_slices(
    slices: Array, bias: Array | None, y: Array, activation: str | None = None
) -> None:  # fmt: skip
    """``y``, of any shape, gets the sum of (splits, size) ``slices`` and bias, activated."""
    kernel = ADD_SLICES[tiles.kind(y)]
    columns = 1 if bias is None else bias.size
    launch(
        kernel, (-(-y.size // 256), 1, 1), (256, 1, 1), 0,
        (slices, bias, y, slices.shape[0], y.size, columns, ACTIVATIONS[activation]),
    )  # fmt: skip


def check_precision(name: str, precision: str) -> None:
    """Refuse what is no precision of these kernels.

    Raises:
        InputError: it is not.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"{name}: precision expected {' or '.join(map(repr, PRECISIONS))}; got {precision!r}"
        )


def _launch(step: Step, arguments: tuple[Any, ...]) -> None:
    tile = step.tile
    launch(tile.kernel, (step.blocks, 1, 1), (tile.threads, 1, 1), tile.shared, arguments)


def _uses_tensor_cores(dtype: str, precision: str, divisor: int) -> bool:
    if dtype not in TENSOR or (dtype == "float32" and precision == "exact"):
        return False
    return divisor >= (4 if dtype == "float32" else 8) and tiles.has_tensor_cores()


@functools.lru_cache(maxsize=1024)
def _gathering(
    layout: Layout, dtype: str, across: bool, tensor: bool, first: int, second: int, size: int,
    aligned: bool, activation: str | None,
) -> tuple[Step, ...]:  # fmt: skip
    """The launches of :func:`gather`: one, or for large strides several."""
    phased = across and is_phased(layout.axes)
    if not across:
        candidates = (tiles.TENSOR_FORWARD if tensor else tiles.FORWARD)[dtype]
    elif phased:
        candidates = (tiles.TENSOR_INPUT_GRAD_PHASED if tensor else tiles.INPUT_GRAD_PHASED)[dtype]
    elif tensor:
        candidates = tiles.TENSOR_INPUT_GRAD[dtype]
    else:
        candidates = (*tiles.INPUT_GRAD.get(dtype, ()), tiles.INPUT_GRAD_PHASED[dtype][-1])
    steps = []
    for part in launches(layout):
        made = product(part)
        p, rows, columns, times = made[0], part.most_rows, part.columns, part.groups * part.phases
        tile = tiles.choose(candidates, rows, columns, times, first, second)
        blocks, length = tile.blocks(rows, columns) * times, part.channels * part.taps
        if phased:  # phases have sums of their own lengths
            splits, p["steps"] = 1, -(-length // tile.depth)
        else:
            splits, p["steps"] = tiles.splits_of(tile, blocks, length, tiles.LEAST_DEPTH)
        p["splits"], p["y_slice"], p["aligned"] = splits, size, aligned
        p["activation"] = ACTIVATIONS[activation]
        steps.append(Step(tile, blocks * splits, splits, made))
    return tuple(steps)


@functools.lru_cache(maxsize=1024)
def _weighing(
    layout: Layout, dtype: str, tensor: bool, first: int, second: int, size: int, aligned: bool
) -> Step:
    """The launch of :func:`weight_product`."""
    candidates = (tiles.TENSOR_WEIGHT_GRAD if tensor else tiles.WEIGHT_GRAD)[dtype]
    made = product(layout)
    p, rows, width = made[0], layout.most_rows, layout.channels * layout.taps
    # There are always splits to fill a card with: count what they would give.
    times = layout.groups * max(1, min(tiles.MOST_SPLITS, rows // tiles.LEAST_ROWS))
    tile = tiles.choose(candidates, layout.columns, width, times, first, second)
    blocks = tile.blocks(layout.columns, width) * layout.groups
    splits, p["steps"] = tiles.splits_of(tile, blocks, rows, tiles.LEAST_ROWS)
    p["splits"], p["y_slice"] = splits, size
    p["aligned"] = aligned and not any(n % 4 for n in (width, layout.w[0], layout.w[2], size))
    return Step(tile, blocks * splits, splits, made)
