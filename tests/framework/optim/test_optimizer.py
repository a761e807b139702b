"""What every optimizer keeps, restores and refuses; and its kernels against the generic forms."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, optim
from flagstone.errors import ConfigurationError, InputError
from flagstone.plugins import registry

MAKERS: dict[str, Any] = {
    "sgd": optim.SGD,
    "sgd, momentum": functools.partial(optim.SGD, momentum=0.9),
    "sgd, nesterov": functools.partial(
        optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.1, clip_norm=0.5
    ),
    "adam": optim.Adam,
    "adamw": functools.partial(optim.AdamW, clip_norm=0.5),
    "sgd, dampening": functools.partial(optim.SGD, momentum=0.9, dampening=0.5),
    "sgd, groups": functools.partial(
        optim.SGD, weight_decay=0.1, groups={"*.bias": {"lr_scale": 2.0, "weight_decay": 0.0}}
    ),
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "adamax": optim.Adamax,
    "rmsprop": functools.partial(optim.RMSprop, momentum=0.9, centered=True),
    "adagrad": functools.partial(optim.Adagrad, lr_decay=0.1, initial_accumulator_value=0.1),
    "adadelta": optim.Adadelta,
    "lion": optim.Lion,
    "lamb": optim.LAMB,
    "muon": functools.partial(optim.Muon, clip_value=0.5),
    "lookahead": functools.partial(optim.lookahead, base="adam(eps=1e-6)", k=3),
    "ema": lambda layer, lr: optim.EMA(optim.Lookahead(optim.SGD(layer, lr), k=4), decay=0.9),
}


def a_layer(dtype: str = "float32") -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).initialize(0, dtype=dtype)


def take_steps(layer: nn.Layer, optimizer: optim.Optimizer, first: int, last: int) -> None:
    for i in range(first, last):
        x = np.random.default_rng(i).standard_normal((5, 3)).astype(layer.dtype_name)
        optimizer.zero_grad()
        (layer(fs.tensor(x)) ** 2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_restored_state_goes_on_bit_for_bit(name: str, dtype: str) -> None:
    layer = a_layer(dtype)
    optimizer = MAKERS[name](layer, lr=0.01)
    take_steps(layer, optimizer, 0, 5)
    weights, state = layer.state_dict(), optimizer.state_dict()
    take_steps(layer, optimizer, 5, 10)

    other = a_layer(dtype)
    again = MAKERS[name](other, lr=0.01)
    other.load_state_dict(weights)
    again.load_state_dict(state)
    take_steps(other, again, 5, 10)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[key])
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, again.state_dict()[key])


def test_a_state_dict_is_a_copy() -> None:
    layer = a_layer()
    optimizer = optim.Adam(layer)
    take_steps(layer, optimizer, 0, 1)
    state = optimizer.state_dict()
    assert set(state) == {"m", "v", "t"}
    assert state["t"] == 1
    state["m"][...] = 99
    assert not (optimizer.state_dict()["m"] == 99).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": None}, r"Adam expected state 'm' of shape \(32,\); got none"),
        ({"v": np.ones(3)}, r"Adam expected state 'v' of shape \(32,\); got \(3,\)"),
        ({"velocity": np.ones(32)}, "Adam expected states m, v, t; got also velocity"),
    ],
)
def test_a_wrong_state_changes_nothing(change: dict[str, Any], message: str) -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).initialize(0)
    optimizer = optim.Adam(layer)
    assert layer.flat is not None
    assert layer.flat.values.size == 32
    state: dict[str, Any] = {"m": np.ones(32), "v": np.ones(32), "t": np.ones(())}
    state = {k: v for k, v in {**state, **change}.items() if v is not None}
    with pytest.raises(InputError, match=message):
        optimizer.load_state_dict(state)
    assert not any(value.any() for value in optimizer.state_dict().values())


def test_momentum_is_not_silently_dropped() -> None:
    layer = a_layer()
    state = optim.SGD(layer, momentum=0.9).state_dict()
    with pytest.raises(InputError, match="SGD expected states none; got also velocity"):
        optim.SGD(layer).load_state_dict(state)


BAD: list[tuple[Any, str]] = [
    (lambda layer: optim.SGD(layer, -0.1), "SGD: lr expected a finite number >= 0; got -0.1"),
    (
        lambda layer: optim.SGD(layer, float("nan")),
        "SGD: lr expected a finite number >= 0; got nan",
    ),
    (lambda layer: optim.SGD(layer, "fast"), "SGD: lr expected a finite number >= 0; got 'fast'"),
    (lambda layer: optim.SGD(layer, momentum=1.0), "SGD: momentum expected a number in [0, 1)"),
    (lambda layer: optim.SGD(layer, momentum="a"), "SGD: momentum expected a number in [0, 1)"),
    (
        lambda layer: optim.SGD(layer, weight_decay=-1),
        "SGD: weight_decay expected a finite number >= 0",
    ),
    (lambda layer: optim.SGD(layer, nesterov=True), "SGD: nesterov expected momentum > 0 with it"),
    (lambda layer: optim.SGD(layer, clip_norm=0), "SGD: clip_norm expected a finite number > 0"),
    (lambda layer: optim.SGD(layer, clip_norm="a"), "SGD: clip_norm expected a finite number > 0"),
    (lambda layer: optim.Adam(layer, betas=(0.9, 1)), "Adam: betas expected two numbers in [0, 1)"),
    (lambda layer: optim.Adam(layer, betas=(0.9,)), "Adam: betas expected two numbers in [0, 1)"),
    (lambda layer: optim.Adam(layer, betas=0.9), "Adam: betas expected two numbers in [0, 1)"),
    (
        lambda layer: optim.Adam(layer, eps=-1e-8),
        "Adam: eps expected a finite number >= 0; got -1e-08",
    ),
    (
        lambda layer: optim.AdamW(layer, weight_decay=None),
        "AdamW: weight_decay expected a finite number",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_a_bad_option_is_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make(a_layer())


def test_the_rate_can_be_set_and_is_checked() -> None:
    optimizer = optim.SGD(a_layer("float64"), 0.5)
    optimizer.lr = 0.25
    assert optimizer.lr == 0.25
    with pytest.raises(ConfigurationError, match="SGD: lr expected a finite number >= 0; got -1"):
        optimizer.lr = -1.0


def test_an_optimizer_initialises_its_layer() -> None:
    layer = nn.Linear(2, 2)
    optim.SGD(layer)
    np.testing.assert_array_equal(
        layer.state_dict()["weight"], nn.Linear(2, 2).initialize(0).state_dict()["weight"]
    )


def test_an_optimizer_without_update_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Optimizer defines no update"):
        optim.Optimizer(a_layer(), 0.1).step()


def test_a_layer_without_parameters() -> None:
    with pytest.raises(ConfigurationError, match="Adam: layer expected at least one parameter"):
        optim.Adam(nn.Sequential(nn.ReLU()), clip_norm=1.0)


def test_registered_optimizers_are_tested() -> None:
    tested = {getattr(make, "func", make) for make in MAKERS.values()}
    classes = {registry.load("optimizer", name) for name in registry.names("optimizer")}
    tested.add(optim.LBFGS)  # in test_lbfgs.py: its steps take a closure
    assert {c for c in classes if c.__module__.startswith("flagstone.")} <= tested


# Kernels against the generic forms


def draw(n: int, dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(dtype)


UPDATES: list[tuple[str, int, dict[str, Any]]] = [
    ("sgd_update", 0, {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    ("sgd_update", 0, {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1}),
    ("sgd_update", 1, {"momentum": 0.9, "nesterov": False, "weight_decay": 0.1}),
    ("sgd_update", 1, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0}),
    *[
        (
            "adam_update",
            2,
            {"beta1": b1, "beta2": b2, "eps": 1e-8, "weight_decay": w, "decoupled": decoupled},
        )
        for b1, b2 in ((0.9, 0.999), (0.0, 0.0))
        for w in (0.0, 0.1)
        for decoupled in (False, True)
    ],
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("n", [1, 1000, 16384, 40000])  # below, at and across the kernels' block
@pytest.mark.parametrize(("name", "states", "options"), UPDATES)
def test_the_kernel_is_the_generic_form(
    name: str, states: int, options: dict[str, Any], n: int, dtype: str, tolerance: float
) -> None:
    op = ops.ALL_OPS[name]
    backend = fs.tensor(np.zeros(1)).backend
    kernel = backend.kernels.get(name)
    if kernel is None:
        pytest.skip(f"{backend.name} has no kernel for {name}: the generic form serves it")
    results = []
    for function in (kernel, functools.partial(op.generic, backend.xp)):
        p, g = draw(n, dtype, 0), draw(n, dtype, 1)
        kept = [np.abs(draw(n, dtype, 2 + i)) for i in range(states)]
        extra = [np.asarray(3, dtype)] if states == 2 else [] if states else [None]
        arrays = [p, g, *kept, *extra]
        for lr in (0.01, 0.02):
            function(*arrays, np.asarray(lr, dtype), np.asarray(0.125, dtype), **options)
        assert np.array_equal(g, draw(n, dtype, 1))  # gradients are read only
        results.append([a for a in arrays if a is not None])
    assert not np.array_equal(results[0][0], draw(n, dtype, 0))
    for one, other in zip(*results, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
