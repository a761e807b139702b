"""Logistic regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import flagstone as fs
from flagstone.errors import ConfigurationError
from flagstone.estimator import LinearModel


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticRegression(LinearModel, fs.Classifier):
    """Logistic regression for two classes: P(second class) = sigmoid(X W + b).

    Minimises the mean log-loss, which is convex, plus ``l2 * sum(W**2)`` in standardised units
    where ``standardize`` is on. Trained in float64.

    Attributes:
        threshold: the probability of the second class above which it is predicted.

    After ``fit``:

    Attributes:
        coef_, intercept_: (1, features) and (1,), as in scikit-learn.
    """

    epochs: int = 500
    batch_size: int | None = None
    threshold: float = 0.5

    binary_only: ClassVar[bool] = True
    descent: ClassVar[tuple[str, float, int | None]] = ("sgd(momentum=0.9)", 0.5, None)

    def layer_dtype(self) -> str:
        return "float64"  # a step reads the table once either way; coefficients deserve the digits

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if not 0 < self.threshold < 1:
            raise ConfigurationError(
                "LogisticRegression: threshold expected a probability in (0, 1); "
                f"got {self.threshold!r}"
            )

    def _margin(self) -> float:
        return math.log(self.threshold / (1 - self.threshold))
