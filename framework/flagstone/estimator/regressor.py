"""Regressors: numbers in, numbers out, one target or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flagstone import metrics
from flagstone.backend import Backend
from flagstone.errors import ShapeError
from flagstone.estimator.base import Estimator
from flagstone.estimator.spec import Spec
from flagstone.estimator.standardize import statistics
from flagstone.estimator.validation import validation_targets
from flagstone.nn import Layer
from flagstone.tensors import Tensor
from flagstone.training.objective import Objective, SquaredError


@dataclass(kw_only=True, eq=False, repr=False)
class Regressor(Estimator):
    """A base for regressors: ``build`` returns a layer that gives one number per target.

    With ``standardize`` the targets are standardised too while training; predictions and the
    reported mse and mae are in the targets' own units, the loss is not.

    After ``fit``, besides :class:`Estimator`'s:

    Attributes:
        target_mean_, target_scale_: the targets' statistics (t,), float64; 0 and 1 without.
    """

    task: ClassVar[str] = "regression"

    def predict(self, X: Any) -> Any:
        """Predicted targets: (n,) or (n, t) as in ``fit``, float64."""
        out = self._outputs_of(X) * self.target_scale_ + self.target_mean_
        return out[:, 0] if self._flat_target else out

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R² on ``X`` and ``y``, averaged over targets."""
        return float(metrics.r2(np.asarray(y), self.predict(X), sample_weight=sample_weight))

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """``{"loss", "mse", "mae", "r2"}`` on ``X`` and ``y``; the loss is that of training."""
        y = np.asarray(y)
        validation_targets(y, len(y), self.task)
        self._encode_targets(y)
        predicted = self.predict(X)
        scaled = (predicted - y) / (self.target_scale_[0] if y.ndim == 1 else self.target_scale_)
        return {
            "loss": float(np.mean(scaled * scaled)),
            "mse": float(metrics.mse(y, predicted)),
            "mae": float(metrics.mae(y, predicted)),
            "r2": float(metrics.r2(y, predicted)),
        }

    def _learn_targets(self, y: Any, weight: Any) -> Any:
        y = np.asarray(y, np.float64)
        self._flat_target = y.ndim == 1
        columns = y.reshape(len(y), -1)
        self._outputs = Spec((columns.shape[1],))
        self.target_mean_ = np.zeros(columns.shape[1])
        self.target_scale_ = np.ones(columns.shape[1])
        if self.standardize:
            self.target_mean_, self.target_scale_ = statistics(columns, weight)
        return (columns - self.target_mean_) / self.target_scale_

    def _encode_targets(self, y: Any) -> Any:
        columns = np.asarray(y, np.float64).reshape(len(y), -1)
        if columns.shape[1] != self._outputs.size:
            raise ShapeError(
                f"y: expected {self._outputs.size} targets, as in fit; got {columns.shape[1]}"
            )
        return (columns - self.target_mean_) / self.target_scale_

    def objective(self, layer: Layer, backend: Backend) -> Objective:
        scale = backend.asarray(self.target_scale_.astype(self.layer_dtype()))
        return SquaredError(Tensor(scale, backend))
