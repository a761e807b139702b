"""The third backend, and plugins of this process, for the tests that ask for them."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flagstone import plugins
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device


@pytest.fixture(scope="session")
def third_backends() -> ModuleType:
    """The module ``tests/strict_backend.py``."""
    name = "flagstone_tests_strict_backend"
    path = Path(__file__).parent.parent / "strict_backend.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def strict(third_backends: ModuleType) -> Iterator[Backend]:
    """The device ``strict``, registered as a plugin of this process."""
    plugins.register(third_backends.StrictPlugin(), "strict-backend")
    yield open_backend("strict")
    plugins.unregister("strict-backend")


@pytest.fixture(scope="module", params=["numpy", "generic", "strict"])
def backend(request: pytest.FixtureRequest, third_backends: ModuleType, strict: Backend) -> Backend:
    """NumPy with its kernels, NumPy without, and the third backend."""
    if request.param == "generic":
        generic: Backend = third_backends.GenericNumpy(Device("generic"))
        return generic
    return strict if request.param == "strict" else open_backend("cpu")


@pytest.fixture
def planted() -> Callable[[Any], contextlib.AbstractContextManager[None]]:
    """``with planted(spec):`` what a plugin of this process brings meanwhile."""

    @contextlib.contextmanager
    def plant(spec: Any) -> Iterator[None]:
        def specs(_: object) -> Iterator[Any]:
            yield spec

        specs.__name__ = f"flagstone_{spec.kind}{'es' if spec.kind[-1] == 's' else 's'}"
        plugin = type("Planted", (), {specs.__name__: plugins.hookimpl(specs)})()
        plugins.register(plugin, "planted")
        try:
            yield
        finally:
            plugins.unregister("planted")

    return plant
