"""The simulated card, for the tests that run kernels on the CPU."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flagstone import plugins
from flagstone.backend import Backend, open_backend
from flagstone_cupy import launch, table  # the table declares every kernel


def _load(name: str) -> ModuleType:
    full = f"flagstone_tests_{name}"
    if full in sys.modules:
        return sys.modules[full]
    spec = importlib.util.spec_from_file_location(full, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[full] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def simulator() -> ModuleType:
    """The module ``simulator.py``; skips where kernels cannot be compiled for the CPU."""
    assert table.KERNELS is not None
    module = _load("simulator")
    module.graphs = _load("graphs")
    if reason := module.why_not():
        pytest.skip(reason)
    return module


@pytest.fixture
def card(simulator: ModuleType, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A simulated card that serves ``launch`` for the test.

    Threads run in three orders, and a test marked ``covers("file.cu:function", ...)`` fails if it
    did not launch what it says it covers.
    """
    made = simulator.SimulatedCard(_load("guarded"), seeds=(0, 1, 2))
    before = launch.install(made)
    yield made
    launch.install(before)
    marks = request.node.iter_markers("covers")
    missing = {name for mark in marks for name in mark.args} - made.launched
    assert not missing, f"the test says that it covers {sorted(missing)}, and did not launch it"


@pytest.fixture
def simulated(card: Any, simulator: ModuleType) -> Iterator[Backend]:
    """The CuPy backend's kernels on the simulated card, as a backend and as a device."""
    plugins.register(simulator.SimulatedPlugin(), "simulated-backend")
    card.seeds = (3,)
    yield open_backend("simulated")
    plugins.unregister("simulated-backend")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'covers("file.cu:function", ...): the kernels that a test on the CPU launches'
    )
