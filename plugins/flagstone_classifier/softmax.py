"""Softmax regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import flagstone as fs
from flagstone.estimator import LinearModel


@dataclass(kw_only=True, eq=False, repr=False)
class SoftmaxRegression(LinearModel, fs.Classifier):
    """Softmax regression: P(class k) is proportional to exp(X W + b)_k.

    Minimises the mean cross-entropy plus ``l2 * sum(W**2)``, in standardised units where
    ``standardize`` is on.

    Attributes:
        batch_size: examples per step of descent; ``"auto"`` for 100, ``None`` for all.

    After ``fit``:

    Attributes:
        coef_, intercept_: (classes, features) and (classes,), as in scikit-learn.
    """

    epochs: int = 50
    batch_size: int | Literal["auto"] | None = "auto"  # type: ignore[assignment]  # one value more

    descent: ClassVar[tuple[str, float, int | None]] = ("adam", 0.01, 100)

    def layer_dtype(self) -> str:
        return "float64" if self._solver() == "lbfgs" else "float32"
