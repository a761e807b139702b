"""The values of a layer that a checkpoint keeps, taken and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import RunError
from flagstone.nn import Layer
from flagstone.nn.parameter import Flat
from flagstone.tensors import Tensor


def values_of(layer: Layer, flat: Flat) -> dict[str, Any]:
    """The flat parameters and buffers, as NumPy arrays of their own.

    Args:
        layer: whose buffers.
        flat: the parameters.
    """
    return {name: np.array(tensor.numpy()) for name, tensor in _targets(layer, flat).items()}


def set_values(layer: Layer, flat: Flat, values: Mapping[str, Any]) -> None:
    """Put back what :func:`values_of` gave.

    Raises:
        RunError: they are of another model; nothing was changed.
    """
    targets = _targets(layer, flat)
    for name, target in targets.items():
        value = values.get(name)
        kind = target.dtype_name
        if value is None or (value.shape, value.dtype.name) != (target.shape, kind):
            got = "none" if value is None else f"{value.dtype.name} {value.shape}"
            raise RunError(
                f"resume: the checkpoint expected to hold {name}, {kind} {target.shape}; got "
                f"{got}: it is of another model"
            )
    for name, target in targets.items():
        ops.assign(target, Tensor(target.backend.asarray(values[name]), target.backend))
    flat.lower()


def _targets(layer: Layer, flat: Flat) -> dict[str, Tensor]:
    targets = {"parameters": flat.values}
    if layer.flat_buffers is not None and layer.flat_buffers.tensors:
        targets["buffers"] = layer.flat_buffers.values
    return targets
