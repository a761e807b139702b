"""Every option of every optimizer and wrapper is looked at when it is made; what is shown of it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim
from flagstone.errors import ConfigurationError, InputError
from flagstone.plugins import registry

NUMBERS = ("lr", "weight_decay", "eps", "adamw_lr", "adamw_eps", "tolerance_grad", "clip_norm")


class Anything:
    def __repr__(self) -> str:
        return "anything"


def a_layer() -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 2)).initialize(0)


def options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name in registry.names("optimizer")
        for option in list(inspect.signature(registry.load("optimizer", name)).parameters)[1:]
    ]


@pytest.mark.parametrize(("name", "option"), options())
def test_an_optimizer_refuses_what_an_option_cannot_be(name: str, option: str) -> None:
    make = registry.load("optimizer", name)
    for value in (Anything(), [Anything()], float("nan")):
        told = rf"(?s)\b{option}\b.* expected .*got {re.escape(repr(value))}"
        if option == "adamw":  # a list it may be
            told = "Muon: adamw expected"
        with pytest.raises(ConfigurationError, match=told):
            make(a_layer(), **{option: value})
    if option in NUMBERS:
        with pytest.raises(ConfigurationError, match=rf"{option} expected a finite number.*inf"):
            make(a_layer(), **{option: float("inf")})


@pytest.mark.parametrize("option", ["k", "alpha", "schedule", "buffers"])
def test_lookahead_refuses_what_an_option_cannot_be(option: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"Lookahead: {option} expected .*; got anything"):
        optim.Lookahead(optim.SGD(a_layer()), **{option: Anything()})


@pytest.mark.parametrize("decay", [Anything(), 1, -0.1, float("nan")])
def test_an_average_refuses_what_its_decay_cannot_be(decay: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"EMA: decay expected a number in \[0, 1\); got"):
        optim.EMA(optim.SGD(a_layer()), decay=decay)


def loaded(change: Callable[[dict[str, Any]], Any]) -> None:
    optimizer = optim.Adam(a_layer())
    state = optimizer.state_dict()
    optimizer.load_state_dict(change(state))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loaded(lambda s: None), "load_state_dict: Adam expected a dict of arrays by name"),
        (lambda: loaded(lambda s: [1]), "as state_dict() gives; got list"),
        (lambda: loaded(lambda s: {**s, "t": "a"}), "Adam expected state 't' of real numbers"),
        (lambda: loaded(lambda s: {**s, "m": s["m"] * 1j}), "expected state 'm' of real numbers"),
        (lambda: loaded(lambda s: {**s, 3: 1}), "expected states m, v, t; got also 3"),
        (lambda: optim.LBFGS(a_layer()).load_state_dict(None), "LBFGS expected a dict of arrays"),
        (
            lambda: optim.LBFGS(a_layer()).load_state_dict({"moves": "a", "changes": "b"}),
            "LBFGS expected state 'moves' of real numbers; got dtype <U1",
        ),
    ],
)
def test_states_that_are_none_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call()


def test_a_closure_is_a_function() -> None:
    with pytest.raises(ConfigurationError, match="LBFGS: step expected a closure"):
        optim.LBFGS(a_layer()).step(3)  # type: ignore[arg-type]  # on purpose


def test_what_they_show() -> None:
    layer = a_layer()
    assert repr(optim.NAdam(layer, 0.1, decoupled_weight_decay=True)) == (
        "NAdam(lr=0.1, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, momentum_decay=0.004, "
        "decoupled_weight_decay=True, clip_norm=None, clip_value=None)"
    )
    wrapped = optim.EMA(optim.Lookahead(optim.Lion(layer, 1e-3), k=3), decay=0.9)
    assert repr(wrapped) == (
        "EMA(Lookahead(Lion(lr=0.001, betas=(0.9, 0.99), weight_decay=0.0, clip_norm=None, "
        "clip_value=None), k=3, alpha=0.5, schedule=None), decay=0.9)"
    )


def test_states_go_on_when_layers_are_frozen_in_the_middle() -> None:
    """As the error says: a new optimizer, with the old one's states; as PyTorch keeps them."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).initialize(0, dtype="float64")
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    ).double()  # fmt: skip
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    optimizer, other = optim.Adam(ours, 0.1), torch.optim.Adam(theirs.parameters(), 0.1)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))

    def step(x: fs.Tensor, y: fs.Tensor) -> None:
        optimizer.zero_grad()
        fs.losses.mse(ours(x), y).backward()
        optimizer.step()

    before = ours[0].weight.numpy().copy()
    for frozen in (False, True):
        if frozen:
            nn.freeze(ours[0])
            before = ours[0].weight.numpy().copy()
        for p in theirs[0].parameters():
            p.requires_grad_(not frozen)
        states = optimizer.state_dict()
        optimizer = optim.Adam(ours, 0.1)
        optimizer.load_state_dict(states)
        captured = fs.capture(step, strict=True)
        for _ in range(4):
            captured(fs.tensor(x), fs.tensor(y))
            other.zero_grad()
            torch.nn.functional.mse_loss(theirs(torch.tensor(x)), torch.tensor(y)).backward()
            other.step()
        assert np.array_equal(ours[0].weight.numpy(), before) is frozen
        for name, value in ours.state_dict().items():
            right = theirs.state_dict()[name].numpy()
            np.testing.assert_allclose(value, right, atol=1e-10)
    nn.unfreeze(ours[0])
    with pytest.raises(ConfigurationError, match="takes this one's state_dict"):
        captured(fs.tensor(x), fs.tensor(y))
