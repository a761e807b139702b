"""NVTX ranges, with a CuPy made of paper."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, optim
from flagstone.backend import open_backend
from flagstone.profiling import Profiler

CPU = open_backend("cpu")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What NVTX is told."""
    told: list[str] = []
    cupy, cuda, nvtx = (ModuleType(f"cupy{part}") for part in ("", ".cuda", ".cuda.nvtx"))
    vars(nvtx).update(RangePush=told.append, RangePop=lambda: told.append("."))
    vars(cuda)["nvtx"], vars(cupy)["cuda"] = nvtx, cuda
    for module in (cupy, cuda, nvtx):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "flagstone_cupy.ranges", raising=False)
    ranges: Any = importlib.import_module("flagstone_cupy.ranges")
    monkeypatch.setattr(CPU, "mark", ranges.marked)
    yield told
    sys.modules.pop("flagstone_cupy.ranges", None)


def test_steps_layers_and_ops_are_ranges_while_profiling_only(said: list[str]) -> None:
    layer = nn.Sequential(nn.Linear(3, 2), nn.Identity(), nn.Linear(2, 1)).initialize(0)
    optimizer = optim.SGD(layer, 0.1)
    x = fs.tensor(np.ones((4, 3), "float32"))

    def step() -> None:
        optimizer.zero_grad()
        losses.mse(layer(x), x[:, :1]).backward()
        optimizer.step()

    step()
    assert said == []
    with Profiler(CPU, layer) as profiler:
        step()
    with profiler:
        step()
    half = len(said) // 2
    assert said[0] == "step 1"
    assert said[half] == "step 2"
    assert said[half + 1 :] == said[1:half]
    text = " ".join(said[:half])
    assert "Sequential 0 Linear linear . . 1 Identity . 2 Linear linear . . ." in text
    assert "2 Linear backward linear_weight_grad . ." in text
    assert "0 Linear backward linear_weight_grad . ." in text
    assert "sgd_update ." in text
    assert half == 2 * said[:half].count(".")  # what is opened is closed


def test_a_range_ends_when_what_it_holds_fails(said: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), CPU.mark("a step"):
        1 / 0  # noqa: B018  # it fails
    assert said == ["a step", "."]
