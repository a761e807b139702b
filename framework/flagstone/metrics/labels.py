"""How often predicted labels are the true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError
from flagstone.metrics.checks import (
    Array,
    Floats,
    codes_of,
    label_vector,
    require_comparable,
    row_weights,
    two_label_vectors,
)


def accuracy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The share of rows whose label is right, between 0 and 1. Labels are ``(n,)``."""
    true, pred = two_label_vectors("accuracy", y_true, y_pred)
    weight = row_weights("accuracy", sample_weight, len(true))
    return float(np.average(true == pred, weights=weight))


def confusion_matrix(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    labels: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> Array:
    """``(classes, classes)``: entry (i, j) counts the rows of label i predicted as label j.

    Labels are in sorted order, or in the order of ``labels``; rows with a label outside ``labels``
    are left out. Integers, or sums of ``sample_weight`` as floats.

    Raises:
        InputError: a label stands twice in ``labels``, or none of them occurs in ``y_true``.
    """
    true, pred = two_label_vectors("confusion_matrix", y_true, y_pred)
    weight = row_weights("confusion_matrix", sample_weight, len(true))
    if labels is None:
        order = np.union1d(true, pred)
    else:
        order = label_vector("confusion_matrix", "labels", labels)
        require_comparable("confusion_matrix", "labels", order, true)
        if len(np.unique(order)) != len(order):
            raise InputError("confusion_matrix: labels must differ")
        if not np.isin(order, true).any():
            raise InputError("confusion_matrix: at least one of labels must occur in y_true")
    kept = np.isin(true, order) & np.isin(pred, order)
    rows, columns = (codes_of("confusion_matrix", "y", side[kept], order) for side in (true, pred))
    matrix = np.zeros((len(order), len(order)), dtype=np.int64 if weight is None else np.float64)
    np.add.at(matrix, (rows, columns), 1 if weight is None else weight[kept])
    return matrix


def precision(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Of the rows predicted as a class, the share that are of it; the plain mean over classes.

    A class that is never predicted counts as 0 (scikit-learn's ``average="macro"``,
    ``zero_division=0``).
    """
    matrix = confusion_matrix(y_true, y_pred, sample_weight=sample_weight)
    return float(_ratio(np.diag(matrix), matrix.sum(axis=0)).mean())


def recall(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Of the rows of a class, the share predicted as it; the plain mean over classes.

    A class that is only predicted, never true, counts as 0.
    """
    matrix = confusion_matrix(y_true, y_pred, sample_weight=sample_weight)
    return float(_ratio(np.diag(matrix), matrix.sum(axis=1)).mean())


def f1(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The harmonic mean of precision and recall of each class; the plain mean over classes."""
    matrix = confusion_matrix(y_true, y_pred, sample_weight=sample_weight)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    return float(_ratio(2 * np.diag(matrix), both).mean())


def _ratio(part: Array, whole: Array) -> Floats:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole != 0)
