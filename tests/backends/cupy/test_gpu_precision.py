"""Precisions on a card: kernels of 16 bits against float64, and training beside float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.backend import Backend, open_backend
from flagstone.data import load
from flagstone.ops import ALL_OPS

pytestmark = pytest.mark.gpu
HALVES = {"mixed-fp16": 2.0**-10, "mixed-bf16": 2.0**-7}  # a unit in the last place


def mixed(precision: str) -> Backend:
    if precision not in open_backend("cuda").precisions:
        pytest.skip(open_backend("cuda").lacks[precision])
    return open_backend("cuda", precision)


@pytest.mark.parametrize("name", ["relu", "silu", "gelu_tanh", "tanh", "max_pool", "avg_pool"])
@pytest.mark.parametrize("precision", HALVES)
def test_ops_of_16_bits(precision: str, name: str) -> None:
    here = mixed(precision)
    x = fs.tensor(np.random.default_rng(0).standard_normal((3, 9, 8, 5)).astype("f4"), device=here)
    x = fs.ops.astype(x, str(here.low))
    static: dict[str, Any] = {}
    if "pool" in name:
        static = {"kernel": (3, 2), "stride": (2, 2), "padding": ((1, 1), (0, 0))}
    if name == "avg_pool":
        static["count_include_pad"] = False
    y = ALL_OPS[name](x, **static)
    y = y[0] if isinstance(y, tuple) else y
    assert y.dtype_name == here.low
    wide = fs.ops.astype(x, "float32").numpy().astype("f8")
    expected = ALL_OPS[name].generic(np, wide, **static)
    expected = expected[0] if isinstance(expected, tuple) else expected
    tolerance = HALVES[precision]
    got = fs.ops.astype(y, "float32").numpy()
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", ["tf32", *HALVES])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_training_is_nearly_that_of_float32(model: str, precision: str) -> None:
    mixed(precision)
    digits = load("digits")
    found = []
    for chosen in ("exact", precision):
        made: Any = fs.model(model, device="cuda", precision=chosen, epochs=3, batch_size=100)
        made.fit(digits.X[:1000], digits.y[:1000])
        found.append([epoch["train"]["loss"] for epoch in made.history_])
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)
