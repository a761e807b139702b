"""What tests of several backends use."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from flagstone_numpy import scratch


@pytest.fixture
def poisoned(monkeypatch):
    """A function: all memory that kernels get without values has NaN from then on, or the largest
    integer, until it is called with False. Whatever reads it before it writes has other results."""
    is_on = [False]

    def filled(take):
        def taken(*args, **named):
            a = take(*args, **named)
            if is_on[0]:
                a.fill(np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).max
                       if a.dtype.kind in "iu" else True)  # fmt: skip
            return a

        return taken

    outputs = sys.modules.get("flagstone_numba.outputs")
    for name, takes in {
        "scratch": scratch.scratch,
        "output": getattr(outputs, "output", 0),
    }.items():
        for module in [m for n, m in sys.modules.items() if n.startswith("flagstone_n")]:
            if vars(module).get(name) is takes:
                monkeypatch.setattr(module, name, filled(takes))
    for name in ("empty", "empty_like"):
        monkeypatch.setattr(np, name, filled(getattr(np, name)))

    def switch(on=True):
        is_on[0] = on

    return switch
