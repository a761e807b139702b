"""Small arrays that kernels need again and again: numbers and rows of one. Nobody writes to them.

With an array of shape () for a number, a NumPy function takes half the time that it takes with a
Python float.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Array = np.ndarray


@functools.lru_cache(256)
def number(value: float, dtype: Any) -> Array:
    """``value`` as an array of shape ()."""
    made = np.asarray(value, dtype)
    made.flags.writeable = False
    return made


@functools.lru_cache(256)
def scalar(value: float, dtype: Any) -> Any:
    """``value`` as NumPy's scalar: what a scalar is to be multiplied by, in a tenth of the time."""
    return number(value, dtype)[()]


@functools.lru_cache(64)
def row(count: int, value: float, dtype: Any) -> Array:
    """``value``, so many times."""
    made = np.full(count, value, dtype)
    made.flags.writeable = False
    return made


def ones(count: int, dtype: Any) -> Array:
    """``count`` ones."""
    return row(count, 1.0, dtype)
