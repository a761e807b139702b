"""Variables that a captured step looks up: bound to something else, it is recorded anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

SCRIPT = """
import flagstone as fs
from flagstone import nn

layer = nn.Linear(3, 2).initialize(0)
optimizer = fs.optim.SGD(layer, lr=0.1)
factor = 2.0
grad = 0  # not what `x.grad` is


def loss(x):
    return ((layer(x) - shift(x)) * factor).mean()


@fs.no_grad()
def shift(x):
    return amount


amount = 1.0


def step(x):
    optimizer.zero_grad()
    found = loss(x)
    found.backward()
    assert layer.weight.grad is not None
    optimizer.step()
    return found
"""


def _other_layer(script: dict[str, Any]) -> None:
    script["layer"] = nn.Linear(3, 2).initialize(7)
    script["optimizer"] = fs.optim.SGD(script["layer"], lr=0.1)


def _other_optimizer(script: dict[str, Any]) -> None:
    script["optimizer"] = fs.optim.SGD(script["layer"], lr=0.1, momentum=0.9)


REBOUND: dict[str, Callable[[dict[str, Any]], object]] = {
    "a layer and its optimizer": _other_layer,
    "an optimizer": _other_optimizer,
    "a number that a function takes": lambda script: script.update(factor=-3.0),
    "a number that a function of a function takes": lambda script: script.update(amount=5.0),
    "a function": lambda script: script.update(loss=lambda x: script["layer"](x).sum()),
}


@pytest.mark.parametrize("change", REBOUND)
def test_a_global_name_that_is_bound_to_something_else_is_seen(change: str) -> None:
    values = {}
    x = fs.tensor(np.random.default_rng(0).random((4, 3), np.float32))
    for kind in ("eager", "captured", "unchanged"):
        script: dict[str, Any] = {"__name__": "script"}
        exec(SCRIPT, script)
        step = fs.capture(script["step"], strict=True) if kind == "captured" else script["step"]
        told = [step(x).item() for _ in range(5)]
        if kind != "unchanged":
            REBOUND[change](script)
        told += [step(x).item() for _ in range(5)]
        values[kind] = told
        if kind == "captured":
            assert step._entries[0][1].program is not None
    assert values["eager"] == values["captured"]
    assert values["eager"] != values["unchanged"]


def test_a_variable_of_an_enclosing_function_is_seen() -> None:
    layer: nn.Layer = nn.LeakyReLU(0.5)
    x = fs.tensor(np.linspace(-1, 1, 6).astype(np.float32))
    captured = fs.capture(fs.no_grad()(lambda x: layer(x)), strict=True)
    first = [captured(x).numpy() for _ in range(4)]
    before = captured._entries[0][1]
    other, layer = layer, nn.Tanh()
    for _ in range(3):
        np.testing.assert_array_equal(captured(x).numpy(), layer(x).numpy())
    layer = other
    np.testing.assert_array_equal(captured(x).numpy(), first[0])
    assert captured._entries[0][1] is before  # the first capture is found again


def test_names_that_say_the_same_record_nothing() -> None:
    script: dict[str, Any] = {"__name__": "script"}
    exec(SCRIPT, script)
    captured = fs.capture(script["step"], strict=True)
    x = fs.tensor(np.ones((4, 3), np.float32))
    for i in range(4):
        captured(x)
        script["grad"] = i  # an attribute's name, which the step does not look up
        script["factor"] = float(f"{2 + i * 0}.0")  # another object, the same number
    assert len(captured._entries) == 1
