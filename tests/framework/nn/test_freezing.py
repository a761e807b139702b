"""Frozen parameters stay as they are, bit for bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError, InputError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).initialize(1)  # type: ignore[return-value]  # itself


def train(layer: nn.Layer, optimizer: Any, steps: int = 5) -> None:
    x = fs.tensor(np.arange(12, dtype=np.float32).reshape(4, 3) / 12)
    y = fs.tensor(np.array([0, 1, 1, 0]))
    for _ in range(steps):
        optimizer.zero_grad()
        fs.losses.cross_entropy(layer(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        lambda layer: fs.optim.SGD(layer, 0.5, momentum=0.9, weight_decay=0.1),
        lambda layer: fs.optim.Adam(layer, 0.1, weight_decay=0.1),
        lambda layer: fs.optim.AdamW(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.Lion(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.LAMB(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.Muon(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.RMSprop(layer, 0.1, weight_decay=0.5, momentum=0.5),
        lambda layer: fs.optim.Adagrad(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.Adadelta(layer, 1.0, weight_decay=0.5),
        lambda layer: fs.optim.Adamax(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.NAdam(layer, 0.1, weight_decay=0.5),
        lambda layer: fs.optim.RAdam(layer, 0.1, weight_decay=0.5),
    ],
)
def test_no_gradient_and_no_decay_moves_them(make: Callable[[nn.Layer], Any]) -> None:
    layer = network()
    nn.freeze(layer[0])
    before = layer.state_dict()
    train(layer, make(layer))
    after = layer.state_dict()
    for name in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (after["2.weight"] != before["2.weight"]).all()


def test_pytorchs_name_for_it() -> None:
    layer = network()
    assert layer[0].requires_grad_(False) is layer[0]
    assert [p.requires_grad for p in layer.parameters()] == [False, False, True, True]
    layer(fs.tensor(np.ones((1, 3), np.float32))).sum().backward()
    assert [p.grad is None for p in layer.parameters()] == [True, True, False, False]
    layer.requires_grad_(False)
    assert all(p.grad is None for p in layer.parameters())
    layer.requires_grad_()
    assert all(p.requires_grad for p in layer.parameters())


def test_what_comes_before_still_learns() -> None:
    layer = network()
    nn.freeze(layer[2])
    before = layer.state_dict()
    train(layer, fs.optim.SGD(layer, 0.5))
    after = layer.state_dict()
    np.testing.assert_array_equal(after["2.weight"], before["2.weight"])
    assert (after["0.weight"] != before["0.weight"]).any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_as_frozen(copied: Callable[[nn.Layer], nn.Layer]) -> None:
    layer = network()
    nn.freeze(layer[0])
    assert [p.requires_grad for p in copied(layer).parameters()] == [False, False, True, True]


def test_an_optimizer_made_before_says_so() -> None:
    layer = network()
    optimizer = fs.optim.SGD(layer, 0.5)
    nn.freeze(layer[0])
    with pytest.raises(ConfigurationError, match=r"SGD: .*frozen or unfrozen since"):
        train(layer, optimizer, 1)
    nn.unfreeze(layer)
    train(layer, optimizer, 1)


def test_only_layers_can_be_frozen() -> None:
    with pytest.raises(InputError, match="freeze: layer expected a Layer; got list"):
        nn.freeze([])  # type: ignore[arg-type]  # a mistake
