"""Linear regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError
from flagstone.estimator import LinearModel
from flagstone_regression.normal_equations import Moments, solve

BLOCK = 4096  # examples whose second moments are summed at once
MOST_FEATURES = 512  # of which "auto" takes all products with each other


@dataclass(kw_only=True, eq=False, repr=False)
class LinearRegression(LinearModel, fs.Regressor):
    """Linear regression: X W + b by least squares, one target or several.

    Minimises ``mean((X W + b - y)**2) + l2 * sum(W**2)``, the mean over examples and targets, in
    standardised units where ``standardize`` is on. Trained in float64.

    Attributes:
        solver: as in :class:`LinearModel`; and, both on the host and whatever epochs says,
            ``"normal"``: by the normal equations and corrections of what they leave, in float64,
            the table read about three times; ``"exact"``: by least squares (LAPACK's gelsd), which
            keeps more digits of nearly collinear columns and copies the table. ``"auto"`` is
            ``"normal"`` for a table of at most 512 features where neither weight_decay nor patience
            is given.
        lr: the step of descent; ``None`` for 1 / L, L bounding the curvature of the loss: the
            longest step with which plain gradient descent is sure to descend (Nesterov,
            "Introductory Lectures on Convex Optimization", 2004, theorem 2.1.14).

    After ``fit``:

    Attributes:
        coef_: (features,), or (targets, features) for several targets, as in scikit-learn.
        intercept_: a number, or (targets,).
        W_, b_: the lecture's notation: H(X) = X W_ + b_, with W_ (features, targets).
    """

    epochs: int = 500
    batch_size: int | None = None
    solver: Literal["auto", "lbfgs", "sgd", "normal", "exact"] = "auto"  # type: ignore[assignment]  # more

    descent: ClassVar[tuple[str, float, int | None]] = ("sgd", 0.0, None)  # the rate is found

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if self.solver in ("normal", "exact"):
            for what, instead in (("weight_decay", "use l2"), ("patience", "there is one epoch")):
                if getattr(self, what):
                    raise ConfigurationError(
                        f"LinearRegression: {what} belongs to the other solvers; with "
                        f"solver={self.solver!r} {instead}"
                    )

    def layer_dtype(self) -> str:
        return "float64"  # a step reads the table once either way; coefficients deserve the digits

    def learning_rate(self, layer: nn.Layer, X: Any) -> float:
        if self._solver() == "sgd" and self.lr is None:
            return 1.0 / self._curvature(layer, X)
        return super().learning_rate(layer, X)

    def _curvature(self, layer: nn.Layer, X: Any) -> float:
        """A bound on the loss's second derivative: the largest absolute row sum of the matrix of
        second moments, or, in mini-batches, the longest row, which bounds that of any batch."""
        longest, moments = 0.0, np.zeros(())
        for start in range(0, len(X), BLOCK):
            part = self._rows(layer, X[start : start + BLOCK])
            part = np.concatenate([part, np.ones((len(part), 1))], axis=1)  # the intercept's column
            longest = max(longest, float((part * part).sum(axis=1).max()))
            moments = moments + part.T @ part / len(X)
        whole = self.batch_size is None or self.batch_size >= len(X)
        bound = float(np.abs(moments).sum(axis=1).max()) if whole else longest
        return 2.0 * bound / self._outputs.size + 2.0 * self.l2

    def _rows(self, layer: nn.Layer, X: Any) -> Any:
        """Examples as the linear layer sees them, (n, features) float64."""
        rows = np.asarray(X, np.float64)
        if self.standardize:
            state = layer.state_dict()
            rows = (rows - state["0.mean"]) * state["0.inverse_scale"]
        return rows.reshape(len(rows), -1)

    def _solver(self) -> str:
        solver = super()._solver()
        if self.solver != "auto" or solver != "lbfgs" or self._writes_lbfgs():
            return solver
        plain = not self.weight_decay and self.patience is None
        return "normal" if plain and self._inputs.size <= MOST_FEATURES else solver

    def closed_form(self) -> Any:
        return {"normal": self._normal_equations, "exact": self._least_squares}.get(self._solver())

    def _statistics(self, X: Any, weight: Any) -> tuple[Any, Any]:
        if self._solver() != "normal" or X.ndim != 2:
            return super()._statistics(X, weight)
        self._moments = Moments.of(X, weight)
        return self._moments.mean, self._moments.scale

    def _normal_equations(
        self, layer: nn.Layer, X: Any, targets: Any, weight: Any
    ) -> dict[str, float]:
        """Set the layer's weights to the minimum, and return what an epoch would tell of it."""
        moments = self.__dict__.pop("_moments", None) or Moments.of(X, weight)
        state, width = layer.state_dict(), self._inputs.size
        mean, inverse_scale = np.zeros(width), np.ones(width)
        if self.standardize:
            of = self._inputs.shape
            mean = np.broadcast_to(state["0.mean"], of).reshape(-1)
            inverse_scale = np.broadcast_to(state["0.inverse_scale"], of).reshape(-1)
        w, b, errors = solve(moments, X, targets, weight, mean, inverse_scale, self.l2)
        name = next(n for n in state if n.endswith("weight")).removesuffix("weight")
        state[f"{name}weight"], state[f"{name}bias"] = w, b
        layer.load_state_dict(state)
        share = np.ones(len(X)) if weight is None else weight
        found = {
            "loss": errors * errors, "mse": (errors * self.target_scale_) ** 2,
            "mae": np.abs(errors * self.target_scale_),
        }  # fmt: skip
        told = {k: float(share @ v.mean(axis=1)) / moments.total for k, v in found.items()}
        told["loss"] += self.l2 * float((w * w).sum())
        return told

    def _least_squares(self, layer: nn.Layer, X: Any, targets: Any, weight: Any) -> None:
        """Set the layer's weights to the minimum: least squares on centred columns, whose
        intercept is the difference of the means; the penalty is rows of sqrt(n * targets * l2) I
        below, for the loss is a mean over targets too."""
        state, rows = layer.state_dict(), self._rows(layer, X)
        share = np.ones(len(X)) if weight is None else weight
        x_mean = share @ rows / share.sum()
        y_mean = share @ targets / share.sum()
        root = np.sqrt(share)[:, None]
        a, b = (rows - x_mean) * root, (targets - y_mean) * root
        if self.l2:
            ridge = np.sqrt(share.sum() * b.shape[1] * self.l2)
            a = np.concatenate([a, ridge * np.eye(a.shape[1])])
            b = np.concatenate([b, np.zeros((a.shape[1], b.shape[1]))])
        solution = np.linalg.lstsq(a, b, rcond=None)[0]  # (features, targets)
        name = next(n for n in state if n.endswith("weight")).removesuffix("weight")
        state[f"{name}weight"], state[f"{name}bias"] = solution.T, y_mean - x_mean @ solution
        layer.load_state_dict(state)

    @property
    def coef_(self) -> Any:
        weight = super().coef_
        return weight[0] if self._flat_target else weight

    @property
    def intercept_(self) -> Any:
        bias = super().intercept_
        return float(bias[0]) if self._flat_target else bias

    @property
    def W_(self) -> Any:  # noqa: N802  # the lecture's name
        return super().coef_.T

    @property
    def b_(self) -> Any:
        return super().intercept_
