"""What flagstone asks of a model and a layer, and what these are for."""

from __future__ import annotations

import typing

import flagstone as fs
import numpy as np
import pytest
from flagstone import testing
from flagstone.errors import ConfigurationError

from flagstone_gated.block import GatedBlock


class TestGated(testing.ModelSuite):
    name = "gated"
    params: typing.ClassVar = {"epochs": 10, "width": 32, "blocks": 1}  # quick


class TestGatedBlock(testing.LayerSuite):
    name = "gated-block"
    samples = (
        testing.LayerSample(lambda: GatedBlock(6), (4, 6), output=(4, 6)),
        testing.LayerSample(lambda: GatedBlock(3, 0.5), (4, 2, 3), output=(4, 2, 3)),
    )


def test_the_block_is_the_formula() -> None:
    block = GatedBlock(5)
    block.initialize(0, device="cpu", dtype="float64")
    x = np.random.default_rng(0).standard_normal((7, 5))
    state = block.state_dict()
    normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    value = normal @ state["value.weight"].T + state["value.bias"]
    gate = normal @ state["gate.weight"].T + state["gate.bias"]
    y = block(fs.tensor(x, device="cpu"))
    np.testing.assert_allclose(y.numpy(), x + value / (1 + np.exp(-gate)), rtol=1e-12)


def test_it_learns_what_features_mean_together() -> None:
    X = np.random.default_rng(0).standard_normal((400, 6))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = fs.model("gated", device="cpu", validation_fraction=0.25).fit(X, y)
    assert model.history_[-1]["validation"]["accuracy"] > 0.85
    plain = fs.model("softmax", device="cpu", validation_fraction=0.25).fit(X, y)
    assert plain.history_[-1]["validation"]["accuracy"] < 0.65


@pytest.mark.parametrize(("name", "value"), [("width", 0), ("blocks", 0), ("dropout", 1.0)])
def test_refusals(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"Gated: {name} expected"):
        fs.model("gated", **{name: value}).fit(np.ones((4, 2)), [0, 1, 0, 1])
