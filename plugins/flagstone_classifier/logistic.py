"""Logistic regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError
from flagstone.estimator import coefficients
from flagstone.training import L2, Objective


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticRegression(fs.Classifier):
    """Logistic regression for two classes: P(second class) = sigmoid(X W + b).

    Minimises the mean log-loss, which is convex, plus ``l2 * sum(W**2)`` in standardised units
    where ``standardize`` is on. Trained in float64.

    Attributes:
        threshold: the probability of the second class above which it is predicted.
        l2: strength of the penalty on the weights.

    After ``fit``:

    Attributes:
        coef_, intercept_: (1, features) and (1,), as in scikit-learn.
    """

    epochs: int = 500
    batch_size: int | None = None
    lr: float = 0.5
    optimizer: str = "sgd(momentum=0.9)"
    threshold: float = 0.5
    l2: float = 0.0

    binary_only: ClassVar[bool] = True

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs.size, outputs.size, init="zeros"))

    def layer_dtype(self) -> str:
        return "float64"  # a step reads the table once either way; coefficients deserve the digits

    def objective(self, layer: nn.Layer, backend: Any) -> Objective:
        base = super().objective(layer, backend)
        return L2(base, self.l2) if self.l2 else base

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if not 0 < self.threshold < 1:
            raise ConfigurationError(
                f"logistic: threshold expected a probability in (0, 1); got {self.threshold!r}"
            )
        if not self.l2 >= 0:
            raise ConfigurationError(f"logistic: l2 expected a number >= 0; got {self.l2!r}")

    @property
    def coef_(self) -> Any:
        return coefficients(self)[0]

    @property
    def intercept_(self) -> Any:
        return coefficients(self)[1]

    def _margin(self) -> float:
        return math.log(self.threshold / (1 - self.threshold))
