"""Coefficients of models that are one linear layer behind the standardisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.estimator.validation import require_fitted
from flagstone.nn import Linear, Standardize


def coefficients(model: Any) -> tuple[Any, Any]:
    """``(W, b)`` in the units of the data: the model's output is ``x @ W.T + b``.

    Args:
        model: fitted; its layer ends in one :class:`Linear` over flattened inputs, and may begin
            with a :class:`Standardize`.

    Returns:
        float64 arrays (outputs, features) and (outputs,): logits of a classifier, targets of a
        regressor in their own units.

    Raises:
        NotFittedError: it was not fitted.
    """
    require_fitted(model)
    layers = [layer for _, layer in model.layer_.named_layers()]
    linear = next(layer for layer in layers if isinstance(layer, Linear))
    weight = np.array(linear.weight.numpy(), np.float64)
    bias = np.zeros(len(weight)) if linear.bias is None else np.float64(linear.bias.numpy())
    for layer in layers:
        if isinstance(layer, Standardize):
            mean = np.broadcast_to(layer.mean.numpy(), model._inputs.shape).reshape(-1)
            inverse = np.broadcast_to(layer.inverse_scale.numpy(), model._inputs.shape).reshape(-1)
            weight = weight * np.float64(inverse)
            bias = bias - weight @ np.float64(mean)
    if model.task == "regression":
        weight = weight * model.target_scale_[:, None]
        bias = bias * model.target_scale_ + model.target_mean_
    return weight, bias
