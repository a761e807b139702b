"""Multi-layer perceptrons, for the models that have one."""

from __future__ import annotations

import re
from typing import Any

from flagstone.errors import ConfigurationError, InputError, UnknownNameError
from flagstone.named import is_number, make, parse
from flagstone.nn.container import Flatten, Sequential
from flagstone.nn.dropout import Dropout
from flagstone.nn.init import Initializer
from flagstone.nn.layer import Layer
from flagstone.nn.linear import Linear, Maxout
from flagstone.ops.window import is_integer

ACTIVATIONS = (  # what an unknown name is told; any registered layer will do
    "elu", "gelu", "hard-sigmoid", "hard-swish", "leaky-relu", "maxout", "mish", "relu", "selu",
    "sigmoid", "silu", "softplus", "tanh",
)  # fmt: skip


def mlp(
    in_features: int,
    hidden: tuple[int, ...],
    out_features: int,
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    init: str | Initializer | None = None,
) -> Sequential:
    """Flatten, then hidden layers with activation and dropout, then a linear layer.

    Args:
        in_features: numbers per example.
        hidden: width of each hidden layer; may be empty.
        out_features: numbers out.
        activation: a registered layer's name with its options, such as ``"relu"`` or
            ``"leaky-relu(negative_slope=0.1)"``; ``"maxout"`` or ``"maxout(pieces=3)"`` makes the
            hidden layers :class:`Maxout`.
        dropout: the probability of zero after each activation.
        init: of the weights; see :class:`Linear`.

    Raises:
        InputError: a width or ``dropout`` is out of range.
    """
    if not is_number(dropout) or not 0 <= dropout < 1:
        raise InputError(f"dropout: expected a probability in [0, 1); got {dropout!r}")
    if not isinstance(activation, str):
        raise InputError(f"activation: expected the name of a layer; got {activation!r}")
    if not isinstance(hidden, (tuple, list)):
        raise InputError(f"hidden: expected a tuple of positive integers; got {hidden!r}")
    layers: list[Layer] = [Flatten()]
    width = in_features
    for units in hidden:
        if not is_integer(units) or units < 1:
            raise InputError(f"hidden: expected positive integers; got {hidden!r}")
        units = int(units)  # a search over widths gives NumPy's
        if activation.partition("(")[0].strip() == "maxout":
            layers.append(Maxout(width, units, **_pieces(activation), init=init))
        else:
            layers += [Linear(width, units, init=init), _activation(activation)]
        if dropout:
            layers.append(Dropout(dropout))
        width = units
    return Sequential(*layers, Linear(width, out_features, init=init))


def _activation(text: str) -> Layer:
    try:
        layer: Layer = make("layer", text)
    except UnknownNameError as error:
        raise UnknownNameError(
            "activation", error.name, ACTIVATIONS, "A plugin's layer can stand there too."
        ) from None
    except ConfigurationError as error:
        error.args = (re.sub(r"^layer\b", "activation", str(error)),)
        raise
    return layer


def _pieces(activation: str) -> dict[str, Any]:
    _, options = parse("activation", activation)
    if options.keys() - {"pieces"}:
        raise ConfigurationError(
            f"activation: expected maxout or maxout(pieces=N); got {activation!r}"
        )
    return options
