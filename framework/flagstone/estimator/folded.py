"""The layer that predicts: a fitted one with its batch normalisations folded into the weights."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from flagstone.nn import BatchNorm, Layer, fold_batch_norm

_copies: WeakKeyDictionary[Layer, tuple[list[Any], Layer]] = WeakKeyDictionary()


def folded(layer: Layer) -> Layer:
    """``layer``, or a copy as :func:`flagstone.nn.fold_batch_norm` makes it where that takes a
    normalisation away.

    The copy is kept as long as the layer, and made anew when a value of the layer has changed. It
    answers as the layer in ``eval()`` does to rounding: in float32 to about 1e-6 of the largest.
    """
    if isinstance(layer, BatchNorm) or not _norms(layer):
        return layer
    values = [p.array for p in (*layer.parameters(), *(b for _, b in layer.named_buffers()))]
    known = _copies.get(layer)
    if known is None or not _same(values, known[0]):
        copy = fold_batch_norm(layer)
        if _norms(copy) == _norms(layer):  # none stands directly behind weights
            return layer
        known = _copies[layer] = [a.copy() for a in values], copy
    return known[1]


def _norms(layer: Layer) -> int:
    return sum(isinstance(part, BatchNorm) for _, part in layer.named_layers())


def _same(values: list[Any], known: list[Any]) -> bool:
    return len(values) == len(known) and all(
        a.shape == b.shape and bool((a == b).all()) for a, b in zip(values, known, strict=True)
    )
