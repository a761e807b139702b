"""Every argument of every layer and initialiser is looked at when it is made."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import DTypeError, FlagstoneError, InputError
from flagstone.nn import init
from flagstone.plugins import registry

REQUIRED: dict[str, dict[str, Any]] = {
    "in_features": 4, "out_features": 4, "in_channels": 4, "out_channels": 4, "kernel_size": 3,
    "num_features": 4, "num_groups": 2, "num_channels": 4, "normalized_shape": 4, "shape": (4,),
    "input_size": 4, "hidden_size": 4, "embed_dim": 4, "num_heads": 2, "num_embeddings": 4,
    "embedding_dim": 4, "output_size": 2, "mean": (0.0,), "std": (1.0,), "inner": nn.ReLU(),
}  # fmt: skip
RECURRENT = ("num_layers", "bias", "dropout", "bidirectional")


class Anything:
    """What no argument can be."""

    def __repr__(self) -> str:
        return "anything"


def arguments() -> list[tuple[str, str]]:
    found = []
    for name in registry.names("layer"):
        taken = inspect.signature(registry.load("layer", name)).parameters.values()
        names = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found += [(name, argument) for argument in names]
        if any(p.kind is p.VAR_KEYWORD for p in taken):
            found += [(name, a) for a in RECURRENT if a not in names]
    return found


def made(name: str, **given: Any) -> Any:
    layer = registry.load("layer", name)
    taken = inspect.signature(layer).parameters.values()
    needed = {
        p.name: REQUIRED[p.name]
        for p in taken
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    if name == "upsample" and not given.keys() & {"size", "scale_factor"}:
        needed["size"] = 2
    branches = [nn.ReLU()] if any(p.kind is p.VAR_POSITIONAL for p in taken) else []
    return layer(*branches, **{**needed, **given})


@pytest.mark.parametrize(("layer", "argument"), arguments())
def test_a_layer_refuses_what_an_argument_cannot_be(layer: str, argument: str) -> None:
    for value in (Anything(), "nonsense", float("nan")):
        with pytest.raises(FlagstoneError) as refusal:
            made(layer, **{argument: value})
        told = str(refusal.value)
        assert re.search(rf"\b{argument}\b|unknown initialiser 'nonsense'", told), told
        assert "expected" in told or "known:" in told, told
        assert repr(value) in told or type(value).__name__ in told, told


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(4, 3, "relu"), "Linear: bias expected True or False; got 'relu'"),
        (lambda: nn.Maxout(0, 3), "Maxout: in_features expected a positive integer; got 0"),
        (lambda: nn.LSTM(4, 3, dropout=1.5), "LSTM: dropout expected a probability in [0, 1)"),
        (lambda: nn.GRU(4, 3, bias=1), "GRU: bias expected True or False; got 1"),
        (
            lambda: nn.MultiheadAttention(4, 2, 1.0),
            "MultiheadAttention: dropout expected a probability in [0, 1); got 1.0",
        ),
        (lambda: nn.BatchNorm2d(-1), "BatchNorm2d: num_features expected a positive integer; got"),
        (lambda: nn.MaxPool2d(2, dilation=0), "MaxPool2d: dilation expected a positive integer or"),
        (lambda: nn.AvgPool2d(2, 1, 0, 1), "AvgPool2d: ceil_mode expected True or False; got 1"),
        (
            lambda: nn.AdaptiveAvgPool2d((2, 0)),
            "AdaptiveAvgPool2d: output_size expected a positive integer, or 2 of them or of None "
            "in a tuple; got (2, 0)",
        ),
        (lambda: nn.AdaptiveMaxPool1d((2, 2)), "output_size expected a positive integer, or 1"),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding="same"), "ConvTranspose2d: padding expected"),
        (
            lambda: nn.ConvTranspose2d(4, 4, 3, output_padding=-1),
            "ConvTranspose2d: output_padding expected an integer >= 0 or 2 of them; got -1",
        ),
        (
            lambda: nn.Conv2d(4, 4, 3, padding_mode="circular"),
            "Conv2d: padding_mode expected one of zeros, reflect, replicate; got 'circular'",
        ),
        (lambda: nn.Upsample(0), "Upsample: size expected a positive integer or a tuple of them"),
        (lambda: nn.Upsample(scale_factor=-2.0), "scale_factor expected a positive finite number"),
        (
            lambda: nn.Upsample(2, align_corners=True),
            "Upsample: align_corners expected None for mode 'nearest'; got True",
        ),
        (lambda: nn.LayerNorm(4, eps=float("inf")), "LayerNorm: eps expected a finite number >= 0"),
        (lambda: nn.Softmax(1.0), "Softmax: dim expected an integer; got 1.0"),
        (lambda: nn.Concat(nn.ReLU(), axis=None), "Concat: axis expected an integer; got None"),
        (lambda: nn.Standardize(4), "Standardize: shape expected a tuple of integers >= 0; got 4"),
        (lambda: nn.Parameter(3, init.zeros), "Parameter: shape expected a tuple of integers >= 0"),
        (
            lambda: nn.Buffer((2, -1)),
            "Buffer: shape expected a tuple of integers >= 0; got (2, -1)",
        ),
        (lambda: nn.mlp(4, 8, 2), "hidden: expected a tuple of positive integers; got 8"),
        (lambda: nn.mlp(4, (8,), 2, activation=None), "activation: expected the name of a layer"),
        (lambda: nn.mlp(4, (8,), 2, dropout="a"), "dropout: expected a probability in [0, 1)"),
    ],
)
def test_it_says_what_it_expected(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_sizes_of_numpy_are_sizes() -> None:
    n = np.int64(4)
    assert nn.LayerNorm(n).normalized_shape == (4,)
    assert nn.Embedding(n, n, np.int64(-1)).padding_idx == 3
    assert repr(nn.mlp(4, (n,), 2)[1]) == "Linear(4, 4, bias=True)"


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (init.constant, ("value",)),
        (init.normal, ("std", "mean")),
        (init.uniform, ("low", "high")),
        (init.xavier_uniform, ("gain",)),
        (init.xavier_normal, ("gain",)),
        (init.kaiming_uniform, ("gain", "mode")),
        (init.kaiming_normal, ("gain", "mode")),
        (init.truncated_normal, ("std", "mean", "low", "high")),
        (init.orthogonal, ("gain",)),
        (init.dirac, ("groups",)),
        (init.calculate_gain, ("nonlinearity",)),
    ],
)
def test_an_initialiser_refuses_what_an_option_cannot_be(
    make: Callable[..., Any], options: tuple[str, ...]
) -> None:
    for option in options:
        for value in (Anything(), None, [1.0]):
            message = rf"\w+: {option} expected .*; got {re.escape(repr(value))}"
            with pytest.raises(InputError, match=message):
                make(**{option: value})


def a_layer() -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 2)).initialize(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: a_layer().load_state_dict([1]), InputError,
            "load_state_dict: state expected a dict of arrays by name, as state_dict() gives; "
            "got list",
        ),
        (
            lambda: a_layer().load_state_dict({1: 2}), InputError,
            "missing: 0.bias, 0.weight; unexpected: 1",
        ),
        (
            lambda: a_layer().initialize(0, dtype="float16"), DTypeError,
            "initialize: dtype expected 'float32' or 'float64'; got 'float16'",
        ),
        (lambda: a_layer().initialize(0, dtype=None), DTypeError, "initialize: dtype expected"),
        (lambda: a_layer().with_dtype("int32"), DTypeError, "with_dtype: dtype expected 'float32'"),
        (lambda: a_layer().train("yes"), InputError, "train: mode expected True or False; got 'ye"),
        (lambda: a_layer().requires_grad_(1), InputError, "requires_grad expected True or False"),
        (
            lambda: nn.summary(a_layer(), (3,), (3,)), InputError,
            "summary: input_shapes expected one for each input of Sequential, (x); got 2: (3,), ",
        ),
        (
            lambda: nn.summary(a_layer(), (3,), dtype="half"), InputError,
            "summary: dtype expected None or one of float32, float64, ",
        ),
        (lambda: nn.Linear(3, 2)(y=1), InputError, "missing a required argument: 'x'; forward"),
        (
            lambda: nn.LSTM(3, 2)(fs.tensor(np.zeros((1, 2, 3))), states=1), InputError,
            "LSTM: got an unexpected keyword argument 'states'; forward takes (x, state)",
        ),
        (
            lambda: ByName()(fs.tensor(np.zeros(3)), flag=True), InputError,
            "ByName: forward expected arguments that can be given by position; got flag",
        ),
    ],
)  # fmt: skip
def test_a_bad_call_is_told(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


class ByName(nn.Layer):
    def forward(self, x: fs.Tensor, *, flag: bool = False) -> fs.Tensor:
        return x
