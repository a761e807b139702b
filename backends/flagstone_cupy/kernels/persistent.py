"""Launching programs of whole training steps; ``flagstone_cupy/persistent.py`` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagstone_cupy.kernel import family
from flagstone_cupy.launch import Array, launch

PERSISTENT = family("persistent.cu", "persistent", T=("float", "double"))
ARRAYS, TABLES = 16, 4  # as in persistent.cu
MOST_SHARED = (48 << 10) - 256  # what a card gives a block unasked, less the tables of addresses
WARPS = (2, 4, 8)  # of the block

CODES = (
    "LOAD", "NUMBERS", "STORE", "TAKE", "TAKE_NUMBERS", "PRODUCT", "UNARY", "BINARY", "SUM_ROWS",
    "SUM_COLUMNS", "CROSS_ENTROPY", "CROSS_ENTROPY_GRAD", "ARGMAX", "SGD", "ADAM", "COUNT",
)  # fmt: skip
UNARY = ("COPY", "NEGATIVE", "ABS", "RELU", "SIGMOID", "TANH", "EXP", "LOG", "SQRT")
BINARY = (
    "ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "RELU_GRAD", "ENTROPY_OF_LOGIT", "EQUAL", "NOT_EQUAL",
    "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL",
)  # fmt: skip


def shared_bytes(values: int, words: int, itemsize: int) -> int:
    """What an arena and a program take of a block's dynamic shared memory."""
    return values * itemsize + words * 4


def run(
    program: Array, parts: tuple[int, int, int], values: int, widest: int, steps: int, dtype: Any,
    arrays: Sequence[Array], tables: Sequence[Array],
) -> None:  # fmt: skip
    """Do ``steps`` steps in one launch.

    Arguments:
        program: its words, int32.
        parts: where the steps begin, where they end, and how many words there are.
        values: how many the arena holds.
        widest: how many threads the largest instruction keeps busy.
        arrays, tables: what instructions read and write, of ``dtype``, and int64.
    """
    warps = next((w for w in WARPS if w * 32 >= widest), WARPS[-1])
    missing = (None,) * (ARRAYS - len(arrays)), (None,) * (TABLES - len(tables))
    launch(
        PERSISTENT[dtype], (1, 1, 1), (32 * warps, 1, 1),
        shared_bytes(values, parts[2], dtype.itemsize),
        (program, *parts, values, steps, *arrays, *missing[0], *tables, *missing[1]),
    )  # fmt: skip
