"""Keeping parameters as they are while others are trained."""

from __future__ import annotations

from flagstone.errors import InputError
from flagstone.nn.layer import Layer


def freeze(layer: Layer) -> Layer:
    """Let no gradient reach the parameters of ``layer`` and below, so that none is computed.

    Gradients still pass through to what comes before. Running statistics are no parameters: they
    move unless ``layer.eval()`` is called.

    Returns:
        The layer itself.
    """
    return _require_gradients("freeze", layer, False)


def unfreeze(layer: Layer) -> Layer:
    """The opposite of :func:`freeze`."""
    return _require_gradients("unfreeze", layer, True)


def _require_gradients(name: str, layer: Layer, wanted: bool) -> Layer:
    if not isinstance(layer, Layer):
        raise InputError(f"{name}: layer expected a Layer; got {type(layer).__name__}")
    for p in layer.parameters():
        p.requires_grad = wanted
        if not wanted:
            p.grad = None
    return layer
