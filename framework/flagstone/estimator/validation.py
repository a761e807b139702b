"""What an estimator takes: plain arrays as they are, anything else through scikit-learn.

A NumPy array of finite numbers needs no library to be checked. DataFrames, lists, sparse matrices,
columns for ``y`` and everything else that people pass to estimators are converted, or refused, by
scikit-learn's own validators, so that flagstone's models behave like scikit-learn's; without
scikit-learn installed they are refused with a line that says so.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from flagstone.errors import DTypeError, InputError, NotFittedError, ShapeError

Array = Any


def training_data(model: Any, X: Any, y: Any, task: str) -> tuple[Array, Array]:
    """``X`` (n, ...) and ``y`` (n,) or, for regression, (n, t), as arrays; sets what is remembered.

    Raises:
        InputError, DTypeError, ShapeError: they cannot be used, or do not fit together.
    """
    if is_images(X):
        X = images(X)
        y = np.asarray(y)
        if y.shape[:1] != X.shape[:1] or y.ndim > (1 if task == "classification" else 2):
            raise ShapeError(
                f"y: expected one value for each of {X.shape[0]} images; got {y.shape}"
            )
        _plain_targets(y, task)
        for name in ("n_features_in_", "feature_names_in_"):  # of a fit on a table before
            model.__dict__.pop(name, None)
        return X, y
    if _is_plain_table(X) and _is_plain_target(y, task) and X.shape[0] == len(y):
        model.n_features_in_ = X.shape[1]
        model.__dict__.pop("feature_names_in_", None)
        return X, y

    def convert(sklearn: Any) -> tuple[Array, Array]:
        multi = task == "regression"
        X_, y_ = sklearn.utils.validation.validate_data(
            model, X, y, dtype="numeric", multi_output=multi, y_numeric=multi,
        )  # fmt: skip
        if multi and y_.ndim == 2 and y_.shape[1] == 1:
            y_ = sklearn.utils.validation.column_or_1d(y_, warn=True)
        if not multi:
            sklearn.utils.multiclass.check_classification_targets(y_)
        return X_, y_

    return _by_sklearn(convert, "X and y", X, y)


def features(model: Any, X: Any) -> Array:
    """``X`` (n, ...) as an array, of a model without targets; sets what is remembered.

    Raises:
        InputError, DTypeError: it cannot be used.
    """
    if is_images(X):
        for name in ("n_features_in_", "feature_names_in_"):
            model.__dict__.pop(name, None)
        return images(X)
    if _is_plain_table(X):
        model.n_features_in_ = X.shape[1]
        model.__dict__.pop("feature_names_in_", None)
        return X
    return _by_sklearn(
        lambda sklearn: sklearn.utils.validation.validate_data(model, X, dtype="numeric"), "X", X
    )


def prediction_data(model: Any, X: Any) -> Array:
    """``X`` (n, ...) as an array like the one that ``model`` was fitted on.

    Raises:
        InputError, DTypeError, ShapeError: it cannot be used, or has other features.
    """
    if is_images(X):
        return images(X)
    plain = _is_plain_table(X) and not hasattr(model, "feature_names_in_")
    if plain and model._inputs.is_image:
        return X
    if plain and X.shape[1] == getattr(model, "n_features_in_", None):
        return X
    if plain and hasattr(model, "n_features_in_") and "sklearn" not in sys.modules:
        raise ShapeError(
            f"X: expected {model.n_features_in_} features, as in fit; got {X.shape[1]}"
        )
    return _by_sklearn(
        lambda sklearn: sklearn.utils.validation.validate_data(
            model, X, reset=False, dtype="numeric"
        ),
        "X",
        X,
    )


def sample_weights(sample_weight: Any, n: int) -> Array | None:
    """Weights of n examples as float64 with mean 1, or ``None``.

    Raises:
        InputError: they are negative, not finite, or all zero.
        DTypeError: they are not numbers.
        ShapeError: there is not one for each example.
    """
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight)
    if weight.dtype.kind not in "fiub":
        raise DTypeError(f"sample_weight: expected numbers; got dtype {weight.dtype}")
    weight = weight.astype(np.float64)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,):
        raise ShapeError(f"sample_weight: expected shape ({n},); got {weight.shape}")
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise InputError("sample_weight: expected finite numbers >= 0 that are not all zero")
    return weight / weight.mean()


def is_images(X: Any) -> bool:
    """Whether ``X`` is an array of images: (n, h, w) or (n, h, w, channels)."""
    return getattr(X, "ndim", 2) in (3, 4) and hasattr(X, "dtype")


def images(X: Any) -> Array:
    """Images as (n, h, w, channels), a view where that is possible.

    Raises:
        DTypeError: they are not numbers.
        InputError: one is NaN or infinite, or there are none.
    """
    X = np.asarray(X)
    if X.dtype.kind not in "fiub":
        raise DTypeError(f"X: expected images of numbers; got dtype {X.dtype}")
    if not X.size:
        raise InputError(f"X: expected at least one image and one pixel; got shape {X.shape}")
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        raise InputError("X: expected finite numbers; got NaN or infinity")
    return X[..., None] if X.ndim == 3 else X


def require_fitted(model: Any) -> None:
    """Raise unless ``model`` was fitted."""
    if not hasattr(model, "layer_"):
        raise _not_fitted()(
            f"This {type(model).__name__} instance is not fitted yet. "
            "Call 'fit' with appropriate arguments before using this estimator."
        )


def _not_fitted() -> type[NotFittedError]:
    """The error's class: also scikit-learn's where that is loaded, for its users to catch."""
    if "sklearn.exceptions" not in sys.modules:
        return NotFittedError
    from sklearn.exceptions import NotFittedError as Theirs

    return type("NotFittedError", (NotFittedError, Theirs), {})


def _is_plain_table(X: Any) -> bool:
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.size > 0
        and X.dtype.kind in "fiub"
        and (X.dtype.kind != "f" or all_finite(X))
    )


def all_finite(x: Array) -> bool:
    """Whether no number is NaN or infinite; of contiguous memory read once, without an array."""
    if x.flags.c_contiguous and x.dtype.itemsize > 2:
        flat = x.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):  # a square may overflow where no number is infinite
                return True
    return bool(np.isfinite(x).all())


def _is_plain_target(y: Any, task: str) -> bool:
    if type(y) is not np.ndarray or not y.size:
        return False
    if task == "classification":
        whole = y.dtype.kind == "f" and bool((np.isfinite(y) & (y == np.floor(y))).all())
        return y.ndim == 1 and (y.dtype.kind in "iubU" or whole)
    plain = y.dtype.kind in "fiu" and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] > 1))
    return plain and bool(np.isfinite(y).all())


def validation_targets(y: Array, n: int, task: str) -> None:
    """Refuse targets to evaluate on that are not one label or number, or row of them, per example.

    Raises:
        InputError, DTypeError, ShapeError: what is wrong with them.
    """
    if y.shape[:1] != (n,) or y.ndim > (1 if task == "classification" else 2):
        raise ShapeError(f"y: expected one value for each of {n} examples; got shape {y.shape}")
    _plain_targets(y, task)


def _plain_targets(y: Array, task: str) -> None:
    """Refuse targets, for images, that cannot be what the task needs."""
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError("y: expected finite numbers; got NaN or infinity")
    if task == "classification" and y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise InputError("y: expected class labels; got continuous numbers")
    if task == "regression" and y.dtype.kind not in "fiub":
        raise DTypeError(f"y: expected numbers; got dtype {y.dtype}")


def _by_sklearn(convert: Callable[[Any], Any], what: str, X: Any, y: Any = None) -> Any:
    try:
        import sklearn.utils.multiclass
        import sklearn.utils.validation
    except ImportError:
        _refuse_arrays(X, y)
        raise InputError(
            f"{what}: expected NumPy arrays, X (n, features) of finite numbers with n >= 1 and y "
            f"one label or number per row; got {_shown(X)}. "
            "To pass anything else install flagstone[sklearn]"
        ) from None
    try:
        return convert(sklearn)
    except TypeError as error:
        raise DTypeError(_one_line(error)) from error
    except ValueError as error:
        raise InputError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    """scikit-learn's message, which may be of several lines, as ours are."""
    return " ".join(str(error).split())


def _refuse_arrays(X: Any, y: Any) -> None:
    """Without scikit-learn: what is wrong with arrays that are of the right kind."""
    if type(X) is not np.ndarray or X.ndim != 2 or X.dtype.kind not in "fiub":
        return
    if not X.size:
        raise InputError(f"X: expected at least one row and one column; got shape {X.shape}")
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        raise InputError("X: expected finite numbers; got NaN or infinity")
    if type(y) is np.ndarray and y.shape[:1] != X.shape[:1]:
        raise ShapeError(f"y: expected one value for each of {len(X)} rows; got shape {y.shape}")
    if type(y) is np.ndarray and y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError("y: expected finite numbers; got NaN or infinity")


def _shown(X: Any) -> str:
    shape = getattr(X, "shape", None)
    kind = f"{type(X).__name__} of dtype {X.dtype}" if hasattr(X, "dtype") else type(X).__name__
    return kind if shape is None else f"{kind} and shape {tuple(shape)}"


def folded(X: Array, image_shape: tuple[int, ...] | None) -> Array:
    """Flat rows as the images that ``image_shape`` says, (h, w) or (h, w, channels).

    Raises:
        ShapeError: rows are not of that many values, or ``X`` are images of another shape.
    """
    if image_shape is None:
        return X
    if X.ndim != 2:
        if X.shape[1:] not in (tuple(image_shape), (*image_shape, 1)):
            raise ShapeError(
                f"X: expected rows to fold, or images of the shape that image_shape={image_shape} "
                f"says; got images of shape {X.shape[1:]}"
            )
        return X
    if len(image_shape) not in (2, 3) or math.prod(image_shape) != X.shape[1]:
        raise ShapeError(
            f"X: expected rows of {math.prod(image_shape)} values, as image_shape={image_shape} "
            f"says; got {X.shape[1]}"
        )
    return images(X.reshape(X.shape[0], *image_shape))
