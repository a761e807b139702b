"""Ops without a CUDA kernel, and calls that a kernel declines, run in their generic forms; a graph
holds them only if these send nothing from the host. NumPy stands for CuPy here: what no function of
the namespace made, and was not given, is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone.ops.door import ALL_OPS
from flagstone.testing import OP_TABLE
from flagstone.testing.op_row import Draw
from flagstone_cupy.table import KERNELS

NEVER = {"dropout_mask", "random_bits"}
"""Their kernels take every call."""


class OnDevice(np.ndarray[Any, Any]):
    """An array on the device."""


class Device:
    """A namespace whose arrays are :class:`OnDevice`, and which notes others that it is given."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            for x in (*given, *named.values()):
                self._look(name, x)
            return _placed(found(*given, **named))

        return call

    def _look(self, name: str, x: Any) -> None:
        if isinstance(x, (list, tuple)):
            for item in x:
                self._look(name, item)
        host = isinstance(x, (np.ndarray, np.generic)) and not isinstance(x, OnDevice)
        number = name in ("asarray", "array") and isinstance(x, (bool, int, float, list))
        if host or number:
            self.sent.append(f"{name}({x!r})")


def _placed(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_placed, result))
    if isinstance(result, (np.ndarray, np.generic)):
        return np.asarray(result).view(OnDevice)
    return result


@pytest.mark.parametrize("name", sorted((OP_TABLE.keys() & ALL_OPS.keys()) - NEVER))
def test_no_generic_form_sends_an_array_twice(name: str) -> None:
    row = OP_TABLE[name]
    generic = ALL_OPS[name].generic
    for sample in row.samples(Draw(0, "float32")):
        xp = Device()
        arrays = [_placed(x) for x in sample.arrays]
        with np.errstate(all="ignore"):
            generic(xp, *arrays, **sample.static)
            xp.sent.clear()  # what is sent once stays there
            generic(xp, *arrays, **sample.static)
        assert xp.sent == [], f"{name}{sample} sends"


def test_kernels_take_every_call_of_those_that_are_left_out() -> None:
    assert KERNELS.keys() >= NEVER


def test_a_form_that_sends_is_found() -> None:
    xp = Device()
    x = _placed(np.ones(3))
    xp.multiply(x, xp.full((), 2.0))
    assert xp.sent == []
    xp.take(x, np.arange(2))
    xp.asarray(2.0)
    assert len(xp.sent) == 2
