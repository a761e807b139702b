"""What a metric's arguments must be; each function names the metric in what it raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, ShapeError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def label_vector(metric: str, name: str, values: npt.ArrayLike) -> Array:
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


def two_label_vectors(
    metric: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike
) -> tuple[Array, Array]:
    """Both as (n,) labels of one type and length."""
    true, pred = label_vector(metric, "y_true", y_true), label_vector(metric, "y_pred", y_pred)
    require_same_length(metric, true, pred, "y_pred")
    require_comparable(metric, "y_pred", pred, true)
    return true, pred


def require_comparable(metric: str, name: str, values: Array, true: Array) -> None:
    """Raise InputError where one side is text and the other is not."""

    def sort_of(array: Array) -> str:
        return array.dtype.kind if array.dtype.kind in "US" else "number"

    if sort_of(values) != sort_of(true):
        raise InputError(
            f"{metric}: y_true and {name} must hold labels of one type; "
            f"got {true.dtype} and {values.dtype}"
        )


def codes_of(metric: str, name: str, values: Array, order: Array) -> npt.NDArray[np.intp]:
    """The place of each value in ``order``; raises InputError for one that is not there."""
    require_comparable(metric, name, values, order)
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


def real_numbers(metric: str, name: str, values: npt.ArrayLike) -> Floats:
    """``values`` as float64; raises InputError for what is no real number."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{metric}: {name} must hold real numbers; got dtype {array.dtype}")
    return array.astype(np.float64)


def two_target_matrices(
    metric: str, y_true: npt.ArrayLike, y_pred: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """Both as (n, targets) float64."""
    sides = []
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        array = real_numbers(metric, name, values)
        if array.ndim not in (1, 2):
            raise ShapeError(f"{metric}: {name} must be (n,) or (n, targets); got {array.shape}")
        if not array.size:
            raise InputError(f"{metric}: {name} is empty; at least one row is needed")
        if not np.isfinite(array).all():
            raise InputError(f"{metric}: {name} must be finite")
        sides.append(array.reshape(len(array), -1))
    true, pred = sides
    require_same_length(metric, true, pred, "y_pred")
    if true.shape != pred.shape:
        raise ShapeError(
            f"{metric}: y_true and y_pred must have the same number of targets; "
            f"got {true.shape[1]} and {pred.shape[1]}"
        )
    return true, pred


def require_same_length(metric: str, true: Array, other: Array, name: str) -> None:
    """Raise ShapeError where the numbers of rows differ."""
    if len(true) != len(other):
        raise ShapeError(
            f"{metric}: y_true and {name} must have the same length; got {len(true)} and "
            f"{len(other)}"
        )


def row_weights(metric: str, sample_weight: npt.ArrayLike | None, n: int) -> Floats | None:
    """The weights (n,) as float64, or None."""
    if sample_weight is None:
        return None
    weight = real_numbers(metric, "sample_weight", sample_weight)
    if weight.shape != (n,):
        raise ShapeError(
            f"{metric}: sample_weight must be (n,) with n = {n}; got shape {weight.shape}"
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise InputError(
            f"{metric}: sample_weight must be finite, not negative, and not zero everywhere"
        )
    return weight
