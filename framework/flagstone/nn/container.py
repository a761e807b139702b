"""Layers made of layers, and reshaping between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

from flagstone import ops
from flagstone.errors import InputError
from flagstone.nn.examples import chains
from flagstone.nn.fused import chain
from flagstone.nn.layer import Layer
from flagstone.nn.parameter import Parameter
from flagstone.tensors import Tensor


class Sequential(Layer):
    """Layers one after another; the first takes the input, each next what came before.

    A layer and the activation behind it are one op where the backend has that; see
    ``flagstone/fusion.py``.

    Args:
        layers: in order; they are named ``"0"``, ``"1"``, ...
    """

    def __init__(self, *layers: Layer) -> None:
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise InputError(
                    f"Sequential: argument {i} expected a Layer; got {type(layer).__name__}"
                )
        self.layers = list(layers)

    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    @chains
    def forward(self, x: Any) -> Any:
        return chain(self.layers, x)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer:
        part = self.layers[index]
        return Sequential(*part) if isinstance(part, list) else part


class Flatten(Layer):
    """Merge all axes but the first: (n, ...) -> (n, features)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, 1)
