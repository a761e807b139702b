"""Softmax regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError
from flagstone.estimator import coefficients
from flagstone.training import L2, Objective


@dataclass(kw_only=True, eq=False, repr=False)
class SoftmaxRegression(fs.Classifier):
    """Softmax regression: P(class k) is proportional to exp(X W + b)_k.

    Minimises the mean cross-entropy plus ``l2 * sum(W**2)``, in standardised units where
    ``standardize`` is on.

    Attributes:
        l2: strength of the penalty on the weights.

    After ``fit``:

    Attributes:
        coef_, intercept_: (classes, features) and (classes,), as in scikit-learn.
    """

    epochs: int = 50
    lr: float = 0.01
    l2: float = 0.0

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs.size, outputs.size, init="zeros"))

    def objective(self, layer: nn.Layer, backend: Any) -> Objective:
        base = super().objective(layer, backend)
        return L2(base, self.l2) if self.l2 else base

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if not self.l2 >= 0:
            raise ConfigurationError(f"softmax: l2 expected a number >= 0; got {self.l2!r}")

    @property
    def coef_(self) -> Any:
        return coefficients(self)[0]

    @property
    def intercept_(self) -> Any:
        return coefficients(self)[1]
