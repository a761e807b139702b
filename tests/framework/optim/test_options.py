"""The options that all optimizers share, and what each refuses."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim
from flagstone.errors import ConfigurationError, UnknownNameError
from flagstone.named import make
from flagstone.plugins import registry


def a_layer() -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 1)).initialize(0)


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (optim.SGD, {"clip_value": 0}, "SGD: clip_value expected a finite number > 0, or None; got 0"),
    (optim.SGD, {"clip_value": "a"}, "clip_value expected a finite number > 0, or None; got 'a'"),
    (
        optim.Adam, {"momentum": 0.9},
        "Adam: there is no option 'momentum'; known: betas, eps, weight_decay, clip_norm, "
        "clip_value, groups, decay_biases",
    ),
    (optim.SGD, {"decay_biases": 1}, "SGD: decay_biases expected True or False; got 1"),
    (optim.SGD, {"groups": "0.*"}, "SGD: groups expected a dict; got '0.*'"),
    (optim.SGD, {"groups": {"0.*": 0.1}}, "SGD: groups['0.*'] expected a dict; got 0.1"),
    (
        optim.SGD, {"groups": {"0.*": {"lr": 0.1}}},
        "SGD: groups['0.*'] expected only lr_scale, weight_decay, epochs; got 'lr'",
    ),
    (
        optim.SGD, {"groups": {"0.*": {"lr_scale": -1}}},
        "SGD: groups['0.*']['lr_scale'] expected a finite number >= 0; got -1",
    ),
    (
        optim.SGD, {"groups": {"3.*": {"lr_scale": 1}}},
        "SGD: groups expected patterns that match a parameter; '3.*' matches none of 0.weight, "
        "0.bias, 1.weight, 1.bias, 2.weight, 2.bias",
    ),
    (optim.SGD, {"dampening": 0.5}, "SGD: dampening expected momentum > 0 with it; got 0.5"),
    (optim.SGD, {"dampening": 1.0}, "SGD: dampening expected a number in [0, 1); got 1.0"),
    (
        optim.SGD, {"momentum": 0.9, "dampening": 0.5, "nesterov": True},
        "SGD: nesterov expected no dampening with it; got True",
    ),
    (optim.NAdam, {"betas": 0.9}, "NAdam: betas expected two numbers in [0, 1); got 0.9"),
    (optim.NAdam, {"momentum_decay": -1}, "momentum_decay expected a finite number >= 0; got -1"),
    (
        optim.NAdam, {"decoupled_weight_decay": 0.1},
        "NAdam: decoupled_weight_decay expected True or False; got 0.1",
    ),
    (optim.RAdam, {"eps": 0}, "RAdam: eps expected a finite number > 0; got 0"),
    (optim.Adamax, {"eps": "small"}, "Adamax: eps expected a finite number > 0; got 'small'"),
    (optim.RMSprop, {"alpha": 1}, "RMSprop: alpha expected a number in [0, 1); got 1"),
    (optim.RMSprop, {"centered": "no"}, "RMSprop: centered expected True or False; got 'no'"),
    (optim.Adagrad, {"lr_decay": None}, "lr_decay expected a finite number >= 0; got None"),
    (
        optim.Adagrad, {"initial_accumulator_value": -1},
        "Adagrad: initial_accumulator_value expected a finite number >= 0; got -1",
    ),
    (optim.Adadelta, {"rho": -0.1}, "Adadelta: rho expected a number in [0, 1); got -0.1"),
    (optim.Lion, {"betas": (0.9, 1)}, "Lion: betas expected two numbers in [0, 1); got (0.9, 1)"),
    (optim.LAMB, {"eps": 0}, "LAMB: eps expected a finite number > 0; got 0"),
    (optim.Muon, {"lr": 0}, "Muon: lr expected a number > 0, which adamw_lr is relative to; got 0"),
    (optim.Muon, {"ns_steps": 2.5}, "Muon: ns_steps expected a positive integer; got 2.5"),
    (optim.Muon, {"ns_coefficients": (1, 2)}, "ns_coefficients expected three finite numbers"),
    (
        optim.Muon, {"adjust_lr_fn": "rms"},
        "Muon: adjust_lr_fn expected one of original, match_rms_adamw; got 'rms'",
    ),
    (optim.Muon, {"adamw": "2.*"}, "Muon: adamw expected a tuple of patterns of names; got '2.*'"),
    (optim.Muon, {"adamw": ("head",)}, "Muon: adamw expected patterns of names among 0.weight, "),
    (optim.Muon, {"adamw_betas": (1, 1)}, "Muon: adamw_betas expected two numbers in [0, 1)"),
    (optim.lookahead, {"k": 0}, "Lookahead: k expected a positive integer; got 0"),
    (optim.lookahead, {"alpha": 0}, "Lookahead: alpha expected a number in (0, 1]; got 0"),
    (optim.lookahead, {"base": 3}, "lookahead: base expected a registered optimizer as text; got"),
    (
        lambda layer, **options: optim.EMA(optim.SGD(layer), **options), {"decay": 1.5},
        "EMA: decay expected a number in [0, 1); got 1.5",
    ),
    (lambda layer: optim.EMA(layer), {}, "EMA: optimizer expected an optimizer made over a layer"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "option", "message"), BAD)
def test_a_bad_option_is_named(make: Any, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make(a_layer(), **option)


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_the_command_lines_text_makes_each(name: str) -> None:
    optimizer = make("optimizer", f"{name}()", a_layer(), 0.25)
    assert isinstance(optimizer, optim.Optimizer)
    assert optimizer.lr == 0.25


def test_shared_options_can_be_written_as_text() -> None:
    text = "rmsprop(momentum=0.9, groups={'2.*': {'lr_scale': 0.1}}, decay_biases=False)"
    optimizer = make("optimizer", text, a_layer(), 0.1)
    assert [o.lr_scale for o in optimizer.options] == [1, 1, 1, 1, 0.1, 0.1]
    with pytest.raises(UnknownNameError, match="Did you mean 'adam'"):
        make("optimizer", "lookahead(base='adaam')", a_layer(), 0.1)


def test_a_signature_spells_the_shared_options_out() -> None:
    class Mine(optim.Adam):
        def __init__(self, layer: nn.Layer, lr: float, *, own: int = 1, **common: Any) -> None:
            super().__init__(layer, lr, **common)

    shared = ["clip_norm", "clip_value", "groups", "decay_biases"]
    assert [*inspect.signature(optim.SGD).parameters][-4:] == shared
    assert [*inspect.signature(Mine).parameters] == ["layer", "lr", "own", *shared]
    assert inspect.signature(optim.SGD).parameters["decay_biases"].default is True


def test_an_optimizer_without_options_of_its_own_has_the_shared_ones() -> None:
    class Plain(optim.Optimizer):
        def update(self, p: Any, g: Any, lr: Any, scale: Any) -> None:
            raise AssertionError("no step is made here")

    names = list(inspect.signature(Plain).parameters)
    assert names == ["layer", "lr", "weight_decay", "clip_norm", "clip_value", "groups",
                     "decay_biases"]  # fmt: skip
    with pytest.raises(ConfigurationError, match="Plain: there is no option 'momentum'; known: we"):
        Plain(a_layer(), 0.1, momentum=0.9)


def test_later_groups_win_and_say_only_what_they_say() -> None:
    optimizer = optim.AdamW(
        a_layer(), weight_decay=0.5, decay_biases=False,
        groups={"*": {"lr_scale": 2.0}, "2.*": {"lr_scale": 3.0}, "*.bias": {"weight_decay": 0.1}},
    )  # fmt: skip
    assert [o[:2] for o in optimizer.options] == [
        (2.0, 0.5), (2.0, 0.1), (2.0, 0.0), (2.0, 0.1), (3.0, 0.5), (3.0, 0.1),
    ]  # fmt: skip


def test_without_differences_there_are_no_arrays() -> None:
    optimizer = optim.AdamW(a_layer(), groups={"*": {"lr_scale": 1.0, "weight_decay": 0.01}})
    assert optimizer.rates is None
    assert optimizer.decays is None


@pytest.mark.parametrize("name", sorted(set(registry.names("optimizer")) - {"lbfgs", "lookahead"}))
def test_a_frozen_group_does_not_move(name: str) -> None:
    layer = a_layer()
    start = layer.state_dict()
    optimizer = registry.load("optimizer", name)(
        layer, 0.1, weight_decay=0.1, groups={"0.*": {"lr_scale": 0.0}}
    )
    for _ in range(2):
        optimizer.zero_grad()
        (layer(fs.tensor(np.ones((2, 3), "float32"))) ** 2).sum().backward()
        optimizer.step()
    for key, value in layer.state_dict().items():
        if "running" not in key and "mean" not in key and "var" not in key:
            assert np.array_equal(value, start[key]) == key.startswith("0."), key


def test_the_wrapped_rate_is_the_wrappers() -> None:
    inner = optim.SGD(a_layer(), 0.5)
    outer = optim.Lookahead(inner)
    outer.lr = 0.25
    assert (inner.lr, outer.lr) == (0.25, 0.25)


def test_averages_are_put_away_after_an_error() -> None:
    layer = a_layer()
    optimizer = optim.EMA(optim.SGD(layer, 0.1), decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(fs.tensor(np.eye(3, dtype="float32"))) ** 2).sum().backward()
        optimizer.step()
    before = layer.state_dict()

    def within() -> None:
        with optimizer.averages():
            assert not np.array_equal(layer.state_dict()["0.weight"], before["0.weight"])
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        within()
    np.testing.assert_array_equal(layer.state_dict()["0.weight"], before["0.weight"])
