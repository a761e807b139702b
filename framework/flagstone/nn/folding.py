"""A layer for predicting, with batch normalisation folded into the weights before it."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np

from flagstone.errors import InputError
from flagstone.nn.container import Sequential
from flagstone.nn.conv import Conv
from flagstone.nn.init import zeros
from flagstone.nn.layer import Layer
from flagstone.nn.linear import Linear
from flagstone.nn.norm import BatchNorm
from flagstone.nn.parameter import Parameter


def fold_batch_norm(layer: Layer) -> Layer:
    """A copy of ``layer`` in ``eval()`` without the batch normalisations that it can do without.

    When predicting, batch normalisation is ``y * s + t`` with ``s = weight / sqrt(running_var +
    eps)`` and ``t = bias - running_mean * s``, per channel. Directly behind a convolution or a
    linear layer in a :class:`Sequential` that is the layer with its weights times ``s`` and the
    bias ``b * s + t`` (Jacob et al., CVPR 2018, section 3.2): one pass over the data less, the same
    answers to rounding. Other normalisations stay.

    The copy's parameters are its own: after more training fold again. It is not to be trained, and
    its ``state_dict`` is not the original's.

    Raises:
        InputError: ``layer`` is not a layer, is a ``BatchNorm`` alone, or has no values yet.
    """
    if not isinstance(layer, Layer) or isinstance(layer, BatchNorm):
        raise InputError(
            "fold_batch_norm: layer expected a Layer with what comes before its normalisations; "
            f"got {type(layer).__name__}"
        )
    layer._require_values("fold_batch_norm")
    device, dtype = layer.backend, layer.dtype_name
    folded = copy.deepcopy(layer).eval()
    layers = [part for _, part in folded.named_layers()]
    uses = Counter(id(part) for owner in layers for _, part in owner.parts())
    for part in layers:
        if isinstance(part, Sequential):
            part.layers = _folded(part.layers, uses)
    folded._rebind(device, dtype)
    return folded.eval()


def _folded(layers: list[Layer], uses: Counter[int]) -> list[Layer]:
    """The layers of a Sequential; one that is used elsewhere too, or whose weights are, stays."""
    kept: list[Layer] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if (
            isinstance(layer, BatchNorm)
            and isinstance(before, Conv | Linear)
            and all(
                uses[id(part)] == 1
                for part in (before, before.weight, before.bias)
                if part is not None
            )
        ):
            _fold(before, layer)
        else:
            kept.append(layer)
    return kept


def _fold(before: Conv | Linear, norm: BatchNorm) -> None:
    """Give ``before`` the weights and the bias that do what ``norm`` does behind it.

    Computed in float64, so that what is rounded is the result alone.
    """
    weight, scale, shift, mean, var = (
        np.asarray(p.numpy(), np.float64)
        for p in (before.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = scale / np.sqrt(var + norm.eps)
    bias = 0.0 if before.bias is None else np.asarray(before.bias.numpy(), np.float64)
    backend, dtype = before.weight.backend, before.weight.dtype_name
    for name, value in (
        ("weight", weight * scale.reshape(-1, *[1] * (weight.ndim - 1))),
        ("bias", (bias - mean) * scale + shift),
    ):
        channels_last = name == "weight" and before.weight.channels_last
        p = Parameter(value.shape, zeros, channels_last=channels_last)
        p.backend, p.array = backend, backend.asarray(value.astype(dtype))
        setattr(before, name, p)
