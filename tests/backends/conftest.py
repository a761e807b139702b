"""What tests of several backends use."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from flagstone_numpy import scratch


@pytest.fixture
def poisoned():
    """A function: all memory that kernels get without values has NaN from then on, or the largest
    integer, until it is called with False. Whatever reads it before it writes has other results."""
    monkeypatch = pytest.MonkeyPatch()

    def filled(take):
        def taken(*args, **named):
            a = take(*args, **named)
            a.fill(np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).max
                   if a.dtype.kind in "iu" else True)  # fmt: skip
            return a

        return taken

    def switch(on=True):
        if not on:
            monkeypatch.undo()
            return
        ours = [m for name, m in sys.modules.items() if name.startswith("flagstone_n")]
        outputs = sys.modules.get("flagstone_numba.outputs")
        takes = {"scratch": scratch.scratch, "output": getattr(outputs, "output", 0)}
        for module, (name, take) in itertools.product(ours, takes.items()):
            if vars(module).get(name) is take:
                monkeypatch.setattr(module, name, filled(take))
        for name in ("empty", "empty_like"):
            monkeypatch.setattr(np, name, filled(getattr(np, name)))

    yield switch
    monkeypatch.undo()
