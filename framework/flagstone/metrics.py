"""How good predictions are: scikit-learn's definitions and argument order, on host arrays.

Every function takes array-likes ``(y_true, y_pred)``, true values first, and ``sample_weight``,
``(n,)`` weights that are finite, not negative and not all zero; None weighs every row alike. All
raise ShapeError when lengths differ, and InputError when there are no rows or a value cannot be
compared. Labels may be of any one type: text, integers, booleans, floats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, ShapeError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

__all__ = [
    "accuracy",
    "confusion_matrix",
    "f1",
    "log_loss",
    "mae",
    "mse",
    "precision",
    "r2",
    "recall",
]


def accuracy(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The share of rows whose label is right, between 0 and 1. Labels are ``(n,)``."""
    true, pred = _labels("accuracy", y_true, y_pred)
    weight = _weights("accuracy", sample_weight, len(true))
    return float(np.average(true == pred, weights=weight))


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
    true = _vector("log_loss", "y_true", y_true)
    proba = np.asarray(y_proba)
    if proba.dtype.kind != "f":
        proba = _numbers("log_loss", "y_proba", proba)
    if proba.ndim not in (1, 2):
        raise ShapeError(f"log_loss: y_proba must be (n, classes) or (n,); got shape {proba.shape}")
    _same_length("log_loss", true, proba, "y_proba")
    weight = _weights("log_loss", sample_weight, len(true))
    known = np.unique(true if labels is None else _vector("log_loss", "labels", labels))
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
    codes = _codes("log_loss", "y_true", true, known)
    given = np.clip(proba[np.arange(len(true)), codes], eps, 1 - eps)
    return float(np.average(-np.log(given), weights=weight))


def mse(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The mean squared error over ``(n,)`` or ``(n, targets)``; targets count alike."""
    true, pred = _targets("mse", y_true, y_pred)
    weight = _weights("mse", sample_weight, len(true))
    return float(np.average((true - pred) ** 2, axis=0, weights=weight).mean())


def mae(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """The mean absolute error over ``(n,)`` or ``(n, targets)``; targets count alike."""
    true, pred = _targets("mae", y_true, y_pred)
    weight = _weights("mae", sample_weight, len(true))
    return float(np.average(np.abs(true - pred), axis=0, weights=weight).mean())


def r2(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    """1 - (residual sum of squares) / (total sum of squares), the mean over targets.

    A target that does not vary scores 1 when predicted exactly and 0 otherwise. With fewer than
    two rows the value is not defined and is NaN.
    """
    true, pred = _targets("r2", y_true, y_pred)
    weight = _weights("r2", sample_weight, len(true))
    if len(true) < 2:
        return float("nan")
    share = np.ones(len(true)) if weight is None else weight
    residual = (share[:, None] * (true - pred) ** 2).sum(axis=0)  # (targets,)
    centre = np.average(true, axis=0, weights=weight)
    total = (share[:, None] * (true - centre) ** 2).sum(axis=0)  # (targets,)
    scores = np.where(residual == 0, 1.0, 0.0)
    varies = (total != 0) & (residual != 0)
    scores[varies] = 1 - residual[varies] / total[varies]
    return float(scores.mean())


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
    true, pred = _labels("confusion_matrix", y_true, y_pred)
    weight = _weights("confusion_matrix", sample_weight, len(true))
    if labels is None:
        order = np.union1d(true, pred)
    else:
        order = _vector("confusion_matrix", "labels", labels)
        _comparable("confusion_matrix", "labels", order, true)
        if len(np.unique(order)) != len(order):
            raise InputError("confusion_matrix: labels must differ")
        if not np.isin(order, true).any():
            raise InputError("confusion_matrix: at least one of labels must occur in y_true")
    kept = np.isin(true, order) & np.isin(pred, order)
    rows, columns = (_codes("confusion_matrix", "y", side[kept], order) for side in (true, pred))
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


def _vector(metric: str, name: str, values: npt.ArrayLike) -> Array:
    """``values`` as (n,), a single column flattened, text as fixed-width text."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(f"{metric}: {name} must be (n,); got shape {array.shape}")
    if array.dtype.kind == "O":
        kinds = {np.asarray(value).dtype.kind for value in array}
        if len(kinds) == 1 or kinds <= set("biuf"):
            array = np.array(array.tolist())
    if not len(array):
        raise InputError(f"{metric}: {name} is empty; at least one row is needed")
    if array.dtype.kind not in "biufUS":
        raise InputError(
            f"{metric}: {name} must hold labels of one type, text or numbers; "
            f"got dtype {array.dtype}"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise InputError(f"{metric}: {name} holds NaN, which is no label")
    return array


def _labels(metric: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Array, Array]:
    true, pred = _vector(metric, "y_true", y_true), _vector(metric, "y_pred", y_pred)
    _same_length(metric, true, pred, "y_pred")
    _comparable(metric, "y_pred", pred, true)
    return true, pred


def _comparable(metric: str, name: str, values: Array, true: Array) -> None:
    def sort_of(array: Array) -> str:
        return array.dtype.kind if array.dtype.kind in "US" else "number"

    if sort_of(values) != sort_of(true):
        raise InputError(
            f"{metric}: y_true and {name} must hold labels of one type; "
            f"got {true.dtype} and {values.dtype}"
        )


def _codes(metric: str, name: str, values: Array, order: Array) -> npt.NDArray[np.intp]:
    """The place of each value in ``order``; raises InputError for one that is not there."""
    _comparable(metric, name, values, order)
    by_size = np.argsort(order, kind="stable")
    places = np.searchsorted(order, values, sorter=by_size)
    codes = by_size[np.minimum(places, len(order) - 1)]
    unknown = order[codes] != values
    if unknown.any():
        raise InputError(
            f"{metric}: {name} holds {values[unknown][0].item()!r}, which is none of the labels "
            f"{order.tolist()}"
        )
    return codes


def _numbers(metric: str, name: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{metric}: {name} must hold real numbers; got dtype {array.dtype}")
    return array.astype(np.float64)


def _targets(metric: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as (n, targets) float64."""
    sides = []
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        array = _numbers(metric, name, values)
        if array.ndim not in (1, 2):
            raise ShapeError(f"{metric}: {name} must be (n,) or (n, targets); got {array.shape}")
        if not array.size:
            raise InputError(f"{metric}: {name} is empty; at least one row is needed")
        if not np.isfinite(array).all():
            raise InputError(f"{metric}: {name} must be finite")
        sides.append(array.reshape(len(array), -1))
    true, pred = sides
    _same_length(metric, true, pred, "y_pred")
    if true.shape != pred.shape:
        raise ShapeError(
            f"{metric}: y_true and y_pred must have the same number of targets; "
            f"got {true.shape[1]} and {pred.shape[1]}"
        )
    return true, pred


def _same_length(metric: str, true: Array, other: Array, name: str) -> None:
    if len(true) != len(other):
        raise ShapeError(
            f"{metric}: y_true and {name} must have the same length; got {len(true)} and "
            f"{len(other)}"
        )


def _weights(metric: str, sample_weight: npt.ArrayLike | None, n: int) -> Floats | None:
    if sample_weight is None:
        return None
    weight = _numbers(metric, "sample_weight", sample_weight)
    if weight.shape != (n,):
        raise ShapeError(
            f"{metric}: sample_weight must be (n,) with n = {n}; got shape {weight.shape}"
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise InputError(
            f"{metric}: sample_weight must be finite, not negative, and not zero everywhere"
        )
    return weight
