"""Importing flagstone is light; its public face is whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flagstone as fs

HEAVY = (
    "cupy", "scipy", "sklearn", "click", "onnx", "polars", "matplotlib", "rich", "safetensors",
    "pandas", "torch", "numba", "PIL", "pluggy", "platformdirs", "tomli_w",
)  # fmt: skip


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


def test_importing_flagstone_imports_nothing_heavy() -> None:
    loaded = modules_after("import flagstone")
    assert not loaded & set(HEAVY)
    assert not {name for name in loaded if name.startswith("flagstone.")}
    assert not {name for name in loaded if name.startswith("flagstone_")}


def test_building_and_training_a_layer_imports_no_heavy_library() -> None:
    loaded = modules_after(
        "import numpy as np, flagstone as fs\n"
        "layer = fs.nn.Sequential(fs.nn.Linear(2, 2), fs.nn.ReLU())\n"
        "fs.losses.mse(layer(fs.tensor(np.ones((1, 2)))), fs.tensor(np.ones((1, 2)))).backward()\n"
        "fs.optim.Adam(layer).step()\n"
        "fs.model('mlp', epochs=1).fit(np.eye(4), np.array([0, 1, 0, 1])).predict(np.eye(4))\n"
    )
    allowed = {"pluggy"}  # the plugin loader's; it is small
    assert not loaded & (set(HEAVY) - allowed)
    assert not {name for name in loaded if name.startswith("flagstone.cli")}


def test_every_public_name_is_there() -> None:
    for name in fs.__all__:
        if name != "testing":  # needs pytest's extras; tests of its own import it
            assert getattr(fs, name) is not None, name
    assert set(fs.__all__) <= set(dir(fs))
    with pytest.raises(AttributeError, match="module 'flagstone' has no attribute 'no_such_name'"):
        _ = fs.no_such_name
