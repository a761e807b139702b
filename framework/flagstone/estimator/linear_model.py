"""Models that are one linear layer behind the standardisation: their solvers and coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from flagstone.backend import Backend
from flagstone.errors import ConfigurationError
from flagstone.estimator.base import Estimator
from flagstone.estimator.spec import Spec
from flagstone.estimator.validation import require_fitted
from flagstone.named import parse
from flagstone.nn import Flatten, Layer, Linear, Sequential, Standardize
from flagstone.training import L2, Objective

OWN = "auto"  # a hyper-parameter that is left to the solver
# Coefficients to about eight digits, and still above the rounding of a mean in float64.
TO_THE_MINIMUM = "lbfgs(tolerance_grad=3e-08, tolerance_change=0.0)"


@dataclass(kw_only=True, eq=False, repr=False)
class LinearModel(Estimator):
    """What ``linear``, ``logistic`` and ``softmax`` share: a convex loss of one linear layer, and
    how its minimum is found. Derive from this and from a Classifier or a Regressor, in this order.

    Attributes:
        solver: ``"lbfgs"``: by L-BFGS, all the data in every iteration (an epoch), to the minimum,
            after which it stops; in float64. ``"sgd"``: by gradient descent, with optimizer, lr,
            schedule and batch_size. ``"auto"``: L-BFGS for tables; descent for images, and where
            one of those four is given.
        optimizer: of descent; ``"auto"`` for the model's own, ``"lbfgs(history_size=20)"`` for
            L-BFGS with options.
        lr: of descent; ``None`` for the model's own.
        l2: strength of the penalty on the weights, ``l2 * sum(W**2)``.

    After ``fit``:

    Attributes:
        solver_: the one that was used.
    """

    solver: Literal["auto", "lbfgs", "sgd"] = "auto"
    optimizer: str = OWN
    lr: float | None = None
    l2: float = 0.0

    descent: ClassVar[tuple[str, float, int | None]] = ("sgd", 0.1, None)
    """What ``"sgd"`` takes where nothing is given: optimizer, rate, batch size."""

    @property
    def solver_(self) -> str:
        require_fitted(self)
        return self._solver()

    @property
    def coef_(self) -> Any:
        return coefficients(self)[0]

    @property
    def intercept_(self) -> Any:
        return coefficients(self)[1]

    def build(self, inputs: Spec, outputs: Spec) -> Layer:
        return Sequential(Flatten(), Linear(inputs.size, outputs.size, init="zeros"))

    def objective(self, layer: Layer, backend: Backend) -> Objective:
        base = super().objective(layer, backend)
        return L2(base, self.l2) if self.l2 else base

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        name = type(self).__name__
        if not 0 <= self.l2 < float("inf"):
            raise ConfigurationError(f"{name}: l2 expected a finite number >= 0; got {self.l2!r}")
        if self.solver == "sgd" and self._writes_lbfgs():
            raise ConfigurationError(
                f"{name}: optimizer expected one of descent with solver='sgd'; "
                f"got {self.optimizer!r}, for which say solver='lbfgs'"
            )
        if self.solver not in ("auto", "sgd") or self._writes_lbfgs():
            solver = "lbfgs" if self.solver == "auto" else self.solver
            for what in self._given():
                raise ConfigurationError(
                    f"{name}: {what} belongs to solver='sgd'; got {getattr(self, what)!r} with "
                    f"{solver}"
                )

    def learning_rate(self, layer: Layer, X: Any) -> float:
        if self._solver() != "sgd":
            return 1.0  # L-BFGS tries its own step first
        return self.descent[1] if self.lr is None else self.lr

    def recipe(self) -> tuple[str, int | None]:
        own, _, own_batch = self.descent
        if self._solver() != "sgd":
            return (TO_THE_MINIMUM if self.optimizer == OWN else self.optimizer), None
        optimizer = own if self.optimizer == OWN else self.optimizer
        given: Any = self.batch_size  # softmax has a word for its own
        return optimizer, own_batch if given == OWN else given

    def _solver(self) -> str:
        """The solver for the data that were given to fit."""
        if self.solver != "auto":
            return self.solver
        if self._writes_lbfgs():
            return "lbfgs"
        return "sgd" if self._inputs.is_image or any(self._given()) else "lbfgs"

    def _given(self) -> list[str]:
        """The hyper-parameters that only descent has and that are not left to it."""
        batch_size: Any = self.batch_size
        given = {
            "optimizer": self.optimizer != OWN and not self._writes_lbfgs(),
            "lr": self.lr is not None,
            "schedule": self.schedule != "constant",
            "batch_size": batch_size not in (None, OWN),
        }
        return [name for name, is_given in given.items() if is_given]

    def _writes_lbfgs(self) -> bool:
        return parse("optimizer", self.optimizer)[0] == "lbfgs"


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
