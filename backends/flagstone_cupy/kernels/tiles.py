"""Which tile of which kernel adds up a product, and over how many blocks its sum is split.

Both follow from the shape alone, by the tables below: the same call does the same additions in the
same order on every card. They are made for cards of about a hundred multiprocessors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flagstone.errors import DTypeError
from flagstone_cupy import launch
from flagstone_cupy.kernel import Kernel
from flagstone_cupy.launch import Array
from flagstone_cupy.signature import BFLOAT16

ENOUGH = 132
"""So many blocks give each multiprocessor one: a larger tile with fewer is passed over."""
FULL = 264
"""Sums are split over so many blocks."""
MOST_SPLITS = 256
LEAST_ROWS = 256
"""A split of a weight gradient adds up at least so many positions."""
LEAST_DEPTH = 512
"""A split of another product adds up at least so many products."""
TENSOR_CORES_SINCE = 80
"""The compute capability from which the kernels of conv_tensor.cu run."""

TYPES = {"float32": ("float", "float"), "float64": ("double", "double"),
         "float16": ("__half", "float"), "bfloat16": ("__nv_bfloat16", "float")}  # fmt: skip
"""dtype -> the C++ types of values and of their sums."""
SUMS = {"float32": "float32", "float64": "float64", "float16": "float32", "bfloat16": "float32"}


def kind(a: Array) -> str:
    """The key of an array's dtype in these tables.

    Raises:
        DTypeError: it is in none; bits of bfloat16 as integers are integers.
    """
    name = "bfloat16" if a.dtype == BFLOAT16 else str(a.dtype)
    if name not in TYPES:
        raise DTypeError(f"the CUDA kernels multiply {', '.join(TYPES)}; got {name}")
    return name


@dataclass(frozen=True, slots=True)
class Tile:
    """A kernel and the part of the product that one of its blocks adds up.

    Attributes:
        rows, columns: of the tile.
        depth: how many indices of the sum one step takes.
        threads, shared: of a block.
        vectors: how many neighbouring values of either operand are read at once.
        most_columns: it is for products of no more columns than these; 0: of any number.
    """

    kernel: Kernel
    rows: int
    columns: int
    depth: int
    threads: int
    shared: int
    vectors: tuple[int, int]
    most_columns: int = 0

    def blocks(self, rows: int, columns: int) -> int:
        """How many tiles a product of this size falls into."""
        return -(-rows // self.rows) * -(-columns // self.columns)


Tiles = tuple[Tile, ...]


def _simt(name: str, dtype: str, shape: tuple[int, int, int, int], most_columns: int = 0,
          **more: Any) -> Tile:  # fmt: skip
    T, S = TYPES[dtype]
    bm, bn, tm, tn = shape
    kernel = Kernel("conv_simt.cu", name, T=T, S=S, BM=bm, BN=bn, TM=tm, TN=tn, **more)
    vectors = (more.get("VEC") or more["VECY"], more.get("VEC") or more["VECX"])
    bytes_of_sum = 8 if S == "double" else 4
    return Tile(
        kernel, bm, bn, 8, bm // (4 * tm) * (bn // (8 * tn)) * 32,
        2 * 8 * (bm + bn + 8) * bytes_of_sum, vectors, most_columns,
    )  # fmt: skip


def _tensor(name: str, dtype: str, shape: tuple[int, int, int, int, int], **more: Any) -> Tile:
    T, _ = TYPES[dtype]
    bm, bn, wm, wn, stages = shape
    kernel = Kernel("conv_tensor.cu", name, since=TENSOR_CORES_SINCE, T=T, BM=bm, BN=bn, WM=wm,
                    WN=wn, STAGES=stages, **more)  # fmt: skip
    vector = 4 if T == "float" else 8
    return Tile(kernel, bm, bn, 4 * vector, 128, stages * (bm + bn) * 64, (vector, vector))


# Tiles of conv_simt.cu (rows, columns, results of a thread) and conv_tensor.cu (rows, columns, of a
# warp, stages), in the order in which they are tried.
TALL, THIN, SMALL = (128, 64, 8, 8), (128, 32, 8, 4), (64, 64, 8, 4)
WARPS = {"large": (128, 128, 64, 64, 3), "tall": (128, 64, 64, 32, 4), "small": (64, 64, 32, 32, 4)}
ANY = tuple(TYPES)
TENSOR = ("float32", "float16", "bfloat16")

FORWARD: dict[str, Tiles] = {
    dtype: (
        *(
            (
                _simt("conv_forward", dtype, THIN, 32, VEC=4),
                _simt("conv_forward", dtype, TALL, VEC=4),
                _simt("conv_forward", dtype, SMALL, VEC=4),
            )
            if dtype == "float32"
            else ()
        ),
        _simt("conv_forward", dtype, SMALL, VEC=1),
    )
    for dtype in ANY
}
INPUT_GRAD: dict[str, Tiles] = {
    "float32": (
        _simt("conv_input_grad", "float32", TALL, VEC=4, PHASED=False),
        _simt("conv_input_grad", "float32", SMALL, VEC=4, PHASED=False),
    ),
}
INPUT_GRAD_PHASED: dict[str, Tiles] = {
    dtype: (
        *(
            (_simt("conv_input_grad", dtype, SMALL, VEC=4, PHASED=True),)
            if dtype == "float32"
            else ()
        ),
        _simt("conv_input_grad", dtype, SMALL, VEC=1, PHASED=True),
    )
    for dtype in ANY
}
WEIGHT_GRAD: dict[str, Tiles] = {
    dtype: (
        *(
            (
                _simt("conv_weight_grad", dtype, TALL, VECY=4, VECX=4),
                _simt("conv_weight_grad", dtype, SMALL, VECY=4, VECX=4),
                _simt("conv_weight_grad", dtype, SMALL, VECY=4, VECX=1),
            )
            if dtype == "float32"
            else ()
        ),
        _simt("conv_weight_grad", dtype, SMALL, VECY=1, VECX=1),
    )
    for dtype in ANY
}
TENSOR_FORWARD: dict[str, Tiles] = {
    dtype: tuple(_tensor("tensor_forward", dtype, shape) for shape in WARPS.values())
    for dtype in TENSOR
}
TENSOR_INPUT_GRAD: dict[str, Tiles] = {
    dtype: tuple(_tensor("tensor_input_grad", dtype, w, PHASED=False) for w in WARPS.values())
    for dtype in TENSOR
}
TENSOR_INPUT_GRAD_PHASED: dict[str, Tiles] = {
    dtype: (_tensor("tensor_input_grad", dtype, WARPS["small"], PHASED=True),) for dtype in TENSOR
}
TENSOR_WEIGHT_GRAD: dict[str, Tiles] = {
    dtype: tuple(_tensor("tensor_weight_grad", dtype, shape) for shape in WARPS.values())
    for dtype in TENSOR
}


def choose(candidates: Sequence[Tile], rows: int, columns: int, times: int, first: int,
           second: int) -> Tile:  # fmt: skip
    """The tile for a product of this size.

    Of those that can read it, the first that is for so few columns, or whose tiles fill a card and
    are at least half filled; else the last of those that read most at once.

    Arguments:
        candidates: from the largest to the smallest; the last reads anything.
        times: how many such products there are.
        first, second: a power of two that divides all distances in the first and second operand.
    """
    able = [t for t in candidates if first % t.vectors[0] == 0 and second % t.vectors[1] == 0]
    widest = [t for t in able if t.vectors == able[0].vectors]
    for tile in widest:
        if tile.most_columns:
            if columns <= tile.most_columns:
                return tile
        elif 2 * columns > tile.columns and tile.blocks(rows, columns) * times >= ENOUGH:
            return tile
    return widest[-1]


def splits_of(tile: Tile, blocks: int, length: int, least: int) -> tuple[int, int]:
    """Over how many blocks a sum of ``length`` is split, and how many steps each takes."""
    steps = max(1, -(-length // tile.depth))
    wanted = min(-(-FULL // max(1, blocks)), MOST_SPLITS, max(1, length // least))
    each = -(-steps // wanted)
    return -(-steps // each), each


def divides(array: Array, *distances: int) -> int:
    """The largest of 8, 4, 2, 1 that divides all distances and the array's place in memory."""
    here = address(array) // array.itemsize
    return next(v for v in (8, 4, 2, 1) if not any(d % v for d in (here, *distances)))


def address(array: Array) -> int:
    """Where the array's first value lies."""
    return int(array.ctypes.data if hasattr(array, "ctypes") else array.data.ptr)


def has_tensor_cores() -> bool:
    """Whether the card runs the kernels of conv_tensor.cu."""
    return int(getattr(launch.runner(), "capability", TENSOR_CORES_SINCE)) >= TENSOR_CORES_SINCE
