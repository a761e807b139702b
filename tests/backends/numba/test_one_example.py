"""A layer's product for one example, by all threads."""

from __future__ import annotations

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

pytest.importorskip("numba", reason="compiles by Numba, which is not installed")

from flagstone_numba.kernels import fused, vector
from flagstone_numpy import threads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_it_is_numpys_product(dtype: str, with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 601)).astype(dtype)
    w = rng.standard_normal((500, 601)).astype(dtype)
    b = rng.standard_normal(500).astype(dtype) if with_bias else None
    assert vector.serves(x, w)
    expected = np.maximum(x @ w.T + (0 if b is None else b), 0)
    found = []
    for number in (1, 2):
        monkeypatch.setattr(threads, "_settings", (number, 1))
        found.append(fused.linear_relu(x, w, b))
    np.testing.assert_array_equal(found[0], found[1])  # whoever does the pieces
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found[0], expected, atol=tolerance * np.abs(expected).max())


def test_columns_and_several_examples_are_left_to_numpy() -> None:
    w = np.ones((512, 512), np.float32)
    assert not vector.serves(np.ones((2, 512), np.float32), w)
    assert not vector.serves(np.ones((1, 512), np.float32), w[:8])
    turned = np.asfortranarray(np.arange(512 * 512, dtype=np.float32).reshape(512, 512) / 1e5)
    x = np.ones((1, 512), np.float32)
    np.testing.assert_allclose(fused.linear_relu(x, turned), x @ turned.T, rtol=1e-5)


def test_a_captured_prediction_gives_what_the_layer_gives() -> None:
    layer = nn.Sequential(nn.Linear(600, 500), nn.ReLU(), nn.Linear(500, 3))
    layer = layer.initialize(0, device="cpu").eval()
    values = np.random.default_rng(1).standard_normal((1, 600)).astype("float32")
    x = fs.tensor(values, device="cpu")
    replay = fs.capture(lambda a: layer(a))
    with fs.no_grad():
        expected = np.array(layer(x).numpy())
        for _ in range(4):
            np.testing.assert_allclose(replay(x).numpy(), expected, rtol=1e-5, atol=1e-6)
