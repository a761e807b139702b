"""Keeping parameters as they are while others are trained."""

from __future__ import annotations

from flagstone.errors import InputError
from flagstone.nn.layer import Layer


def freeze(layer: Layer) -> Layer:
    """Let no gradient reach the parameters of ``layer`` and below, so that none is computed.

    Gradients still pass through to what comes before. Running statistics are no parameters: they
    move unless ``layer.eval()`` is called.

    The same as ``layer.requires_grad_(False)``. An optimizer is made after it.

    Returns:
        The layer itself.

    Raises:
        InputError: it is no layer.
    """
    return _a_layer("freeze", layer).requires_grad_(False)


def unfreeze(layer: Layer) -> Layer:
    """The opposite of :func:`freeze`: ``layer.requires_grad_(True)``."""
    return _a_layer("unfreeze", layer).requires_grad_(True)


def _a_layer(name: str, layer: Layer) -> Layer:
    if not isinstance(layer, Layer):
        raise InputError(f"{name}: layer expected a Layer; got {type(layer).__name__}")
    return layer
