"""Classifiers: labels of any type in, labels and probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flagstone import metrics
from flagstone.augment import Augmentation, parse
from flagstone.backend import Backend
from flagstone.errors import InputError
from flagstone.estimator.base import Estimator
from flagstone.estimator.predictor import Predictor
from flagstone.estimator.spec import Spec
from flagstone.nn import Layer
from flagstone.training.objective import BinaryCrossEntropy, CrossEntropy, Objective

EXACT_ABOVE = 1e-8  # a probability whose logarithm float64 keeps, even as one less the other's


class LabelPredictor(Predictor):
    """What all classifiers do with the logits that their layer gives, and with labels."""

    task: ClassVar[str] = "classification"
    binary_only: ClassVar[bool] = False  # one logit instead of one per class

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes: (n, classes), float64, rows sum to 1."""
        logits = self._outputs_of(X)
        if self.binary_only:
            positive = _sigmoid(logits[:, 0])
            return np.stack([1.0 - positive, positive], axis=1)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def decision_function(self, X: Any) -> Any:
        """Logits: (n, classes); for two classes, as in scikit-learn, the second's margin (n,)."""
        logits = self._outputs_of(X)
        if self.binary_only:
            return logits[:, 0]
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> Any:
        """The most probable label of each example: (n,), of the labels' own dtype."""
        logits = self._outputs_of(X)
        if self.binary_only:
            return self.classes_[(logits[:, 0] > self._margin()).astype(np.intp)]
        return self.classes_[logits.argmax(axis=1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy on ``X`` and ``y``."""
        return float(metrics.accuracy(np.asarray(y), self.predict(X), sample_weight=sample_weight))

    def evaluate(self, X: Any, y: Any) -> dict[str, float]:
        """``{"loss", "accuracy", "log_loss"}`` on ``X`` and ``y``.

        Both losses are the log-loss. They differ where a true label's probability is next to none:
        ``log_loss`` clips it, as scikit-learn's does; ``loss`` goes by the logits, as in training.
        """
        probabilities = self.predict_proba(X)
        codes = self._encode_targets(np.asarray(y))
        log_loss = metrics.log_loss(codes, probabilities, labels=np.arange(len(self.classes_)))
        least = probabilities[np.arange(len(codes)), codes].min()
        loss = float(log_loss) if least > EXACT_ABOVE else _log_loss(self._outputs_of(X), codes)
        accuracy = metrics.accuracy(codes, self._encode_targets(self.predict(X)))
        return {"loss": loss, "accuracy": float(accuracy), "log_loss": float(log_loss)}

    def _margin(self) -> float:
        """The logit above which the second class is predicted."""
        return 0.0

    def _learn_targets(self, y: Any, weight: Any) -> Any:
        self.classes_, codes = np.unique(y, return_inverse=True)
        n = len(self.classes_)
        if n < 2:
            raise InputError(
                f"{type(self).__name__}: y expected at least two classes; got one class, "
                f"{_shown(self.classes_)}"
            )
        if self.binary_only and n > 2:
            raise InputError(
                f"Only binary classification is supported by {type(self).__name__}: y expected two "
                f"classes; got {n}: {_shown(self.classes_)}. Use a softmax model"
            )
        self._outputs = Spec((1 if self.binary_only else n,))
        return codes.astype(np.int64)

    def _encode_targets(self, y: Any) -> Any:
        try:
            places = np.searchsorted(self.classes_, y) if _same_kind(self.classes_, y) else None
        except TypeError:  # labels of several types, which have no order
            places = None
        if places is not None:
            places = np.minimum(places, len(self.classes_) - 1)
        if places is None or (self.classes_[places] != y).any():
            known = set(self.classes_.tolist())
            new = sorted({str(label) for label in np.asarray(y).tolist() if label not in known})
            raise InputError(
                f"y: expected the classes of the training data, {_shown(self.classes_)}; "
                f"got also {', '.join(new[:5])}"
            )
        return places.astype(np.int64)


@dataclass(kw_only=True, eq=False, repr=False)
class Classifier(LabelPredictor, Estimator):
    """A base for classifiers: ``build`` returns a layer that gives one logit per class.

    After ``fit``, besides :class:`Estimator`'s:

    Attributes:
        classes_: the labels, sorted; columns of ``predict_proba`` follow them.
    """

    def objective(self, layer: Layer, backend: Backend) -> Objective:
        return BinaryCrossEntropy(self._margin()) if self.binary_only else CrossEntropy()


@dataclass(kw_only=True, eq=False, repr=False)
class ImageClassifier(Classifier):
    """A base for classifiers of images, (n, h, w) or (n, h, w, channels).

    Attributes:
        epochs: how many times to go through the data; of 9.9, the last time through nine tenths.
        augment: registered augmentations one after another, as in
            ``"flip,crop(padding=4),mixup(alpha=0.2)"``; they change each batch of training, before
            preprocessing.
        image_shape: (h, w) or (h, w, channels), to fold flat rows into images.
        drop_last: leave out the last batch of an epoch where it would be smaller.
    """

    augment: str = ""
    image_shape: tuple[int, ...] | None = None
    drop_last: bool = False

    predicts_in: ClassVar[str] = "float32"
    takes_images_only: ClassVar[bool] = True

    def augmentation(self) -> list[Augmentation]:
        return parse(self.augment)

    def drops_last(self) -> bool:
        return self.drop_last

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        self.augmentation()


def _same_kind(a: Any, b: Any) -> bool:
    return (a.dtype.kind in "iufb") == (b.dtype.kind in "iufb")


def _shown(classes: Any) -> str:
    shown = ", ".join(repr(c) for c in np.asarray(classes).tolist()[:5])
    return shown if len(classes) <= 5 else f"{shown}, ... ({len(classes)})"


def _log_loss(logits: Any, codes: Any) -> float:
    """The mean negative log-probability of the true classes, however small these are."""
    if logits.shape[1] == 1:  # the second class's
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    total = np.logaddexp.reduce(logits, axis=1)
    return float(np.mean(total - logits[np.arange(len(codes)), codes]))


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)
