"""What changes between two calls of a captured step is seen, recorded anew, or refused, as
docs/capturing.md says."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.errors import ConfigurationError, InputError
from flagstone.named import make
from flagstone.tensors import Tensor


@dataclass
class Config:
    factor: float = 2.0


class Settings:
    """An object of a class that knows nothing of flagstone."""

    def __init__(self) -> None:
        self.factor, self.factors = 2.0, [1.0]


class Scaled(nn.Layer):
    """A layer with attributes of all kinds, each of which its output depends on."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.factors = [1.0, 1.0]
        self.nested = ([1.0], {"a": [1.0]})
        self.named = {"a": 1.0}
        self.kinds = {"one"}
        self.array = np.ones(3)
        self.config, self.settings = Config(), Settings()
        self.function: Callable[[Tensor], Tensor] = ops.tanh
        self.inner = nn.LeakyReLU(0.5)
        self.blocks: list[nn.Layer] = [nn.LeakyReLU(0.5)]

    def forward(self, x: Tensor) -> Tensor:
        number = self.factor * self.factors[0] * self.nested[0][0] * self.nested[1]["a"][0]
        number *= self.named["a"] * len(self.kinds) * self.config.factor
        number *= self.settings.factor * self.settings.factors[0]
        x = self.function(x * number) - x * float(self.array.sum())
        x = self.inner(x)
        for block in self.blocks:
            x = block(x)
        return x if self.training else -x


def _delete(layer: Any) -> None:
    layer.function = ops.relu
    del layer.blocks[0]


CHANGES: dict[str, Callable[[Any], object]] = {
    "a number": lambda layer: setattr(layer, "factor", 3.0),
    "an item of a list": lambda layer: layer.factors.__setitem__(0, 3.0),
    "a list that grows": lambda layer: layer.blocks.append(nn.Tanh()),
    "a nested item": lambda layer: layer.nested[1]["a"].__setitem__(0, 4.0),
    "an item of a dict": lambda layer: layer.named.update(a=3.0),
    "a set": lambda layer: layer.kinds.add("two"),
    "values of a NumPy array": lambda layer: layer.array.__setitem__(1, 5.0),
    "a field of a dataclass": lambda layer: setattr(layer.config, "factor", 1.5),
    "an attribute of an object": lambda layer: setattr(layer.settings, "factor", 1.5),
    "an item of an object's list": lambda layer: layer.settings.factors.__setitem__(0, 7.0),
    "a function": lambda layer: setattr(layer, "function", ops.abs),
    "a layer that is replaced": lambda layer: setattr(layer, "inner", nn.Tanh()),
    "a layer in a list": lambda layer: layer.blocks.__setitem__(0, nn.Tanh()),
    "an attribute of a layer inside": lambda layer: setattr(layer.inner, "negative_slope", 0.1),
    "an attribute of a layer in a list": lambda layer: setattr(
        layer.blocks[0], "negative_slope", 0.1
    ),
    "forward itself": lambda layer: setattr(layer, "forward", lambda x: x * 5.0),
    "what is deleted": _delete,
    "eval()": lambda layer: layer.eval(),
    "a mode that is set": lambda layer: setattr(layer, "training", False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_attribute_of_a_layer_is_seen(change: str) -> None:
    layer, same = Scaled(), Scaled()
    x = fs.tensor(np.linspace(-1, 1, 6).astype(np.float32))
    captured = fs.capture(lambda x: layer(x), strict=True)
    before = [captured(x).numpy() for _ in range(4)]
    assert captured._entries[0][1].program is not None
    for one in (layer, same):
        CHANGES[change](one)
    expected = same(x).numpy()
    assert (expected != before[-1]).any(), "the change was to change something"
    for _ in range(4):
        np.testing.assert_array_equal(captured(x).numpy(), expected)
    assert captured._entries[0][1].program is not None  # it was recorded anew, not given up
    assert captured.reason is None


def test_going_back_finds_the_first_capture_again() -> None:
    layer = nn.Sequential(nn.LeakyReLU(0.5), nn.LeakyReLU(0.25))
    captured = fs.capture(lambda x: layer(x), strict=True)
    x = fs.tensor(np.linspace(-1, 1, 6).astype(np.float32))
    for _ in range(4):
        layer[0].negative_slope = 0.5
        first = captured(x)
        first = captured(x)
        layer[0].negative_slope = 0.1
        captured(x)
        captured(x)
    assert len(captured._entries) == 2
    layer[0].negative_slope = 0.5
    np.testing.assert_array_equal(captured(x).numpy(), first.numpy())


def test_a_list_that_takes_the_place_of_an_equal_one_is_looked_at_too() -> None:
    layer = Scaled()
    x = fs.tensor(np.linspace(-1, 1, 6).astype(np.float32))
    captured = fs.capture(lambda x: layer(x), strict=True)
    for _ in range(3):
        captured(x)
    layer.factors, layer.array = list(layer.factors), layer.array.copy()
    for _ in range(3):
        captured(x)
    layer.factors[0], layer.array[0] = 3.0, 7.0
    np.testing.assert_array_equal(captured(x).numpy(), layer(x).numpy())


def test_what_changes_nothing_records_nothing() -> None:
    """Other layers, and an attribute that is set to what it was."""
    layer = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.ReLU()).initialize(0)
    layer.eval()
    captured = fs.capture(fs.no_grad()(lambda x: layer(x)), strict=True)
    x = fs.tensor(np.ones((2, 3), np.float32))
    for _ in range(3):
        captured(x)
    step = captured._entries[0][1]
    nn.Linear(4, 4)
    layer[1].p = 0.5
    layer.train().eval()
    captured(x)
    assert captured._entries[0][1] is step
    assert len(captured._entries) == 1


def test_dropout_and_momentum_in_a_training_step() -> None:
    """``dropout.p`` and ``batch_norm.momentum`` hold from the next step on, to the bit."""
    runs = []
    for wrap in (lambda f: f, lambda f: fs.capture(f, strict=True)):
        layer = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.Linear(8, 2))
        layer.initialize(0)
        optimizer = optim.Adam(layer, 0.01)

        def step(
            x: Tensor, y: Tensor, place: Tensor, layer: Any = layer, optimizer: Any = optimizer
        ) -> Tensor:
            optimizer.zero_grad()
            with nn.stream_position(place):
                loss = losses.mse(layer(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        run = wrap(step)
        rng = np.random.default_rng(0)
        told = []
        for i in range(24):
            if i == 8:
                layer[2].p = 0.1
            if i == 16:
                layer[1].momentum = 0.5
            x, y = (fs.tensor(rng.standard_normal((6, k)).astype(np.float32)) for k in (4, 2))
            told.append(run(x, y, fs.tensor(np.array([i, 0], np.uint64))).item())
        runs.append((told, layer.state_dict()))
    assert runs[0][0] == runs[1][0]
    for name, value in runs[0][1].items():
        np.testing.assert_array_equal(value, runs[1][1][name])


def _training(optimizer: str, wrap: Callable[[Any], Any]) -> Any:
    layer = nn.Linear(3, 2).initialize(0)
    made: Any = make("optimizer", optimizer, layer, 0.1)
    x, y = (fs.tensor(np.random.default_rng(i).random((4, k), np.float32))
            for i, k in ((0, 3), (1, 2)))  # fmt: skip

    def step() -> None:
        made.zero_grad()
        losses.mse(layer(x), y).backward()
        made.step()

    return types.SimpleNamespace(layer=layer, optimizer=made, step=wrap(step))


def _options(made: Any) -> None:
    made.options = [o._replace(lr_scale=0.5) for o in made.options]
    made.use_options()


OF_OPTIMIZERS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "lr": ("adam", lambda made: setattr(made, "lr", 0.02)),
    "weight_decay": ("adamw", lambda made: setattr(made, "weight_decay", 0.5)),
    "clip_norm": ("sgd", lambda made: setattr(made, "clip_norm", 1e-3)),
    "momentum": ("sgd(momentum=0.9)", lambda made: setattr(made, "momentum", 0.1)),
    "options of groups": ("sgd", _options),
    "of the optimizer inside": (
        "lookahead(base='adamw', k=2)", lambda made: setattr(made.optimizer, "weight_decay", 0.5)
    ),
    "lr of a wrapper": ("lookahead(base='sgd', k=2)", lambda made: setattr(made, "lr", 0.02)),
}  # fmt: skip


@pytest.mark.parametrize("change", OF_OPTIMIZERS)
def test_every_attribute_of_an_optimizer_is_seen(change: str) -> None:
    optimizer, apply = OF_OPTIMIZERS[change]
    values = {}
    for kind in ("eager", "captured", "unchanged"):
        wrap = (lambda f: f) if kind == "eager" else (lambda f: fs.capture(f, device="cpu"))
        run = _training(optimizer, wrap)
        for i in range(10):
            if i == 5 and kind != "unchanged":
                apply(run.optimizer)
            run.step()
        values[kind] = run.layer.state_dict()["weight"]
    np.testing.assert_array_equal(values["eager"], values["captured"])
    assert (values["eager"] != values["unchanged"]).any()


def test_a_parameter_that_is_replaced_is_an_error_of_the_optimizer_as_without_capture() -> None:
    told = []
    for wrap in (lambda f: f, lambda f: fs.capture(f, device="cpu")):
        run = _training("sgd", wrap)
        for _ in range(4):
            run.step()
        run.layer.initialize(1)
        with pytest.raises(ConfigurationError) as caught:
            run.step()
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_a_parameter_that_another_takes_the_place_of() -> None:
    layer = nn.Linear(3, 2).initialize(0)
    x = fs.tensor(np.ones((4, 3), np.float32))
    captured = fs.capture(fs.no_grad()(lambda x: layer(x)), strict=True)
    for _ in range(4):
        captured(x)
    layer.bias = nn.Linear(3, 2).initialize(5).bias
    np.testing.assert_array_equal(captured(x).numpy(), layer(x).numpy())
    layer.bias.array[...] = 3.0  # in place: seen without recording
    np.testing.assert_array_equal(captured(x).numpy(), layer(x).numpy())


def test_parameters_that_are_frozen_are_an_error_of_the_optimizer_as_without_capture() -> None:
    told = []
    for wrap in (lambda f: f, lambda f: fs.capture(f, device="cpu")):
        run = _training("sgd", wrap)
        for _ in range(4):
            run.step()
        run.layer.weight.requires_grad = False
        with pytest.raises(ConfigurationError) as caught:
            run.step()
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_an_argument_that_no_signature_has_is_refused() -> None:
    captured = fs.capture(lambda x, how: x * 2.0)
    with pytest.raises(InputError, match="expected tensors, None, numbers, strings"):
        captured(fs.tensor([1.0]), object())
