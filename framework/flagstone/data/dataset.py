"""What a dataset is: arrays, names and a task, checked when it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt

from flagstone.data.table import missing_columns
from flagstone.errors import ConfigurationError, InputError, ShapeError

Task: TypeAlias = Literal["classification", "regression", "clustering", "transform"]
Array: TypeAlias = npt.NDArray[Any]

TASKS: tuple[str, ...] = get_args(Task)
WITHOUT_TARGETS = ("clustering", "transform")  # whose ``y`` nothing looks at
MOST_CLASSES = 20  # whole numbers with more distinct values than this are not taken for classes


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Examples and their targets, with a test split where the source has one.

    Arguments:
        name: what messages and run directories call it.
        task: ``"classification"`` or ``"regression"``; or ``"clustering"`` or ``"transform"``, for
            which ``y`` is of no account.
        X: ``(n, features)`` for a table, ``(n, height, width)`` or ``(n, height, width, channels)``
            for images; integer or floating-point, every value finite.
        y: ``(n,)``, or ``(n, targets)`` for regression. Class labels may be text, integers,
            booleans or whole floats; regression targets are finite numbers.
        feature_names: one name per column of a table, or None.
        target_names: one name per target *column* (not per class), or None.
        X_test, y_test: the source's own test split, like ``X`` and ``y``; both None without one.

    Raises:
        InputError: an array is empty, not numeric where it must be, or not finite.
        ShapeError: the shapes do not fit together.
        ConfigurationError: the name or the task is not valid.
    """

    name: str
    task: Task
    X: Array
    y: Array
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    X_test: Array | None = None
    y_test: Array | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"dataset: name must be non-empty text; got {self.name!r}")
        check_task(self.task)
        _check_pair(self.name, self.task, "X", self.X, "y", self.y)
        if (self.X_test is None) != (self.y_test is None):
            raise InputError(f"dataset {self.name}: X_test and y_test come together or not at all")
        if self.X_test is not None and self.y_test is not None:
            _check_pair(self.name, self.task, "X_test", self.X_test, "y_test", self.y_test)
            for label, test, train in (("X", self.X_test, self.X), ("y", self.y_test, self.y)):
                if test.shape[1:] != train.shape[1:]:
                    raise ShapeError(
                        f"dataset {self.name}: {label}_test must have the shape of {label} after "
                        f"the first axis, {train.shape[1:]}; got {test.shape[1:]}"
                    )
        columns = self.X.shape[1] if self.X.ndim == 2 else None
        targets = 1 if self.y.ndim == 1 else self.y.shape[1]
        for field, expected in (("feature_names", columns), ("target_names", targets)):
            object.__setattr__(self, field, _checked_names(self, field, expected))

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """``(height, width)`` or ``(height, width, channels)`` of images; None for a table."""
        return None if self.X.ndim == 2 else self.X.shape[1:]

    def with_task(self, task: Task) -> Dataset:
        """The same data for another task.

        Raises:
            ConfigurationError: ``y`` is text and ``task`` is regression, or the dataset was made
                for regression and a classifier would take every target for a class of its own.
        """
        check_task(task)
        if task == self.task:
            return self
        if task in WITHOUT_TARGETS:
            return dataclasses.replace(self, task=task)
        if task == "classification" or not _is_numeric(self.y):
            raise ConfigurationError(
                f"dataset {self.name} is for {self.task}; it cannot be used for {task}. "
                f"Choose a {self.task} model or another dataset."
            )
        return dataclasses.replace(self, task=task)

    def aligned(self, feature_names: Sequence[str], source: str = "") -> Dataset:
        """The same table with exactly these columns, in this order; other columns are dropped.

        For evaluating a fitted model on a file whose columns stand in another order.

        Raises:
            ConfigurationError: the dataset has no column names.
            InputError: names are not among its columns; ``source`` is the file that it tells of.
        """
        if self.feature_names is None:
            raise ConfigurationError(
                f"dataset {self.name}: its columns have no names, so they cannot be matched to "
                f"{', '.join(feature_names)}; add a header line"
            )
        if tuple(feature_names) == self.feature_names:
            return self
        place = {name: i for i, name in enumerate(self.feature_names)}
        if missing := [name for name in feature_names if name not in place]:
            where = source or f"dataset {self.name}"
            if taken := [name for name in missing if name in (self.target_names or ())]:
                raise InputError(
                    f"{where}: column {taken[0]!r} is the target here, and what the model was "
                    "trained on has it among the features; name another target"
                )
            raise InputError(f"{where}: {missing_columns(missing, self.feature_names)}")
        columns = [place[name] for name in feature_names]
        return dataclasses.replace(
            self,
            X=np.ascontiguousarray(self.X[:, columns]),
            X_test=None if self.X_test is None else np.ascontiguousarray(self.X_test[:, columns]),
            feature_names=tuple(feature_names),
        )


def check_task(task: str) -> Task:
    """``task`` itself when it is one; raises ConfigurationError otherwise."""
    if task not in TASKS:
        raise ConfigurationError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    return cast("Task", task)


def infer_task(y: Array) -> Task:
    """The task that a target array is for when nobody says.

    The rule, in this order:

    1. several target columns: regression;
    2. text or booleans: classification;
    3. integers with at most 20 distinct values, each standing for two rows or more on average:
       classification;
    4. everything else (numbers written with a decimal point included): regression.

    A model's own task always wins over this rule; only ``load`` without ``task`` uses it.
    """
    if y.ndim > 1:
        return "regression"
    if y.dtype.kind in "bU":
        return "classification"
    if y.dtype.kind in "iu":
        distinct = len(np.unique(y))
        if distinct <= MOST_CLASSES and 2 * distinct <= len(y):
            return "classification"
    return "regression"


def _is_numeric(array: Array) -> bool:
    return array.dtype.kind in "iuf"


def _check_pair(name: str, task: Task, x_label: str, X: Array, y_label: str, y: Array) -> None:
    where = f"dataset {name}"
    for label, array in ((x_label, X), (y_label, y)):
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"{where}: {label} must be a NumPy array; got {type(array).__name__}. "
                f"Convert it with numpy.asarray"
            )
    if X.ndim not in (2, 3, 4):
        raise ShapeError(
            f"{where}: {x_label} must be (n, features), (n, height, width) or "
            f"(n, height, width, channels); got shape {X.shape}"
        )
    if not X.size:
        raise InputError(f"{where}: {x_label} holds no values; its shape is {X.shape}")
    if not _is_numeric(X):
        raise InputError(f"{where}: {x_label} must hold real numbers; got dtype {X.dtype}")
    if len(X) != len(y if y.ndim else ()):
        raise ShapeError(
            f"{where}: {y_label} must have one entry for each of the {len(X)} rows of {x_label}; "
            f"got shape {y.shape}"
        )
    _check_finite(where, x_label, X)
    if task == "classification":
        _check_labels(where, y_label, y)
    elif task == "regression":
        _check_targets(where, y_label, y)


def _check_labels(where: str, label: str, y: Array) -> None:
    if y.ndim != 1:
        raise ShapeError(
            f"{where}: {label} must be (n,) for classification; got shape {y.shape}"
            + (". Flatten it with .ravel()" if y.ndim == 2 and y.shape[1] == 1 else "")
        )
    if y.dtype.kind not in "biufU":
        raise InputError(
            f"{where}: {label} must hold text, whole numbers or booleans; got dtype {y.dtype}. "
            f"Convert labels with .astype(str)"
        )
    _check_finite(where, label, y)
    if y.dtype.kind == "f" and not np.array_equal(y, np.rint(y)):
        first = y[y != np.rint(y)][0]
        raise InputError(
            f"{where}: {label} holds numbers that are not whole, such as {first}; "
            f"they are no class labels. Choose a regression model"
        )


def _check_targets(where: str, label: str, y: Array) -> None:
    if y.ndim not in (1, 2) or not y.size:
        raise ShapeError(
            f"{where}: {label} must be (n,) or (n, targets) for regression; got shape {y.shape}"
        )
    if not _is_numeric(y):
        raise InputError(
            f"{where}: {label} must hold real numbers for regression; got dtype {y.dtype}"
        )
    _check_finite(where, label, y)


def _check_finite(where: str, label: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputError(
            f"{where}: {label} must be finite; {label}[{', '.join(map(str, place))}] is "
            f"{array[place]}"
        )


def _checked_names(dataset: Dataset, field: str, expected: int | None) -> tuple[str, ...] | None:
    names = getattr(dataset, field)
    if names is None:
        return None
    names = tuple(names)
    where = f"dataset {dataset.name}: {field}"
    if expected is None:
        raise ShapeError(f"{where} name the columns of a table; X has shape {dataset.X.shape}")
    if len(names) != expected:
        raise ShapeError(f"{where} must be {expected}, one per column; got {len(names)}")
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{where} must be non-empty text; got {names!r}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where} must differ; {twice!r} is there twice")
    return names
