"""Saying in which respect two results differ, and at what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flagstone.backend import Backend
from flagstone.tape import observe
from flagstone.tensors import Tensor

FLOATS = ("float32", "float64")


@contextlib.contextmanager
def given(*what: object) -> Iterator[None]:
    """Say in a failure of the block what was given."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"given {', '.join(map(str, what))}: {error}") from error


@contextlib.contextmanager
def only_dtype(dtype: str) -> Iterator[None]:
    """Within it no op may give floating values of another dtype."""

    def look(op: Any, inputs: Any, static: Any, outputs: Any) -> None:
        for y in outputs:
            if y.dtype_name.startswith("float") and y.dtype_name != dtype:
                raise AssertionError(
                    f"expected {dtype} throughout; got {y.dtype_name} from the op {op.name}"
                )

    with observe(look):
        yield


def on(backend: Backend, arrays: Sequence[Any]) -> list[Tensor]:
    """NumPy arrays as tensors with values of their own."""
    return [Tensor(backend.asarray(np.array(a, order="C")), backend) for a in arrays]


def require_close(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """Raise unless both have one shape and values equal to ``tolerance`` of the largest, or 1."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise AssertionError(f"{what}: expected shape {expected.shape}; got {found.shape}")
    if not found.size:
        return
    scale = max(float(np.max(np.abs(expected))), 1.0)
    difference = np.abs(found - expected)
    if not float(np.max(difference)) <= tolerance * scale:  # also where one is NaN
        at = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), found.shape)
        raise AssertionError(
            f"{what}: expected {expected[at]:.8g}{_at(at)} to {tolerance:g}; got {found[at]:.8g}"
        )


def require_same(found: Any, expected: Any, what: str) -> None:
    """Raise unless both are equal in shape, dtype and every value."""
    found, expected = np.asarray(found), np.asarray(expected)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        raise AssertionError(
            f"{what}: expected {expected.dtype} of shape {expected.shape}; got {found.dtype} of "
            f"shape {found.shape}"
        )
    floating = found.dtype.kind == "f"
    differs = ~((found == expected) | ((found != found) & (expected != expected) & floating))
    if differs.any():
        at = np.unravel_index(int(np.argmax(differs)), found.shape)
        raise AssertionError(
            f"{what}: expected {expected[at]!r}{_at(at)}, exactly; got {found[at]!r}"
        )


def _at(place: Sequence[Any]) -> str:
    return f" at [{', '.join(str(int(i)) for i in place)}]" if place else ""
