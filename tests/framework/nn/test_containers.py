"""Sequential, mlp, and how layers print."""

from __future__ import annotations

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError, InputError, UnknownNameError


def test_indexing_and_slicing() -> None:
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    layer = nn.Sequential(a, b, c)
    assert (layer[0], layer[-1], len(layer), list(layer)) == (a, c, 3, [a, b, c])
    part = layer[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part) == [b, c]
    assert list(layer[::-1]) == [c, b, a]
    assert len(layer[5:]) == 0
    with pytest.raises(IndexError):
        layer[3]


def test_an_empty_sequential_is_the_identity() -> None:
    x = fs.tensor(np.ones((2, 2), np.float32))
    assert nn.Sequential()(x) is x


def test_layers_run_in_order() -> None:
    layer = nn.Sequential(nn.Linear(1, 1, init="ones"), nn.Standardize((1,)), nn.ReLU())
    layer.initialize(0)
    layer[1].mean.array[...] = 5.0
    x = np.array([[2.0], [7.0]], np.float32)
    np.testing.assert_array_equal(layer(fs.tensor(x)).numpy(), [[0.0], [2.0]])


def kinds(layer: nn.Sequential) -> list[str]:
    return [type(part).__name__ for part in layer]


def test_mlp() -> None:
    layer = nn.mlp(4, (5, 6), 2, activation="leaky-relu(negative_slope=0.1)", dropout=0.2)
    assert kinds(layer) == [
        "Flatten", "Linear", "LeakyReLU", "Dropout", "Linear", "LeakyReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert layer[2].negative_slope == 0.1
    assert layer[3].p == 0.2
    assert layer(fs.tensor(np.ones((3, 2, 2), np.float32))).shape == (3, 2)
    assert kinds(nn.mlp(4, (), 2)) == ["Flatten", "Linear"]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "leaky-relu", "elu"])
def test_mlp_takes_the_lectures_activations(activation: str) -> None:
    layer = nn.mlp(2, (3,), 1, activation=activation)
    assert layer(fs.tensor(np.ones((1, 2), np.float32))).shape == (1, 1)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [("maxout", 2), ("maxout()", 2), ("maxout(pieces=3)", 3), (" maxout( pieces = 4 ) ", 4)],
)
def test_mlp_with_maxout(text: str, pieces: int) -> None:
    layer = nn.mlp(4, (5, 6), 2, activation=text, dropout=0.5)
    assert kinds(layer) == ["Flatten", "Maxout", "Dropout", "Maxout", "Dropout", "Linear"]
    assert layer[1].pieces == pieces
    assert layer[1].linear.weight.shape == (5 * pieces, 4)


@pytest.mark.parametrize(
    "text",
    ["maxout(pieces=two)", "maxout(3)", "maxout(parts=3)", "maxout(pieces=2", "maxout(pieces=2.5)"],
)
def test_a_wrong_maxout_is_named(text: str) -> None:
    with pytest.raises((ConfigurationError, InputError), match=r"(?i)maxout"):
        nn.mlp(4, (5,), 2, activation=text)


def test_mlp_errors() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown activation 'rleu'.*Did you mean 'relu'"):
        nn.mlp(4, (5,), 2, activation="rleu")
    with pytest.raises(ConfigurationError, match=r"has no option 'slope'.*negative_slope"):
        nn.mlp(4, (5,), 2, activation="leaky-relu(slope=0.1)")
    expected = "activation 'linear' cannot be made without in_features and out_features"
    with pytest.raises(ConfigurationError, match=f"^{expected}"):
        nn.mlp(4, (5,), 2, activation="linear")
    with pytest.raises(ConfigurationError, match=r"^activation: expected a name or name\("):
        nn.mlp(4, (5,), 2, activation="leaky-relu(0.1)")
    with pytest.raises(InputError, match=r"hidden: expected positive integers; got \(3, 0\)"):
        nn.mlp(4, (3, 0), 2)
    with pytest.raises(InputError, match=r"dropout: expected a probability in \[0, 1\); got nan"):
        nn.mlp(4, (3,), 2, dropout=float("nan"))
    with pytest.raises(UnknownNameError, match="unknown initialiser 'xavier'"):
        nn.mlp(4, (5,), 2, init="xavier")


def test_maxout_is_the_largest_of_its_pieces() -> None:
    layer = nn.Maxout(2, 3, 4).initialize(0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((5, 2))
    weight, bias = (p.numpy() for p in layer.parameters())
    each = x @ weight.T + bias  # (5, 12)
    np.testing.assert_allclose(
        layer(fs.tensor(x)).numpy(), each.reshape(5, 3, 4).max(axis=-1), rtol=1e-12
    )


def test_repr_shows_the_tree() -> None:
    layer = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"), nn.BatchNorm(4), nn.Sequential(nn.LeakyReLU(0.1)),
        nn.MaxPool2d(2), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Maxout(4, 2, 3), nn.Dropout(0.25),
    )  # fmt: skip
    assert repr(layer) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 4, kernel_size=(3, 3), stride=1, padding='same')\n"
        "  (1): BatchNorm(4, eps=1e-05, momentum=0.1)\n"
        "  (2): Sequential(\n"
        "    (0): LeakyReLU(negative_slope=0.1)\n"
        "  )\n"
        "  (3): MaxPool2d(kernel_size=2, stride=2, padding=0)\n"
        "  (4): AvgPool2d(kernel_size=2, stride=1, padding=0)\n"
        "  (5): Flatten()\n"
        "  (6): Maxout(4, 2, pieces=3, bias=True)\n"
        "  (7): Dropout(p=0.25)\n"
        ")"
    )
