"""State dicts: copies of a layer's values in PyTorch's order, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import nn
from flagstone.errors import InputError, ShapeError


def net(seed: int) -> nn.Sequential:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    return layer.initialize(seed)


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_state_dict_is_a_copy_and_comes_back() -> None:
    layer, other = net(1), net(2)
    state = layer.state_dict()
    state["0.weight"][...] = 9.0
    assert not (layer[0].weight.numpy() == 9.0).any()
    flat = other.flat
    other.load_state_dict(layer.state_dict())
    assert_same(other.state_dict(), layer.state_dict())
    assert other.flat is flat  # values were written where they are
    assert flat is not None
    assert np.shares_memory(other[0].weight.numpy(), flat.values.numpy())


def test_convolution_weights_are_in_pytorchs_order_in_files() -> None:
    layer = nn.Conv2d(2, 5, (3, 4)).initialize(0)
    state = layer.state_dict()
    assert state["weight"].shape == (5, 2, 3, 4)
    assert state["weight"].flags.c_contiguous
    np.testing.assert_array_equal(state["weight"][1, 0, 2, 3], layer.weight.numpy()[1, 2, 3, 0])
    other = nn.Conv2d(2, 5, (3, 4)).initialize(1)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.weight.numpy(), layer.weight.numpy())


def test_a_float64_state_goes_into_a_float32_layer() -> None:
    layer = nn.Linear(2, 1).initialize(0)
    layer.load_state_dict({"weight": np.array([[0.1, 0.2]]), "bias": [3]})
    np.testing.assert_array_equal(layer.weight.numpy(), np.float32([[0.1, 0.2]]))
    assert layer.bias.numpy()[0] == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"0.weight": None}, InputError, "missing: 0.weight; unexpected: none"),
        ({"9.weight": np.ones(2)}, InputError, "missing: none; unexpected: 9.weight"),
        ({"3.weight": np.ones((4, 2))}, ShapeError, r"3.weight expected shape \(2, 4\); got \(4, "),
        ({"3.bias": np.ones(())}, ShapeError, r"3.bias expected shape \(2,\); got \(\)"),
        ({"3.bias": np.array(["a", "b"])}, InputError, "3.bias expected numbers; got dtype <U1"),
        ({"3.bias": np.array([1j, 2j])}, InputError, "3.bias expected numbers; got dtype complex"),
    ],
)
def test_a_wrong_state_changes_nothing(change: Any, error: Any, message: str) -> None:
    layer = net(1)
    before = layer.state_dict()
    state: dict[str, Any] = {**net(2).state_dict(), **change}
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(error, match=message):
        layer.load_state_dict(state)
    assert_same(layer.state_dict(), before)


def test_a_wrong_convolution_weight_is_reported_in_the_files_order() -> None:
    layer = nn.Conv2d(2, 5, (3, 4)).initialize(0)
    state = {**layer.state_dict(), "weight": layer.weight.numpy()}
    with pytest.raises(ShapeError, match=r"expected shape \(5, 2, 3, 4\); got \(5, 3, 4, 2\)"):
        layer.load_state_dict(state)
