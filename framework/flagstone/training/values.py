"""The values that a checkpoint keeps: a layer's taken and put back, and all under one roof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def joined(own: Mapping[str, Any], **parts: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping: ``own``, and each part's as ``part.name``."""
    named = {f"{part}.{k}": v for part, values in parts.items() for k, v in values.items()}
    return {**own, **named}


def divided(arrays: Mapping[str, Any], parts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What :func:`joined` joined, as NumPy arrays by part; its own under ``""``."""
    found: dict[str, dict[str, Any]] = {"": {}, **{part: {} for part in parts}}
    for name, a in arrays.items():
        part, dot, rest = name.partition(".")
        found[part if dot else ""][rest if dot else name] = np.asarray(a)
    return found


def _targets(layer: Layer, flat: Flat) -> dict[str, Tensor]:
    targets = {"parameters": flat.values}
    if layer.flat_buffers is not None and layer.flat_buffers.tensors:
        targets["buffers"] = layer.flat_buffers.values
    return targets
