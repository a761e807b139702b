"""How well scores and probabilities of labels fit the true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, ShapeError
from flagstone.metrics.checks import (
    Array,
    Floats,
    codes_of,
    label_vector,
    real_numbers,
    require_same_length,
    row_weights,
)


def log_loss(
    y_true: npt.ArrayLike,
    y_proba: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The mean of -log(probability given to the true label), in nats.

    Arguments:
        y_true: ``(n,)`` labels.
        y_proba: ``(n, classes)`` probabilities whose rows sum to one, columns in the order of the
            sorted labels; or ``(n,)`` probabilities of the greater of two labels.
        labels: every label that may occur; those in ``y_true`` by default.
        sample_weight: ``(n,)`` weights.

    Probabilities are clipped to ``[eps, 1 - eps]`` of their dtype, so the value is finite.

    Raises:
        InputError: a probability is outside [0, 1] or a row does not sum to one, a label is
            unknown, or there are fewer than two labels.
        ShapeError: the number of columns is not the number of labels.
    """
    true = label_vector("log_loss", "y_true", y_true)
    proba = np.asarray(y_proba)
    if proba.dtype.kind != "f":
        proba = real_numbers("log_loss", "y_proba", proba)
    if proba.ndim not in (1, 2):
        raise ShapeError(f"log_loss: y_proba must be (n, classes) or (n,); got shape {proba.shape}")
    require_same_length("log_loss", true, proba, "y_proba")
    weight = row_weights("log_loss", sample_weight, len(true))
    known = np.unique(true if labels is None else label_vector("log_loss", "labels", labels))
    if len(known) < 2:
        raise InputError(
            f"log_loss: at least two labels are needed, got {known.tolist()}; "
            f"name them all with labels="
        )
    if proba.ndim == 1 or proba.shape[1] == 1:
        column = proba.reshape(-1)
        proba = np.stack([1 - column, column], axis=1)  # (n, 2)
    if proba.shape[1] != len(known):
        raise ShapeError(
            f"log_loss: y_proba must have one column for each of the {len(known)} labels; "
            f"got {proba.shape[1]}. Name every label with labels="
        )
    eps = np.finfo(proba.dtype).eps
    if not ((proba >= 0) & (proba <= 1)).all():
        raise InputError("log_loss: y_proba must lie between 0 and 1")
    if not np.allclose(proba.sum(axis=1), 1, rtol=float(np.sqrt(eps)), atol=1e-8):
        raise InputError("log_loss: every row of y_proba must sum to one")
    codes = codes_of("log_loss", "y_true", true, known)
    given = np.clip(proba[np.arange(len(true)), codes], eps, 1 - eps)
    return float(np.average(-np.log(given), weights=weight))


def top_k_accuracy(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    k: int = 2,
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The share of rows whose true label is among the ``k`` of the greatest scores.

    Of equal scores the later column is the greater, as in scikit-learn.

    Arguments:
        y_true: ``(n,)`` labels.
        y_score: ``(n, classes)`` finite numbers, columns in the order of the sorted labels.
        k: how many; all are right where it is the number of labels or more.
        labels: every label that may occur; those in ``y_true`` by default.
        sample_weight: ``(n,)`` weights.

    Raises:
        InputError: ``k`` is no positive integer, a score is not finite, or a label is unknown.
        ShapeError: the number of columns is not the number of labels.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"top_k_accuracy: k must be a positive integer; got {k!r}")
    true, score, known = _scored("top_k_accuracy", y_true, y_score, labels)
    weight = row_weights("top_k_accuracy", sample_weight, len(true))
    codes = codes_of("top_k_accuracy", "y_true", true, known)
    best = np.argsort(score, axis=1, kind="stable")[:, ::-1][:, :k]  # (n, k)
    return float(np.average((best == codes[:, None]).any(axis=1), weights=weight))


def roc_auc(
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """The area under the ROC curve: how often a row of a label outscores one of another label.

    Equal scores count half (Hanley and McNeil, Radiology 143, 1982). With more than two labels the
    plain mean over labels, each against the rest (scikit-learn's ``multi_class="ovr"``).

    Arguments:
        y_true: ``(n,)`` labels.
        y_score: ``(n,)`` finite scores of the greater of two labels; or ``(n, classes)``, columns
            in the order of the sorted labels.
        labels: every label that may occur; those in ``y_true`` by default.
        sample_weight: ``(n,)`` weights.

    Raises:
        InputError: a label has no rows (of positive weight), there is only one, or a score is not
            finite.
        ShapeError: the number of columns is not the number of labels.
    """
    score = real_numbers("roc_auc", "y_score", y_score)
    if score.ndim == 1:
        score = np.stack([-score, score], axis=1)  # (n, 2)
    true, score, known = _scored("roc_auc", y_true, score, labels, at_least=2)
    given = row_weights("roc_auc", sample_weight, len(true))
    weight = np.ones(len(true)) if given is None else given
    codes = codes_of("roc_auc", "y_true", true, known)
    mass = np.bincount(codes, weights=weight, minlength=len(known))
    if not mass.all():
        raise InputError(
            f"roc_auc: y_true must hold every label; {known[mass == 0].tolist()} have no rows"
        )
    columns = range(1, 2) if len(known) == 2 else range(len(known))
    return float(np.mean([_area(codes == c, score[:, c], weight) for c in columns]))


def _area(positive: Array, score: Floats, weight: Floats) -> float:
    """The area under one label's curve: bool (n,), (n,), (n,) -> its share of pairs won."""
    levels, level = np.unique(score, return_inverse=True)
    won = np.bincount(level, weights=weight * positive, minlength=len(levels))
    lost = np.bincount(level, weights=weight * ~positive, minlength=len(levels))
    below = np.cumsum(lost) - lost
    return float((won * (below + lost / 2)).sum() / (won.sum() * lost.sum()))


def _scored(
    metric: str,
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    labels: npt.ArrayLike | None,
    at_least: int = 1,
) -> tuple[Array, Floats, Array]:
    """The labels (n,), the scores (n, classes) and the label of each column."""
    true = label_vector(metric, "y_true", y_true)
    score = real_numbers(metric, "y_score", y_score)
    if score.ndim != 2:
        raise ShapeError(f"{metric}: y_score must be (n, classes); got shape {score.shape}")
    require_same_length(metric, true, score, "y_score")
    if not np.isfinite(score).all():
        raise InputError(f"{metric}: y_score must be finite")
    known = np.unique(true if labels is None else label_vector(metric, "labels", labels))
    if len(known) < at_least:
        raise InputError(
            f"{metric}: at least {at_least} labels are needed, got {known.tolist()}; "
            "name them all with labels="
        )
    if score.shape[1] != len(known):
        raise ShapeError(
            f"{metric}: y_score must have one column for each of the {len(known)} labels; "
            f"got {score.shape[1]}. Name every label with labels="
        )
    return true, score, known
