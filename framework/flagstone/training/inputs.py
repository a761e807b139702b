"""What a layer is given of a batch: a tensor, or the examples, where it makes one itself."""

from __future__ import annotations

from dataclasses import replace

from flagstone.augment import Chain, Mixture
from flagstone.nn import Layer
from flagstone.nn.examples import Examples, takes_examples
from flagstone.tensors import Tensor


def inputs_of(
    layer: Layer, given: Examples, augment: Chain | None, place: Tensor, numbers: Tensor | None
) -> tuple[Tensor | Examples, Mixture | None]:
    """The batch, changed.

    Args:
        layer: what will take it.
        given: the batch's examples.
        augment: what changes them.
        place: uint64 (2,), step and epoch.
        numbers: as :class:`Chain` takes them.

    Returns:
        What to call the layer with, and what pictures are made of.
    """
    if (augment is None or augment.moves) and takes_examples(layer, given):
        if augment is None:
            return given, None
        return replace(given, places=augment.places(given.shape, place, numbers)), None
    x = given.tensor()
    return (x, None) if augment is None else augment(x, place, numbers)
