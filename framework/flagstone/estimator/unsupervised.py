"""Models that learn from examples alone, without targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flagstone.errors import ConfigurationError
from flagstone.estimator import validation as check
from flagstone.estimator.predictor import Predictor
from flagstone.estimator.spec import Spec
from flagstone.random import SCHEME
from flagstone.training import Callback, Lines, require_same_run


@dataclass(kw_only=True, eq=False, repr=False)
class Unsupervised(Predictor):
    """A base for clustering and transforming: ``fit`` takes no targets, or passes them over.

    A subclass defines ``fit``, with the arguments of :meth:`Estimator.fit` so that the command line
    can call it, ``_assemble``, and ``evaluate``; its layer works on rows, (n, features) float64.

    Attributes:
        seed: of everything random.
        device: where to fit and predict: auto, cpu, cuda:N or a backend's name.
        verbose: print a line per epoch to standard error.
    """

    seed: int = 0
    device: str = "auto"
    verbose: bool = False

    fit: ClassVar[Callable[..., Any]]  # a subclass defines it

    def check_hyperparameters(self) -> None:
        """Raise for values that no data could make right; a subclass adds its own.

        Raises:
            ConfigurationError: names the hyper-parameter.
        """
        self._require("seed", 0 <= self.seed < 2**64, "an integer in [0, 2**64)")

    def fit_transform(self, X: Any, y: Any = None, **arguments: Any) -> Any:
        """``fit`` and ``transform``."""
        return self.fit(X, y, **arguments).transform(X)

    def transform(self, X: Any) -> Any:
        """What the layer gives for each example, (n, outputs) float64."""
        return self._outputs_of(X)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Names of the outputs, as scikit-learn makes them: the class's and a number, ``pca0``.

        Args:
            input_features: passed over.
        """
        self._require_fitted()
        name = type(self).__name__.lower()
        return np.array([f"{name}{i}" for i in range(self._outputs.size)], dtype=object)

    def _rows(self, X: Any) -> Any:
        """Checked examples to fit on as rows (n, features) float64; remembers their shape."""
        self.check_types()
        self.check_hyperparameters()
        X = check.features(self, X)
        self._inputs = Spec(tuple(int(n) for n in X.shape[1:]))
        return self._as_rows(X)

    def _as_rows(self, X: Any) -> Any:
        return np.ascontiguousarray(X, np.float64).reshape(len(X), -1)

    def _known_rows(self, X: Any) -> Any:
        """Checked examples like those of ``fit`` as rows."""
        self._require_fitted()
        X = check.prediction_data(self, X)
        if X.ndim == 2 and self._inputs.is_image and X.shape[1] == self._inputs.size:
            X = X.reshape(-1, *self._inputs.shape)
        self._require_inputs(X)
        return self._as_rows(X)

    def _require_fitted(self) -> None:
        check.require_fitted(self)

    def _weights(self, sample_weight: Any, n: int) -> Any:
        """Weights of n examples with mean 1, or ``None``."""
        return check.sample_weights(sample_weight, n)

    def _listeners(self, callbacks: Sequence[Callback]) -> list[Callback]:
        return [*callbacks, *([Lines()] if self.verbose else [])]

    def _identity(self, n: int) -> dict[str, Any]:
        """What a state to go on from must have been made with."""
        return {"scheme": SCHEME, "seed": self.seed, "examples": n}

    def _require_identity(self, metadata: Any, n: int) -> None:
        require_same_run(metadata, self._identity(n))

    def _require(self, what: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigurationError(
                f"{type(self).__name__}: {what} expected {expected}; got {getattr(self, what)!r}"
            )
