"""Models as scikit-learn estimators."""

from __future__ import annotations

from typing import Any

from flagstone.estimator.base import Estimator
from flagstone.estimator.classifier import Classifier, ImageClassifier, LabelPredictor
from flagstone.estimator.linear_model import LinearModel, coefficients
from flagstone.estimator.parameters import require_known
from flagstone.estimator.persistence import load
from flagstone.estimator.predictor import Predictor
from flagstone.estimator.regressor import Regressor
from flagstone.estimator.spec import Spec
from flagstone.estimator.unsupervised import Unsupervised

__all__ = [
    "Classifier", "Estimator", "ImageClassifier", "LabelPredictor", "LinearModel", "Predictor",
    "Regressor", "Spec", "Unsupervised", "coefficients", "load", "model",
]  # fmt: skip


def model(name: str, **params: Any) -> Any:
    """The registered model ``name`` with these hyper-parameters: a :class:`Predictor`, typed as
    ``Any`` because its methods depend on what it is for.

    Raises:
        UnknownNameError: no plugin provides it.
        ConfigurationError: it has no such hyper-parameter.
    """
    from flagstone.plugins import registry

    cls = registry.load("model", name)
    require_known(f"model {name!r}", params, cls.hyperparameters())
    return cls(**params)
